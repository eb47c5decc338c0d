"""HEIC, which phones send: through pi-heif where it is installed, else refused with a hint."""

import sys
from pathlib import Path

import numpy as np
import pytest

from crossfix import images
from crossfix.errors import ImageTooLarge, UnreadableImage, UnsupportedImageFormat
from crossfix.images import ImageLimits, decode

SAMPLES = Path(__file__).parents[1] / "samples"
with_heif = pytest.mark.skipif(images.heif_opener() is None, reason="pi-heif is not installed")


def sample(name):
    return (SAMPLES / f"{name}.heic").read_bytes()


@with_heif
@pytest.mark.parametrize("name", ["plain", "turned"])
def test_a_photo_is_upright_whatever_box_or_exif_says(name):
    photo = decode(sample(name))
    assert photo.pixels.shape == (64, 96, 3)
    assert (photo.full_width_px, photo.full_height_px, photo.format) == (96, 64, "HEIF")
    assert photo.pixels[8, 8].min() > 240
    assert photo.pixels[56, 88].min() < 200
    assert photo.focal_35mm == 26


@with_heif
def test_the_primary_image_counts():
    photo = decode(sample("second_is_primary"))
    assert photo.pixels.shape == (48, 80, 3)
    assert photo.pixels[20, 20, 0] > 240


@with_heif
def test_colour_words_are_heeded():
    """(200, 100, 50) of Display P3 in sRGB, by the colorimetry of both: (219, 92, 27)."""
    np.testing.assert_allclose(decode(sample("p3")).pixels[30, 30], (216, 94, 34), atol=8)


@with_heif
def test_transparency_lies_on_grey():
    np.testing.assert_allclose(decode(sample("clear")).pixels[30, 30], (127, 127, 127), atol=1)


@with_heif
def test_the_size_is_known_before_decoding():
    with pytest.raises(ImageTooLarge, match="96 x 64"):
        decode(sample("plain"), limits=ImageLimits(max_pixels=6000))


@with_heif
@pytest.mark.parametrize("share", [0.05, 0.4, 0.7, 0.95])
def test_cut_files_are_refused(share):
    data = sample("plain")
    with pytest.raises(UnreadableImage):
        decode(data[: int(len(data) * share)])


@with_heif
def test_a_false_size_in_the_header_is_refused():
    data = bytearray(sample("plain"))
    at = data.index(b"ispe") + 8
    data[at : at + 8] = (48).to_bytes(4, "big") * 2
    with pytest.raises(UnreadableImage):
        decode(bytes(data))


def test_without_the_package_the_hint_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    with pytest.raises(UnsupportedImageFormat, match="HEIC") as caught:
        decode(sample("plain"))
    assert "pi-heif" in caught.value.hint


def test_avif_is_named():
    with pytest.raises(UnsupportedImageFormat, match="AVIF"):
        decode(b"\0\0\0\x20ftypavif" + bytes(100))
