"""Files made to cost, to confuse or to lie."""

import io
import struct
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crossfix.errors import ImageTooLarge, UnreadableImage, UnsupportedImageFormat
from crossfix.images import ImageLimits, decode
from crossfix.images_formats import MAX_JPEG_SCANS
from crossfix.preprocess import prepare
from tests.view_specs import drone_view, ground_view


def picture(width=96, height=64):
    small = np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image, kind="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(kind, data):
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png_with(*chunks):
    plain = encoded(picture(), "PNG")
    return plain[:33] + b"".join(chunks) + plain[33:]  # after IHDR


def segment(marker, data):
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def jpeg_with(*segments, image=None):
    plain = encoded(image or picture())
    return plain[:2] + b"".join(segments) + plain[2:]


def tiff_directory(entries, at=8, tail=b""):
    """A little-endian block: header, one directory at 8, then `tail`."""
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", at, len(entries)) + packed + b"\0\0\0\0" + tail


def exif_segment(block):
    return segment(0xE1, b"Exif\0\0" + block)


BOMB = zlib.compress(bytes(100_000_000), 9)


@pytest.mark.parametrize("kind", ["zTXt", "iTXt", "iCCP", "eXIf"])
def test_compressed_metadata_of_png_is_never_blown_up(kind):
    heads = {
        "zTXt": b"a\0\0",
        "iTXt": b"XML:com.adobe.xmp\0\1\0\0\0",
        "iCCP": b"a\0\0",
        "eXIf": b"",
    }
    data = png_with(png_chunk(kind.encode(), heads[kind] + BOMB))
    tracemalloc.start()
    try:
        if kind == "iCCP":  # the decoder itself limits this one
            with pytest.raises(UnreadableImage):
                decode(data)
        else:
            assert decode(data).pixels.shape == (64, 96, 3)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_exif_that_declares_the_same_bytes_a_thousand_times_costs_nothing():
    entries = [(0x9000 + i, 7, 60_000, 100) for i in range(1000)]
    data = jpeg_with(exif_segment(tiff_directory(entries, tail=bytes(40_000))))
    tracemalloc.start()
    try:
        assert decode(data).pixels.shape == (64, 96, 3)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("where", ["main", "exif"])
def test_a_tiff_that_declares_the_same_bytes_a_thousand_times_is_refused(where):
    plain = encoded(picture(), "TIFF")
    offset = struct.unpack_from("<I", plain, 4)[0]
    count = struct.unpack_from("<H", plain, offset)[0]
    entries = [struct.unpack_from("<HHII", plain, offset + 2 + 12 * i) for i in range(count)]
    repeated = [(0xC000 + i, 7, len(plain), 0) for i in range(1000)]
    at = len(plain)
    if where == "exif":
        sub = struct.pack("<H", len(repeated)) + b"".join(
            struct.pack("<HHII", *entry) for entry in repeated
        )
        plain += sub + bytes(4)
        entries, at = sorted([*entries, (0x8769, 4, 1, at)]), len(plain)
    else:
        entries += repeated
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    data = plain[:4] + struct.pack("<I", at) + plain[8:] + struct.pack("<H", len(entries)) + packed
    with pytest.raises(UnreadableImage, match="declare more"):
        decode(data + bytes(4))


def test_a_tiff_whose_tile_is_far_larger_than_its_image_is_refused():
    entries = [(256, 4, 1, 8), (257, 4, 1, 8), (322, 4, 1, 60_000), (323, 4, 1, 60_000)]
    with pytest.raises(UnreadableImage, match="tiles"):
        decode(tiff_directory(entries))


def test_fax_codes_are_refused_before_decoding():
    with pytest.raises(UnreadableImage, match="compressed"):
        decode(encoded(picture().convert("1"), "TIFF", compression="group4"))


