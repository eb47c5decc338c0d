import pickle

import numpy as np
import pytest
from shapely import box

from crossfix.errors import InvalidParameter
from sample_world.ground import CLASS_ID, GROUND_CLASSES
from sample_world.scene import BuildingTable, Material, Mesh
from sample_world.styles import TOWN_STYLES
from sample_world.town import build_town

SIZE_M = 300.0


@pytest.fixture(scope="module", params=sorted(TOWN_STYLES))
def town(request):
    return build_town(11, size_m=SIZE_M, style=request.param)


def all_arrays(scene):
    meshes = (scene.static, scene.satellite_cars, scene.photo_cars)
    for mesh in meshes:
        yield from (getattr(mesh, name) for name in Mesh.__dataclass_fields__)
    yield from (getattr(scene.buildings, name) for name in BuildingTable.__dataclass_fields__)
    yield from (scene.ground_class, scene.noise, scene.corners)


def test_meshes_are_consistent_and_finite(town):
    for mesh in (town.static, town.satellite_cars, town.photo_cars):
        faces = len(mesh.faces)
        assert faces > 0
        assert mesh.faces.dtype == np.int32
        assert mesh.vertices.dtype == mesh.albedo.dtype == np.float32
        assert mesh.faces.min() >= 0
        assert mesh.faces.max() < len(mesh.vertices)
        for name in ("material", "albedo", "object_id", "along_start_m", "along_length_m"):
            assert len(getattr(mesh, name)) == faces
        assert np.isfinite(mesh.vertices).all()
        assert np.isfinite(mesh.along_start_m).all()
        assert 0 <= mesh.albedo.min() <= mesh.albedo.max() <= 1


def test_every_wall_belongs_to_a_building_and_measures_itself(town):
    mesh = town.static
    wall = mesh.material == Material.WALL
    assert wall.any()
    assert mesh.object_id[wall].min() >= 0
    assert mesh.object_id[wall].max() < len(town.buildings.height_m)
    corners = mesh.vertices[mesh.faces[wall]].astype(float)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    direction = np.stack([-normal[:, 1], normal[:, 0]], 1)
    along = (corners[:, :, :2] * direction[:, None]).sum(axis=2)
    along -= mesh.along_start_m[wall][:, None]
    length = mesh.along_length_m[wall]
    assert np.abs(along.min(axis=1)).max() < 0.01
    assert np.abs(along.max(axis=1) - length).max() < 0.01


def test_ground_reaches_beyond_the_town_and_follows_the_terrain(town):
    ground = town.static.faces[town.static.material == Material.GROUND]
    vertices = town.static.vertices[np.unique(ground)].astype(float)
    assert vertices[:, :2].min(axis=0) == pytest.approx([-200, -200])
    assert vertices[:, :2].max(axis=0) == pytest.approx([SIZE_M + 200, SIZE_M + 200])
    assert vertices[:, 2] == pytest.approx(town.terrain(vertices[:, 0], vertices[:, 1]), abs=1e-3)


def test_ground_is_painted_and_varied(town):
    assert town.ground_class.shape == (1200, 1200)
    assert town.ground_res_m == SIZE_M / 1200
    assert town.ground_class.max() < len(GROUND_CLASSES)
    assert len(np.unique(town.ground_class)) >= 8


def test_streets_lie_inside_and_on_asphalt(town):
    assert town.roads
    inside = box(0, 0, SIZE_M, SIZE_M)
    paved = {CLASS_ID[f"asphalt_{kind}"] for kind in "abc"} | {CLASS_ID["white"]}
    hits = []
    for road in town.roads:
        assert inside.contains(road.centre)
        point = road.centre.interpolate(0.5, normalized=True)
        row, column = int((SIZE_M - point.y) * 4), int(point.x * 4)
        hits.append(int(town.ground_class[row, column]) in paved)
    assert np.mean(hits) > 0.9


def test_roof_corners_stand_above_the_ground(town):
    x, y, z = town.corners.astype(float).T
    assert len(town.corners) >= 4 * len(town.buildings.height_m)
    assert (z > town.terrain(x, y)).all()


def test_the_same_arguments_give_the_same_arrays():
    first, second = (build_town(4, size_m=200.0) for _ in range(2))
    assert first.style == second.style
    for a, b in zip(all_arrays(first), all_arrays(second), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [road.centre.wkt for road in first.roads] == [road.centre.wkt for road in second.roads]


def test_another_seed_is_another_town_and_cars_move_between_the_days():
    first, second = (build_town(seed, size_m=200.0, style="mixed") for seed in (4, 5))
    assert (first.ground_class != second.ground_class).mean() > 0.2
    assert first.georeference != second.georeference
    before, after = first.satellite_cars.vertices, first.photo_cars.vertices
    assert before.shape != after.shape or not np.array_equal(before, after)


def test_a_scene_can_be_sent_to_another_process(town):
    copy = pickle.loads(pickle.dumps(town))
    assert float(copy.terrain(10.0, 20.0)) == float(town.terrain(10.0, 20.0))


@pytest.mark.parametrize(("size_m", "style"), [(100.0, None), (5000.0, None), (300.0, "lunar")])
def test_impossible_towns_are_refused(size_m, style):
    with pytest.raises(InvalidParameter):
        build_town(0, size_m=size_m, style=style)
