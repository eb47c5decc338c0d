import numpy as np
import pytest

from sample_world.cameras import Equirectangular, Orthographic, Perspective


def slope(x, y):
    return 3.0 + 0.05 * np.asarray(x, np.float64) + 0.02 * np.asarray(y, np.float64)


def flat(x, y):
    return 0 * (x + y)


CAMERAS = {
    "panorama": Equirectangular((10.0, 20.0, 5.0), 33.0, 512, 256),
    "street": Perspective((10.0, 20.0, 5.0), 120.0, 4.0, 2.0, 90.0, 320, 240),
    "oblique drone": Perspective((10.0, 20.0, 80.0), 250.0, -50.0, -1.0, 70.0, 320, 240),
    "nadir drone": Perspective((10.0, 20.0, 80.0), 40.0, -90.0, 0.0, 60.0, 256, 256),
    "satellite": Orthographic(0.0, 100.0, 0.5, 200, 200, (0.07, -0.05), slope, 90.0),
}


@pytest.mark.parametrize("name", CAMERAS)
@pytest.mark.parametrize("distance_m", [4.0, 60.0])
def test_projecting_a_point_on_a_ray_gives_the_rays_pixel(name, distance_m):
    camera = CAMERAS[name]
    rng = np.random.default_rng(0)
    pixels = rng.uniform(0.5, 0.5 + np.array([camera.width_px - 1, camera.height_px - 1]), (200, 2))
    origins, directions = camera.rays(pixels[:, 0], pixels[:, 1])
    points = origins.astype(np.float64) + distance_m * directions.astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(camera.project(points), pixels, atol=0.02)


@pytest.mark.parametrize(
    ("offset", "share"),
    [((0, 10, 0), 0.5), ((10, 0, 0), 0.75), ((-10, 0, 0), 0.25), ((7, 7, 0), 0.625)],
)
def test_a_panorama_facing_north_has_east_three_quarters_along(offset, share):
    camera = Equirectangular((1.0, 2.0, 3.0), 0.0, 400, 200)
    column, row = camera.project([np.add(camera.position, offset)])[0]
    assert column == pytest.approx(share * 400)
    assert row == pytest.approx(100)


def test_a_panoramas_centre_looks_to_its_heading():
    camera = Equirectangular((0.0, 0.0, 0.0), 90.0, 400, 200)
    assert camera.project([(5, 0, 0)])[0] == pytest.approx((200, 100))
    assert camera.project([(5, 0, 5)])[0] == pytest.approx((200, 50))


def test_an_upright_photo_shows_right_on_the_right_and_up_above():
    camera = Perspective((0.0, 0.0, 2.0), 90.0, 0.0, 0.0, 90.0, 200, 100)
    assert camera.project([(10, 0, 2)])[0] == pytest.approx((100, 50))
    assert camera.project([(10, -10, 2)])[0] == pytest.approx((200, 50))
    assert camera.project([(10, 0, 4)])[0] == pytest.approx((100, 30))


@pytest.mark.parametrize("heading_deg", [0.0, 90.0, 215.0])
def test_at_nadir_the_images_up_is_the_heading(heading_deg):
    camera = Perspective((0.0, 0.0, 50.0), heading_deg, -90.0, 0.0, 60.0, 100, 100)
    ahead = np.radians(heading_deg)
    column, row = camera.project([(np.sin(ahead) * 5, np.cos(ahead) * 5, 0)])[0]
    assert column == pytest.approx(50)
    assert row < 50


def test_positive_roll_turns_the_camera_clockwise():
    level = Perspective((0.0, 0.0, 0.0), 0.0, 0.0, 0.0, 90.0, 100, 100)
    rolled = Perspective((0.0, 0.0, 0.0), 0.0, 0.0, 10.0, 90.0, 100, 100)
    above = [(0, 10, 5)]
    assert level.project(above)[0, 0] == pytest.approx(50)
    assert rolled.project(above)[0, 0] < 50  # the world turns the other way


def test_the_field_of_view_spans_the_width():
    camera = Perspective((0.0, 0.0, 0.0), 0.0, 0.0, 0.0, 80.0, 640, 480)
    _, directions = camera.rays(np.array([0.0, 640.0]), np.array([240.0, 240.0]))
    angle = np.degrees(np.arccos(float(directions[0] @ directions[1])))
    assert angle == pytest.approx(80.0, abs=1e-3)


def test_points_behind_a_perspective_camera_have_no_pixel():
    camera = CAMERAS["street"]
    assert np.isnan(camera.project([np.subtract(camera.position, camera.axes[2])])).all()


def test_the_satellite_shows_the_ground_where_the_map_says():
    camera = CAMERAS["satellite"]
    x, y = np.array([0.0, 30.0, 99.0]), np.array([100.0, 42.0, 1.0])
    pixels = camera.project(np.stack([x, y, slope(x, y)], axis=1))
    np.testing.assert_allclose(pixels, np.stack([x / 0.5, (100 - y) / 0.5], axis=1), atol=1e-9)


def test_the_satellite_leans_things_by_their_height():
    camera = Orthographic(0.0, 100.0, 0.5, 200, 200, (0.1, -0.04), flat, 90.0)
    low, high = camera.project([(50, 50, 0), (50, 50, 20)])
    assert high - low == pytest.approx((20 * 0.1 / 0.5, 20 * 0.04 / 0.5))
