"""Every mode and profile a photo may come in, to sRGB."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from crossfix.images import decode
from crossfix.images_colour import to_rgb


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixel(image, kind="PNG", **options):
    return decode(encoded(image, kind, **options)).pixels[1, 1].tolist()


def srgb_like(gamma):
    """A profile of sRGB's primaries with another curve, made from Pillow's own sRGB profile."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    curve = profile.index(b"para", 128)
    profile[curve : curve + 12] = b"curv\0\0\0\0\0\0\0\1"
    profile[curve + 12 : curve + 14] = int(gamma * 256).to_bytes(2, "big")
    for name in (b"sRGB", b"s\0R\0G\0B"):
        profile = profile.replace(name, bytes(len(name)))
    return bytes(profile)


def test_an_embedded_profile_is_applied():
    plain = Image.new("RGB", (4, 4), (100, 100, 100))
    dark = pixel(plain, "PNG", icc_profile=srgb_like(3.0))
    assert dark[0] < 85
    assert pixel(plain, "JPEG", icc_profile=srgb_like(3.0))[0] < 85
    assert pixel(plain) == [100, 100, 100]


@pytest.mark.parametrize("profile", [b"no profile", bytes(200), b"\xff" * 5000])
def test_a_broken_profile_is_left_out(profile):
    assert pixel(Image.new("RGB", (4, 4), (9, 99, 199)), "PNG", icc_profile=profile) == [9, 99, 199]
    assert pixel(Image.new("RGB", (4, 4), 77), "JPEG", icc_profile=profile)[1] <= 2


def test_a_profile_of_another_colour_space_is_left_out():
    grey = Image.new("L", (4, 4), 100)
    assert pixel(grey, "PNG", icc_profile=srgb_like(3.0)) == [100, 100, 100]


def test_cmyk_of_adobe_is_not_seen_as_its_negative():
    """Adobe writes CMYK JPEGs inverted and says so in a segment of its own."""
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    red, green, blue = pixel(cyan, "JPEG", quality=95)
    assert red < 20
    assert green > 235
    assert blue > 235


@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_cmyk_with_a_profile_that_is_not_its_own(kind):
    black = Image.new("CMYK", (16, 16), (0, 0, 0, 255))
    assert max(pixel(black, kind, icc_profile=srgb_like(3.0))) < 20


def test_lab_becomes_rgb():
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    lab = ImageCms.applyTransform(Image.new("RGB", (8, 8), (200, 100, 50)), to_lab)
    np.testing.assert_allclose(pixel(lab, "TIFF"), (200, 100, 50), atol=4)


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("1", 1, [255, 255, 255]),
        ("L", 60, [60, 60, 60]),
        ("LA", (200, 0), [127, 127, 127]),
        ("RGBA", (200, 0, 0, 255), [200, 0, 0]),
    ],
)
def test_plain_modes(mode, colour, expected):
    assert pixel(Image.new(mode, (4, 4), colour)) == expected


def test_palettes_with_and_without_transparency():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([10, 20, 30, 40, 50, 60])
    assert pixel(image) == [40, 50, 60]
    assert pixel(image, transparency=1) == [127, 127, 127]
    assert pixel(image, transparency=b"\xff\x80") == pytest.approx([83, 88, 93], abs=1)


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (np.full((4, 4), 65535, np.uint16), "PNG", 255),
        (np.full((4, 4), 25700, np.uint16), "TIFF", 100),
        (np.full((4, 4), 100, np.int32), "TIFF", 100),
        (np.full((4, 4), 25700, np.int32), "TIFF", 100),
        (np.full((4, 4), 0.5, np.float32), "TIFF", 127),
        (np.full((4, 4), 100.0, np.float32), "TIFF", 100),
        (np.full((4, 4), np.nan, np.float32), "TIFF", 0),
        (np.full((4, 4), -5.0, np.float32), "TIFF", 0),
        (np.full((4, 4), np.inf, np.float32), "TIFF", 255),
    ],
)
def test_deep_values(values, kind, expected):
    assert pixel(Image.fromarray(values), kind) == pytest.approx([expected] * 3, abs=1)


def test_strips_and_reduction_give_what_the_whole_gives():
    values = np.random.default_rng(0).integers(0, 256, (1301, 2003, 4), dtype=np.uint8)
    image = Image.fromarray(values)
    backdrop = Image.new("RGBA", image.size, (127, 127, 127, 255))
    whole = Image.alpha_composite(backdrop, image).convert("RGB")
    np.testing.assert_array_equal(to_rgb(image), np.asarray(whole))
    np.testing.assert_array_equal(to_rgb(image, reduce=3), np.asarray(whole.reduce(3)))
