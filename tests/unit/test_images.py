import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from crossfix.errors import EmptyImage, ImageTooLarge, UnreadableImage, UnsupportedImageFormat
from crossfix.images import ImageLimits, decode


def picture(width=64, height=48, mode="RGB"):
    rng = np.random.default_rng(0)
    shape = (height, width) if mode == "L" else (height, width, len(mode))
    return Image.fromarray(rng.integers(0, 255, shape, dtype=np.uint8), mode=None)


def encoded(image, kind="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_that_declares(width, height):
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b""))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_accepted_formats(kind):
    photo = decode(encoded(picture(), kind))
    assert photo.pixels.shape == (48, 64, 3)
    assert photo.pixels.dtype == np.uint8


def test_empty_body():
    with pytest.raises(EmptyImage, match="0 bytes"):
        decode(b"")


@pytest.mark.parametrize("data", [b"hello, world", b"%PDF-1.7", b"GIF89a" + b"\0" * 40])
def test_not_an_accepted_format(data):
    with pytest.raises(UnsupportedImageFormat) as caught:
        decode(data)
    assert "JPEG" in caught.value.hint


def test_truncated_jpeg():
    data = encoded(picture(400, 300))
    with pytest.raises(UnreadableImage, match="cut short"):
        decode(data[: len(data) // 2])


def test_200_megapixel_bomb_is_refused_from_its_header():
    with pytest.raises(ImageTooLarge):
        decode(png_that_declares(20_000, 10_000))
    with pytest.raises(ImageTooLarge):
        decode(png_that_declares(60_000, 60_000))


def test_too_many_bytes():
    with pytest.raises(ImageTooLarge, match="bytes"):
        decode(encoded(picture()), limits=ImageLimits(max_bytes=100))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation):
    upright = Image.new("RGB", (60, 40), (0, 0, 0))
    upright.paste((255, 255, 255), (0, 0, 30, 20))  # white top left
    turn = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = upright if turn is None else upright.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = decode(encoded(stored, exif=exif.tobytes(), quality=95))
    assert photo.pixels.shape == (40, 60, 3)
    assert (photo.full_width_px, photo.full_height_px) == (60, 40)
    assert photo.pixels[5, 5].min() > 200
    assert photo.pixels[35, 55].max() < 50


def test_garbage_exif_does_not_lose_the_photo():
    photo = decode(encoded(picture(), exif=b"Exif\0\0" + bytes(range(40))))
    assert photo.focal_35mm is None


def test_focal_length_is_read():
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 26
    assert decode(encoded(picture(), exif=exif.tobytes())).focal_35mm == 26


def test_draft_is_close_to_a_full_decode_and_keeps_the_full_size():
    rng = np.random.default_rng(1)
    smooth = Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)).resize((1200, 800))
    data = encoded(smooth, quality=90)
    full, small = decode(data), decode(data, target_px=100)
    assert small.pixels.shape[0] >= 100
    assert small.pixels.shape[0] < full.pixels.shape[0]
    assert (small.full_width_px, small.full_height_px) == (1200, 800)
    again = np.asarray(
        Image.fromarray(full.pixels).resize(small.pixels.shape[1::-1], Image.Resampling.BOX),
        np.float64,
    )
    assert np.abs(again - small.pixels).mean() < 2


def test_grey_alpha_and_sixteen_bit_become_rgb():
    assert decode(encoded(picture(mode="L"), "PNG")).pixels.shape[2] == 3
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert decode(encoded(clear, "PNG")).pixels[0, 0].tolist() == [127, 127, 127]
    deep = Image.fromarray(np.full((8, 8), 65535, np.uint16))
    assert decode(encoded(deep, "PNG")).pixels.min() == 255
