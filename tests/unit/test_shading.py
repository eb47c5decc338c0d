import numpy as np
import pytest

from sample_world.camera_look import CameraLook, develop
from sample_world.ground import CLASS_ID, GROUND_CLASSES
from sample_world.light import Light, draw_photo_light
from sample_world.scene import Material
from sample_world.shader import Shader
from sample_world.sky import sky_radiance
from sample_world.surface import sort_hits
from sample_world.texture import NoiseTexture, hash_unit
from tests.hand_made_town import HOUSES, SIZE_M, hand_made_town, terrain

OVERCAST = Light(sun_azimuth_deg=180, sun_elevation_deg=45, cloud=1.0)


@pytest.fixture(scope="module")
def shader():
    scene = hand_made_town()
    return Shader(scene, scene.photo_cars)


def test_noise_lookup_equals_plain_indexing():
    rng = np.random.default_rng(0)
    picture = rng.standard_normal((1024, 1024), dtype=np.float32)
    x, y = rng.uniform(0, 4000, (2, 500)).astype(np.float32)
    rows = np.int64(y * np.float32(9.3)) % 1024
    columns = np.int64(x * np.float32(9.3)) % 1024
    assert (NoiseTexture(picture).sample(x, y, 9.3) == picture[rows, columns]).all()


def test_the_hash_is_spread_evenly_and_repeats_itself():
    first, second = np.meshgrid(np.arange(200, dtype=np.int32), np.arange(50, dtype=np.int32))
    values = hash_unit(first.ravel(), second.ravel(), 3)
    assert (values == hash_unit(first.ravel(), second.ravel(), 3)).all()
    counts, _ = np.histogram(values, 10, (0, 1))
    assert counts.min() > 0.8 * len(values) / 10
    assert (values != hash_unit(first.ravel(), second.ravel(), 4)).mean() > 0.99


def test_sorting_hits_by_material_loses_and_mixes_nothing(shader):
    rng = np.random.default_rng(1)
    directions = rng.standard_normal((4000, 3)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    origin = np.array([[60, 64, terrain(60, 64) + 15]], np.float32)
    hits = shader.raycaster.nearest(np.broadcast_to(origin, directions.shape), directions)
    batch = sort_hits(hits, origin, directions, shader.faces, (0.0, 0.01))
    assert sorted(batch.order) == list(range(4000))
    solid = batch.order[: len(batch.points.face)]
    assert (hits.face[solid] >= 0).all()
    assert (hits.face[batch.order[len(solid) :]] < 0).all()
    plain = origin + directions[solid] * hits.distance_m[solid, None]
    np.testing.assert_allclose(batch.points.position.T, plain, atol=1e-4)
    facing = (batch.points.normal * batch.points.direction).sum(axis=0)
    assert (facing <= 1e-6).all()
    materials = [material for material, points in batch.parts() for _ in points.face]
    assert (shader.faces.material[batch.points.face] == materials).all()
    assert {Material.GROUND, Material.WALL, Material.ROOF_FLAT} <= set(materials)


def look_down(shader, x, y, light=OVERCAST, footprint=0.01):
    """Albedo-like colour straight below: (n, 3)."""
    x, y = np.broadcast_arrays(np.float32(x), np.float32(y))
    origins = np.stack([x, y, np.full_like(x, 100)], axis=-1).reshape(-1, 3)
    directions = np.broadcast_to(np.float32([0, 0, -1]), origins.shape)
    rng = np.random.default_rng(0)
    return shader.radiance(origins, directions, light, rng, (footprint, 0.0)).T


@pytest.mark.parametrize("footprint", [0.01, 1.0])
def test_ground_classes_are_read_with_north_in_the_first_row(shader, footprint):
    street = look_down(shader, np.linspace(5, 90, 50), 64.0, footprint=footprint)
    lawn = look_down(shader, np.linspace(5, 50, 50), 8.0, footprint=footprint)
    assert np.ptp(street.mean(axis=0)) < 0.12  # grey
    assert lawn.mean(axis=0)[1] - lawn.mean(axis=0)[2] > 0.15  # green
    assert shader.scene.ground_class[int((SIZE_M - 64) / 0.5), 100] == CLASS_ID["asphalt_a"]


def test_outside_the_town_is_meadow(shader):
    inside = np.array(GROUND_CLASSES[CLASS_ID["meadow"]].rgb) / 255
    outside = look_down(shader, np.linspace(150, 300, 200), -100.0).mean(axis=0)
    ratio = outside / inside
    assert ratio.max() / ratio.min() < 1.35  # the same colour but for the light's


def test_edges_of_classes_are_blended_when_seen_from_near(shader):
    across = look_down(shader, np.full(400, 30.0), np.linspace(59.5, 60.5, 400))
    steps = np.abs(np.diff(across[:, 1]))
    assert steps.max() < 0.05


def test_walls_have_windows_in_storeys(shader):
    x, y, _, depth, height = HOUSES[0]
    base = float(terrain(x, y))
    up, along = np.meshgrid(np.linspace(0.2, height - 0.2, 60), np.linspace(-7.5, 7.5, 60))
    origins = np.stack([x + along, np.full_like(up, y - depth / 2 - 5), base + up], axis=-1)
    origins = origins.reshape(-1, 3).astype(np.float32)
    directions = np.broadcast_to(np.float32([0, 1, 0]), origins.shape)
    colour = shader.radiance(origins, directions, OVERCAST, np.random.default_rng(0), (0.02, 0.0))
    blueness = (colour[2] / colour[0]).reshape(60, 60)
    upper = blueness[:, up[0] > 3.5]
    assert 0.1 < (upper > 1.0).mean() < 0.5
    assert (blueness[:, up[0] > height - 0.4] < 1.0).all()


def test_fog_hides_what_is_far(shader):
    clear = Light(180, 45, cloud=1.0)
    foggy = Light(180, 45, cloud=1.0, fog_m=20.0)
    seen = look_down(shader, np.linspace(5, 50, 50), 8.0, clear)
    hidden = look_down(shader, np.linspace(5, 50, 50), 8.0, foggy)
    haze = foggy.horizon_colour
    assert np.abs(hidden - haze).mean() < 0.1 * np.abs(seen - haze).mean()


def test_the_sky_is_bluer_when_clear_and_brightest_at_the_sun():
    rng = np.random.default_rng(0)
    noise = NoiseTexture(np.zeros((1024, 1024), np.float32))
    up = np.float32([[0], [0], [1]])
    clear, grey = (sky_radiance(up, noise, Light(180, 40, cloud=c))[:, 0] for c in (0.0, 1.0))
    assert clear[2] / clear[0] > 1.5 > grey[2] / grey[0]
    light = draw_photo_light(rng)
    sun = sky_radiance(light.sun[:, None], noise, light).sum()
    beside = sky_radiance((light.sun * np.float32([-1, -1, 1]))[:, None], noise, light).sum()
    assert sun > beside


def test_developing_keeps_order_and_range():
    ramp = np.repeat(np.linspace(0, 1.5, 64, dtype=np.float32)[None, :, None], 3, axis=2)
    picture = develop(ramp, CameraLook("plain", noise=0.0), np.random.default_rng(0))
    assert picture.dtype == np.uint8
    assert (np.diff(picture[0, :, 0].astype(int)) >= 0).all()
    assert picture[0, -1, 0] > 240
