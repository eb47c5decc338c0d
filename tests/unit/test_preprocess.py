"""Photos to encoder inputs: geometry, stated assumptions, resizing, normalisation."""

import numpy as np
import pytest

from crossfix.bilinear import resize_sampled
from crossfix.errors import InvalidParameter
from crossfix.images import Photo
from crossfix.panorama import fill_colour
from crossfix.preprocess import fit_pixels, normalise, prepare, resize
from tests.view_specs import drone_view, ground_view

GROUND = ground_view(105, 360)
DRONE = drone_view(64)


def panorama_with_stripe(azimuth_deg, width=720):
    """A grey 2:1 panorama with a white stripe; 0 = centre column."""
    pixels = np.full((width // 2, width, 3), 60, np.uint8)
    centre = round((azimuth_deg / 360 + 0.5) * width) % width
    pixels[:, np.arange(centre - 4, centre + 4) % width] = 255
    return pixels


def stripe_azimuth_deg(canvas):
    column = canvas.astype(float).mean(axis=(0, 2)).argmax()
    return ((column + 0.5) / canvas.shape[1] - 0.5) * 360


@pytest.mark.parametrize(
    ("in_photo_deg", "heading_deg", "expected_deg"),
    [(0, 0, 0), (90, 0, 90), (0, 90, 90), (-30, 60, 30), (170, 30, -160)],
)
def test_panorama_is_rolled_to_north(in_photo_deg, heading_deg, expected_deg):
    photo = Photo.of(panorama_with_stripe(in_photo_deg))
    canvas, warnings = fit_pixels(photo, GROUND, heading_deg=heading_deg)
    assert stripe_azimuth_deg(canvas) == pytest.approx(expected_deg, abs=3)
    assert warnings == ()


def test_elevation_rows():
    pixels = np.zeros((180, 360, 3), np.uint8)
    pixels[90 - 46 : 90 - 44] = 255  # 44..46 degrees up: the canvas's top edge
    pixels[90 + 29 : 90 + 31] = 255  # 30 degrees down
    canvas, _ = fit_pixels(Photo.of(pixels), GROUND, heading_deg=0)
    bright = np.flatnonzero(canvas.mean(axis=(1, 2)) > 120)
    assert bright[0] == 0
    assert bright[-1] == pytest.approx(75, abs=1.5)  # 45 + 30 rows of one degree each


def test_street_photo_lands_at_its_heading():
    photo = np.full((300, 400, 3), 200, np.uint8)
    photo[:, 195:205] = (255, 0, 0)
    canvas, warnings = fit_pixels(Photo.of(photo), GROUND, heading_deg=90, hfov_deg=80)
    seen = (canvas != fill_colour(GROUND)).any(axis=(0, 2))
    columns = np.flatnonzero(seen)
    assert columns[0] == pytest.approx(180 + 90 - 40, abs=1)
    assert columns[-1] == pytest.approx(180 + 90 + 40, abs=1)
    red = canvas[45, :, 1].astype(int) < 100
    assert np.flatnonzero(red).mean() == pytest.approx(269.5, abs=2)
    assert warnings == ()


def test_pinhole_columns_follow_the_tangent():
    """A mark at half the half-width of an 90 degree photo is at atan(0.5) = 26.6 degrees."""
    photo = np.full((400, 400, 3), 200, np.uint8)
    photo[:, 298:303] = 0
    canvas, _ = fit_pixels(Photo.of(photo), GROUND, heading_deg=0, hfov_deg=90)
    dark = canvas[45, 180:225].mean(axis=1).argmin()
    assert dark + 0.5 == pytest.approx(26.57, abs=1)


def test_assumptions_are_stated():
    _, warnings = fit_pixels(Photo.of(np.zeros((30, 40, 3), np.uint8)), GROUND)
    assert any("heading_deg was not given" in text for text in warnings)
    assert any("65 degrees were assumed" in text for text in warnings)


def test_exif_focal_length_gives_the_field_of_view():
    pixels = np.full((240, 360, 3), 255, np.uint8)
    photo = Photo(pixels=pixels, full_width_px=360, full_height_px=240, focal_35mm=18.0)
    canvas, warnings = fit_pixels(photo, GROUND, heading_deg=0)
    columns = np.flatnonzero((canvas == 255).all(axis=2).any(axis=0))
    assert columns[-1] - columns[0] + 1 == pytest.approx(90, abs=2)  # 36 mm frame, 18 mm lens
    assert warnings == ()


@pytest.mark.parametrize("hfov_deg", [0, 9.9, 361])
def test_impossible_fields_of_view(hfov_deg):
    with pytest.raises(InvalidParameter, match="field of view"):
        fit_pixels(Photo.of(np.zeros((8, 8, 3), np.uint8)), GROUND, hfov_deg=hfov_deg)


def test_heading_is_said_to_be_unused_for_drones():
    _, warnings = fit_pixels(Photo.of(np.zeros((8, 8, 3), np.uint8)), DRONE, heading_deg=10)
    assert "not used" in warnings[0]


def test_the_field_of_view_is_said_to_be_unused_for_drones():
    photo = Photo.of(np.zeros((64, 64, 3), np.uint8))
    _, warnings = fit_pixels(photo, DRONE, hfov_deg=60)
    assert any("hfov_deg is not used" in text for text in warnings)
    assert fit_pixels(photo, DRONE)[1] == ()
    _, both = fit_pixels(photo, DRONE, hfov_deg=60, heading_deg=3)
    assert len(both) == 2


def test_center_crop_keeps_the_middle():
    pixels = np.zeros((64, 128, 3), np.uint8)
    pixels[:, 32:96] = 200
    canvas, _ = fit_pixels(Photo.of(pixels), DRONE)
    assert (canvas == 200).all()


def test_normalise_against_the_plain_formula():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    plain = (pixels / 255.0 - np.array(DRONE.mean)) / np.array(DRONE.std)
    fast = normalise(pixels, DRONE)
    assert fast.dtype == np.float32
    np.testing.assert_allclose(fast, plain.transpose(0, 3, 1, 2), atol=2e-6)


def test_prepare_gives_the_tensor_of_the_view():
    prepared = prepare(Photo.of(panorama_with_stripe(0)), GROUND)
    assert prepared.tensor.shape == (3, 105, 360)
    assert np.isfinite(prepared.tensor).all()


def formula_image():
    """(9, 13, 3); the golden numbers below were taken of it with OpenCV 4.14."""
    y, x, channel = np.mgrid[:9, :13, :3]
    return ((y * 53 + x * 37 + channel * 91 + (y * x) % 7 * 29) % 256).astype(np.uint8)


def sampled(view):
    return view.model_copy(update={"interpolation": "sampled_bilinear"})


def test_sampled_bilinear_is_opencv_inter_linear_exact():
    found = resize_sampled(formula_image(), height_px=4, width_px=5)
    assert found[..., 0].tolist() == [
        [77, 157, 204, 124, 108],
        [69, 118, 238, 105, 166],
        [139, 109, 36, 162, 70],
        [173, 138, 70, 157, 83],
    ]
    assert int(found.sum()) == 7621
    larger = resize_sampled(formula_image(), height_px=6, width_px=20)
    assert larger[4, :, 0].tolist() == [
        75, 64, 53, 63, 72, 78, 46, 38, 48, 58, 68, 78, 63, 58, 68, 78, 73, 42, 43, 51,
    ]  # fmt: skip
    assert int(larger.sum()) == 45928


@pytest.mark.parametrize(("height", "width"), [(5, 7), (64, 64), (23, 200), (1, 1), (90, 31)])
def test_sampled_bilinear_against_the_plain_formula(height, width):
    source = np.random.default_rng(0).integers(0, 256, (31, 64, 3), dtype=np.uint8)
    y = np.clip((np.arange(height) + 0.5) * 31 / height - 0.5, 0, 30)
    x = np.clip((np.arange(width) + 0.5) * 64 / width - 0.5, 0, 63)
    rows = [[np.interp(at, np.arange(31), source[:, c, k]) for at in y] for c in range(64)
            for k in range(3)]  # fmt: skip
    columns = np.array(rows).reshape(64, 3, height)
    plain = np.array([[[np.interp(at, np.arange(64), columns[:, k, r]) for k in range(3)]
                       for at in x] for r in range(height)])  # fmt: skip
    found = resize_sampled(source, height_px=height, width_px=width)
    assert found.shape == (height, width, 3)
    # weights of whole 256ths move a value by at most 255/512 in each direction, then rounding
    assert np.abs(found - plain).max() <= 1.5


def test_sampled_bilinear_reads_four_pixels_and_the_others_average():
    """Reduced four times, dark lines that lie between the samples are gone."""
    lines = np.full((64, 64, 3), 255, np.uint8)
    lines[::4] = 0
    sampled_rows = resize(lines, sampled(drone_view(16)))
    assert (sampled_rows == 255).all()
    assert resize(lines, drone_view(16)).mean() < 230


def test_sampled_bilinear_drives_squash_and_panorama():
    view = sampled(GROUND)
    pixels = np.random.default_rng(0).integers(0, 256, (360, 720, 3), dtype=np.uint8)
    canvas, _ = fit_pixels(Photo.of(pixels), view, heading_deg=0)
    cut = pixels[180 - 45 * 2 : 180 + 60 * 2]
    np.testing.assert_array_equal(canvas, resize_sampled(cut, height_px=105, width_px=360))


def test_an_image_of_the_right_size_is_not_sampled_again():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resize(pixels, sampled(DRONE)), pixels)
    np.testing.assert_array_equal(resize_sampled(pixels, height_px=64, width_px=64), pixels)
