"""Field of view and panorama crops from made-up EXIF and GPano, against worked examples."""

import io
import math
import struct

import numpy as np
import pytest
from PIL import Image

from crossfix.images import decode
from crossfix.panorama import fill_colour
from crossfix.preprocess import field_of_view, fit_pixels
from tests.view_specs import ground_view

VIEW = ground_view(105, 360)  # one pixel is one degree: 45 up to 60 down
FOCAL_35MM, FOCAL, PLANE_X, PLANE_Y, PLANE_UNIT = 0xA405, 0x920A, 0xA20E, 0xA20F, 0xA210


def jpeg(width, height, *, orientation=None, xmp=None, pixels=None, **tags):
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    details = exif.get_ifd(0x8769)
    for name, value in tags.items():
        details[globals()[name.upper()]] = value
    image = Image.new("RGB", (width, height)) if pixels is None else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif, quality=95)
    data = buffer.getvalue()
    if xmp is None:
        return data
    packet = b"http://ns.adobe.com/xap/1.0/\0" + xmp
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(packet) + 2) + packet + data[2:]


def hfov(data, hfov_deg=None):
    return field_of_view(decode(data), hfov_deg)


@pytest.mark.parametrize(
    ("width", "height", "orientation", "focal", "expected"),
    [
        (3000, 2000, None, 18, 90.0),  # a full frame: 36 mm wide, 2 atan(36 / 36)
        (3000, 2000, None, 50, 39.6),
        (4000, 3000, None, 26, 67.3),  # 34.61 mm of 43.27 mm: 2 atan(34.61 / 52)
        (3000, 4000, None, 26, 53.0),  # the same phone held upright: 25.96 mm across
        (4000, 3000, 6, 26, 53.0),  # stored lying, turned by EXIF
        (4000, 2250, None, 26, 71.9),  # 16:9 cut from the same diagonal
    ],
)
def test_35_mm_focal_length(width, height, orientation, focal, expected):
    data = jpeg(width // 10, height // 10, orientation=orientation, focal_35mm=focal)
    assert hfov(data) == (pytest.approx(expected, abs=0.1), None)


@pytest.mark.parametrize(
    ("across", "unit", "focal"),
    [
        (4000 / 23.5 * 25.4, 2, 16.0),  # pixels per inch of an APS-C sensor of 23.5 mm
        (4000 / 23.5 * 10, 3, 16.0),  # per centimetre
    ],
)
def test_focal_length_and_the_sensors_size(across, unit, focal):
    data = jpeg(4000, 40, focal=focal, plane_x=across, plane_y=across, plane_unit=unit)
    assert hfov(data) == (pytest.approx(math.degrees(2 * math.atan(23.5 / 32)), abs=0.05), None)


def test_the_35_mm_focal_length_goes_before_the_sensor():
    tags = {"focal": 16.0, "plane_x": 4323.0, "plane_y": 4323.0, "plane_unit": 2}
    assert hfov(jpeg(300, 200, focal_35mm=18, **tags))[0] == pytest.approx(90, abs=0.1)


@pytest.mark.parametrize(
    "tags",
    [
        {"focal": 16.0},
        {"focal": 16.0, "plane_x": 0.0001, "plane_unit": 2},
        {"focal": 16.0, "plane_x": 4000.0, "plane_unit": 9},
        {"focal_35mm": 1},
        {"focal_35mm": 60_000},
    ],
    ids=["no sensor", "a sensor of metres", "unknown unit", "1 mm", "60 m"],
)
def test_what_no_camera_has_is_not_believed(tags):
    degrees, assumption = hfov(jpeg(400, 300, **tags))
    assert degrees == pytest.approx(65)
    assert "65 degrees were assumed" in assumption


def test_the_parameter_goes_first_and_the_assumption_is_about_the_longer_side():
    assert hfov(jpeg(300, 200, focal_35mm=18), 40.0) == (40.0, None)
    upright, _ = hfov(jpeg(300, 400))
    assert upright == pytest.approx(
        math.degrees(2 * math.atan(math.tan(math.radians(32.5)) * 0.75))
    )


def gpano(full=(720, 360), crop=(720, 360), left=0, top=0, **more):
    words = {
        "ProjectionType": "equirectangular",
        "FullPanoWidthPixels": full[0],
        "FullPanoHeightPixels": full[1],
        "CroppedAreaImageWidthPixels": crop[0],
        "CroppedAreaImageHeightPixels": crop[1],
        "CroppedAreaLeftPixels": left,
        "CroppedAreaTopPixels": top,
        **more,
    }
    return "<x " + " ".join(f'GPano:{name}="{value}"' for name, value in words.items()) + "/>"


def as_elements(text):
    words = (word.split("=") for word in text[3:-2].split())
    return "".join(f"<{name}>{value.strip(chr(34))}</{name}>" for name, value in words)


def fit(pixels, xmp, **options):
    height, width = pixels.shape[:2]
    photo = decode(jpeg(width, height, xmp=xmp.encode(), pixels=pixels))
    return fit_pixels(photo, VIEW, **options)


@pytest.mark.parametrize("spelling", [str, as_elements])
def test_a_cropped_panorama_lies_where_its_words_say(spelling):
    """180 degrees wide and 60 high: from 45 left to 135 right, from 30 up to 30 down."""
    pixels = np.full((120, 360, 3), 250, np.uint8)
    xmp = spelling(gpano(crop=(360, 120), left=270, top=120))
    canvas, warnings = fit(pixels, xmp, heading_deg=0)
    seen = (np.abs(canvas.astype(int) - fill_colour(VIEW)) > 60).any(axis=2)
    columns, rows = np.flatnonzero(seen.any(axis=0)), np.flatnonzero(seen.any(axis=1))
    assert (columns[0], columns[-1]) == (180 - 45, 180 + 135 - 1)
    assert (rows[0], rows[-1]) == (45 - 30, 45 + 30 - 1)
    assert "GPano" in warnings[0]
    assert len(warnings) == 1


def test_a_panoramas_own_heading_counts_where_none_is_given_and_is_told():
    pixels = np.zeros((360, 720, 3), np.uint8)
    pixels[:, 356:364] = 255  # dead ahead
    for options, expected in (({}, 90), ({"heading_deg": -30.0}, -30)):
        canvas, warnings = fit(pixels, gpano(PoseHeadingDegrees="90.0"), **options)
        bright = canvas.astype(int).sum(axis=(0, 2)).argmax()
        assert bright == pytest.approx(180 + expected, abs=1)
        assert any("own 90 was used" in text for text in warnings) == (not options)


def test_a_full_crop_is_the_plain_panorama():
    pixels = np.random.default_rng(0).integers(0, 256, (36, 72, 3), dtype=np.uint8)
    pixels = pixels.repeat(10, axis=0).repeat(10, axis=1)
    with_words, _ = fit(pixels, gpano(), heading_deg=20)
    photo = decode(jpeg(720, 360, pixels=pixels))
    plain, _ = fit_pixels(photo, VIEW, heading_deg=20)
    np.testing.assert_array_equal(with_words, plain)


def test_a_panorama_made_smaller_keeps_its_crop_and_a_cut_one_loses_it():
    half = np.full((60, 180, 3), 250, np.uint8)
    cut = np.full((60, 100, 3), 250, np.uint8)
    xmp = gpano(crop=(360, 120), left=270, top=120)
    assert "GPano" in fit(half, xmp, heading_deg=0)[1][0]
    assert not any("GPano" in text for text in fit(cut, xmp, heading_deg=0)[1])


@pytest.mark.parametrize(
    "words",
    [
        {"full": (0, 0)},
        {"full": ("NaN", "inf")},
        {"left": -5},
        {"left": 700},
        {"full": ("1e400", 360)},
        {"ProjectionType": "cylindrical"},
        {"full": ("x" * 5000, 1)},
    ],
)
def test_words_that_make_no_sense_are_not_believed(words):
    pixels = np.full((360, 720, 3), 250, np.uint8)
    assert not any("GPano" in text for text in fit(pixels, gpano(**words), heading_deg=0)[1])


def test_the_callers_field_of_view_goes_before_the_words():
    pixels = np.full((120, 360, 3), 250, np.uint8)
    xmp = gpano(crop=(360, 120), left=270, top=120)
    canvas, warnings = fit(pixels, xmp, heading_deg=0, hfov_deg=60.0)
    columns = np.flatnonzero((np.abs(canvas.astype(int) - 128) > 60).any(axis=(0, 2)))
    assert columns[-1] - columns[0] + 1 == pytest.approx(60, abs=2)
    assert warnings == ()


def test_a_wide_photo_that_says_nothing_is_told_to_be_a_guess():
    _, warnings = fit(np.zeros((100, 500, 3), np.uint8), "", heading_deg=0)
    assert any("all round" in text for text in warnings)
