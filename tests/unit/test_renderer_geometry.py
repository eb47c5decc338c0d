import numpy as np
import pytest

from sample_world.cameras import Equirectangular, Orthographic, Perspective
from sample_world.imaging import render_picture
from sample_world.light import Light
from sample_world.placement import Placement
from sample_world.shader import Shader
from sample_world.surface import face_normals
from tests.hand_made_town import MARKERS, hand_made_town, marker_centres, terrain

LIGHT = Light(sun_azimuth_deg=160, sun_elevation_deg=50, cloud=0.1, fog_m=2000)
STREET = (60.0, 64.0, float(terrain(60.0, 64.0)) + 2.4)


@pytest.fixture(scope="module")
def shader():
    scene = hand_made_town()
    return Shader(scene, scene.photo_cars)


def cameras(shader):
    return {
        "panorama": Equirectangular(STREET, 20.0, 768, 384),
        "street": Perspective(STREET, 325.0, 5.0, 1.0, 110.0, 480, 360),
        "drone": Perspective((60.0, -10.0, 80.0), 0.0, -45.0, 0.5, 70.0, 480, 360),
        "nadir": Perspective((60.0, 60.0, 110.0), 70.0, -90.0, 0.0, 75.0, 400, 400),
        "satellite": Orthographic(
            0.0, 120.0, 0.4, 300, 300, (0.08, 0.05), terrain, shader.top_z_m + 10
        ),
    }


def red_centroid(picture, near, reach_px):
    """Mean pixel position of red within a window; None where there is none."""
    height, width, _ = picture.shape
    rows, columns = np.mgrid[:height, :width] + 0.5
    red = np.clip(picture[..., 0] - 2.2 * picture[..., 1], 0, None)
    red = np.where(np.hypot(columns - near[0], rows - near[1]) < reach_px, red, 0)
    total = red.sum()
    return (
        None
        if total < 0.1
        else (float((red * columns).sum() / total), float((red * rows).sum() / total))
    )


@pytest.mark.parametrize("name", ["panorama", "street", "drone", "nadir", "satellite"])
def test_markers_are_drawn_at_the_pixels_they_project_to(shader, name):
    camera = cameras(shader)[name]
    picture = render_picture(shader, camera, LIGHT, np.random.default_rng(0), supersample=2)
    assert np.isfinite(picture).all()
    seen = 0
    for pixel in camera.project(marker_centres()):
        inside = np.all(
            np.abs(pixel - (camera.width_px / 2, camera.height_px / 2))
            < (camera.width_px / 2 - 9, camera.height_px / 2 - 9)
        )
        found = red_centroid(picture, pixel, 12) if inside else None
        if found is not None:
            seen += 1
            assert np.hypot(*np.subtract(found, pixel)) < 1.0
    assert seen >= (1 if name == "street" else 2)


@pytest.mark.parametrize("name", ["panorama", "street", "drone", "nadir", "satellite"])
def test_rays_through_a_projected_corner_hit_the_corner(shader, name):
    camera = cameras(shader)[name]
    corners = shader.scene.corners.astype(np.float64)
    pixels = camera.project(corners)
    offsets = np.stack(np.meshgrid([-0.5, 0, 0.5], [-0.5, 0, 0.5]), axis=-1).reshape(-1, 2)
    base, growth = camera.footprint
    hit_count = 0
    for corner, pixel in zip(corners, pixels, strict=True):
        if not (0 < pixel[0] < camera.width_px and 0 < pixel[1] < camera.height_px):
            continue
        around = pixel + offsets
        origins, directions = camera.rays(around[:, 0], around[:, 1])
        origins = np.broadcast_to(origins, directions.shape)
        hits = shader.raycaster.nearest(origins, directions)
        points = origins + directions * hits.distance_m[:, None]
        miss = np.linalg.norm(points - corner, axis=1)[hits.face >= 0]
        distance = np.linalg.norm(origins[0] - corner)
        footprint = base + growth * distance
        is_hidden = (hits.face >= 0).all() and (hits.distance_m < distance - 1).all()
        if not is_hidden:
            assert miss.min() < 1.5 * footprint
            hit_count += 1
    assert hit_count >= 2


def test_supersampling_only_refines(shader):
    camera = Perspective((60.0, -10.0, 80.0), 0.0, -45.0, 0.0, 70.0, 96, 72)
    coarse, fine = (
        render_picture(shader, camera, LIGHT, np.random.default_rng(0), supersample=n)
        for n in (1, 3)
    )
    assert coarse.shape == fine.shape == (72, 96, 3)
    assert np.abs(coarse - fine).mean() < 0.05


def test_rows_outside_the_rendered_range_repeat_its_edge(shader):
    camera = Equirectangular(STREET, 0.0, 64, 32)
    part = render_picture(
        shader, camera, LIGHT, np.random.default_rng(0), supersample=1, rows=range(8, 20)
    )
    assert part.shape == (32, 64, 3)
    assert (part[:8] == part[8]).all()
    assert (part[20:] == part[19]).all()


def test_shadows_fall_away_from_the_sun(shader):
    camera = Orthographic(0.0, 120.0, 0.5, 240, 240, (0.0, 0.0), terrain, shader.top_z_m + 10)
    light = Light(sun_azimuth_deg=180, sun_elevation_deg=45, cloud=0.0)
    picture = render_picture(shader, camera, light, np.random.default_rng(0), supersample=1)
    # House 1 ends at y = 40 and is 24 m high: lawn north of it is dark, south of it is not.
    north, south = picture[((120 - 50) * 2), 170], picture[((120 - 10) * 2), 170]
    assert north.mean() < 0.7 * south.mean()


def test_cars_of_the_other_day_are_not_there():
    scene = hand_made_town()
    camera = Orthographic(0.0, 120.0, 0.5, 240, 240, (0.0, 0.0), terrain, 60.0)
    pictures = [
        render_picture(Shader(scene, cars), camera, LIGHT, np.random.default_rng(0), supersample=1)
        for cars in (scene.satellite_cars, scene.photo_cars)
    ]
    change = np.abs(pictures[0] - pictures[1]).sum(axis=2)
    row = (120 - 62) * 2
    assert change[row, 40] > 0.2
    assert change[row, 190] > 0.2
    assert change[10, 10] < 1e-6


def test_normals_are_unit_length_and_face_the_viewer(shader):
    normals = face_normals(shader.scene.static)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)


def test_street_cameras_stand_on_the_street_clear_of_things(shader):
    placement = Placement(shader)
    for index in range(20):
        x, y, altitude_m = placement.street(np.random.default_rng(index), (1.5, 1.8))
        assert 7 < x < 113
        assert abs(y - 64) < 8
        assert 1.5 <= altitude_m <= 1.8
        assert not (92 < x < 98 and 61 < y < 63)  # the car


def test_the_axis_of_a_drone_camera_meets_the_ground_at_its_truth(shader):
    placement = Placement(shader)
    for index in range(10):
        view = placement.drone(np.random.default_rng(index), 64, 48)
        x, y = view.truth_xy
        pixel = view.camera.project([(x, y, float(terrain(x, y)))])[0]
        assert pixel == pytest.approx((32, 24), abs=0.05)
        assert -90 <= view.camera.pitch_deg <= -35
        assert 40 <= view.altitude_m <= 130


def test_markers_are_where_the_town_says():
    assert len(marker_centres()) == len(MARKERS)