def test_a_damaged_tiff_writes_nothing_to_stderr(capfd):
    maps = Path("/proc/self/maps")
    if not maps.exists() or "pillow.libs/libtiff" not in maps.read_text():
        pytest.skip("Pillow's libtiff is not the one of its wheel")
    data = bytearray(encoded(picture(), "TIFF", compression="tiff_adobe_deflate"))
    data[8 : len(data) // 2] = bytes(len(data) // 2 - 8)  # the pixels come first
    with pytest.raises(UnreadableImage):
        decode(bytes(data))
    assert capfd.readouterr().err == ""


def test_a_jpeg_of_thousands_of_scans_is_refused():
    data = encoded(picture(), progressive=True)
    start = data.index(b"\xff\xda")
    scan = segment(0xDA, b"\1\1\0\1\x3f\0") + b"\x7f"
    with pytest.raises(UnreadableImage, match="scans"):
        decode(data[:start] + scan * (MAX_JPEG_SCANS + 1) + data[start:])
    assert decode(data).pixels.shape == (64, 96, 3)


@pytest.mark.parametrize(
    "data",
    [
        jpeg_with(segment(0xE5, b"") * 30_000),
        b"\xff\xd8" + b"\xff" * 1_000_000,
        png_with(png_chunk(b"tEXt", b"") * 30_000),
        b"RIFF" + struct.pack("<I", 4 + 300_000) + b"WEBP" + b"JUNK\0\0\0\0" * 37_500,
    ],
    ids=["jpeg", "fill", "png", "webp"],
)
def test_endless_headers_are_refused(data):
    with pytest.raises(UnreadableImage):
        decode(data)


def test_sizes_are_refused_from_every_header_before_decoding():
    limits = ImageLimits(max_pixels=1000)
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        with pytest.raises(ImageTooLarge, match="96 x 64"):
            decode(encoded(picture(), kind), limits=limits)
    with pytest.raises(ImageTooLarge, match="96 x 64"):
        decode(encoded(picture(), "WEBP", lossless=True), limits=limits)
    vp8x = b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + b"\xff\x3f\0\xff\x3f\0"
    with pytest.raises(ImageTooLarge, match="16384 x 16384"):
        decode(b"RIFF" + struct.pack("<I", 4 + len(vp8x)) + b"WEBP" + vp8x)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_cut_files_are_refused(kind, share):
    data = encoded(picture(300, 200), kind)
    with pytest.raises((UnreadableImage, UnsupportedImageFormat)):
        decode(data[: int(len(data) * share)])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_what_follows_a_file_is_ignored(kind):
    data = encoded(picture(), kind)
    same = decode(data).pixels
    for tail in (b"PK\x03\x04" + bytes(100), b"<html><script>1</script>", encoded(picture(8, 8))):
        np.testing.assert_array_equal(decode(data + tail).pixels, same)


@pytest.mark.parametrize(
    ("head", "name"),
    [(b"%PDF-1.7\n", "PDF"), (b"PK\x03\x04", "ZIP"), (b"GIF89a", "GIF"), (b"BM", "BMP")],
)
def test_another_format_before_the_photo_decides(head, name):
    with pytest.raises(UnsupportedImageFormat, match=name):
        decode(head + encoded(picture()))


def test_a_motion_picture_gives_its_first_frame():
    red, blue = Image.new("RGB", (40, 30), (255, 0, 0)), Image.new("RGB", (40, 30), (0, 0, 255))
    for kind in ("WEBP", "PNG", "TIFF", "MPO"):
        data = encoded(red, kind, save_all=True, append_images=[blue] * 20)
        photo = decode(data)
        assert photo.pixels.shape == (30, 40, 3), kind
        assert photo.pixels[15, 20, 0] > 240, kind
        assert photo.pixels[15, 20, 2] < 20, kind


def exif_jpeg(entries, tail=b""):
    return jpeg_with(exif_segment(tiff_directory(entries, tail=tail)))


@pytest.mark.parametrize("orientation", [0, 9, 255, 65535])
def test_impossible_orientations_count_as_none(orientation):
    assert decode(exif_jpeg([(0x0112, 3, 1, orientation)])).pixels.shape == (64, 96, 3)


def test_a_directory_that_points_to_itself_is_read_once():
    data = exif_jpeg([(0x0112, 3, 1, 6), (0x8769, 4, 1, 8), (0x8825, 4, 1, 8), (0xA005, 4, 1, 8)])
    assert decode(data).pixels.shape == (96, 64, 3)


RATIONAL_AT = 8 + 2 + 12 * 1 + 4 + 2 + 12 * 1 + 4  # after two directories of one entry each


@pytest.mark.parametrize(
    ("above", "below"), [(0, 1), (1, 0), (0, 0), (4_294_967_295, 1), (1, 4_294_967_295)]
)
def test_impossible_focal_lengths_count_as_none(above, below):
    exif = struct.pack("<HHHII", 1, 0xA405, 5, 1, RATIONAL_AT) + bytes(4)
    tail = exif + struct.pack("<II", above, below)
    assert decode(exif_jpeg([(0x8769, 4, 1, 26)], tail=tail)).focal_35mm is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -26.0, 0.0])
def test_focal_lengths_that_are_no_numbers_count_as_none(value):
    exif = struct.pack("<HHHIf", 1, 0xA405, 11, 1, value) + bytes(4)
    assert decode(exif_jpeg([(0x8769, 4, 1, 26)], tail=exif)).focal_35mm is None


def test_a_place_in_exif_changes_nothing():
    exif = Image.Exif()
    exif[0x0112] = 1
    place = exif.get_ifd(0x8825)
    place[1], place[2], place[3], place[4] = "N", (50.0, 0.0, 0.0), "E", (8.0, 0.0, 0.0)
    with_place, without = decode(encoded(picture(), exif=exif)), decode(encoded(picture()))
    np.testing.assert_array_equal(with_place.pixels, without.pixels)
    assert with_place.focal_35mm is without.focal_35mm is None


def test_warnings_of_others_stay_on_while_photos_are_decoded():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        decode(exif_jpeg([(0x0112, 3, 1, 9)]))
        warnings.warn("mine", UserWarning, stacklevel=1)
    assert [str(one.message) for one in caught] == ["mine"]


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1), (3, 2), (65_500, 2)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_smallest_and_the_longest_photos_are_prepared(size, kind):
    data = encoded(Image.new("RGB", size, (9, 200, 9)), kind)
    for view in (ground_view(70, 240), drone_view(64)):
        photo = decode(data, target_px=view.decode_px)
        prepared = prepare(photo, view)
        assert (photo.full_width_px, photo.full_height_px) == size
        assert np.isfinite(prepared.tensor).all()
        assert any("hardly to be found" in text for text in prepared.warnings)
