import numpy as np
import pytest
from shapely import LineString, Polygon, box

from sample_world.boxes import BoxList
from sample_world.canvas import Canvas, Occupied
from sample_world.frame import Frame, fit_box, halve, random_points
from sample_world.ground import CLASS_ID
from sample_world.mesh import MeshBuilder, icosphere
from sample_world.noise import TEXTURE_SIZE, make_noise
from sample_world.polyline import Polyline
from sample_world.scene import Material
from sample_world.terrain import Terrain, make_terrain

FLAT = Terrain(waves=())


def test_noise_is_normalised_and_joins_at_its_edges():
    noise = make_noise(np.random.default_rng(3))
    assert noise.shape == (TEXTURE_SIZE, TEXTURE_SIZE)
    assert noise.dtype == np.float32
    assert noise.mean() == pytest.approx(0, abs=1e-4)
    assert noise.std() == pytest.approx(1, abs=1e-4)
    for axis in (0, 1):
        inside = np.abs(np.diff(noise, axis=axis)).mean()
        seam = np.abs(np.take(noise, 0, axis) - np.take(noise, -1, axis)).mean()
        assert seam < 1.5 * inside


def test_terrain_follows_its_formula_and_broadcasts():
    terrain = make_terrain(np.random.default_rng(1))
    x, y = np.array([0.0, 120.0, 900.0]), np.array([[5.0], [77.0]])
    expected = sum(
        a * np.sin(kx * 120.0 + px) * np.sin(ky * 77.0 + py) for a, kx, ky, px, py in terrain.waves
    )
    assert terrain(x, y).shape == (2, 3)
    assert terrain(x, y)[1, 1] == pytest.approx(expected)


def test_icosphere_is_closed_and_faces_outwards():
    vertices, faces = icosphere(1)
    assert (len(vertices), len(faces)) == (42, 80)
    assert np.linalg.norm(vertices, axis=1) == pytest.approx(np.ones(42), abs=1e-6)
    corners = vertices[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((normal * corners.mean(axis=1)).sum(axis=1) > 0).all()


def test_boxes_have_the_size_place_and_colour_asked_for():
    boxes, builder = BoxList(), MeshBuilder()
    boxes.add(10.0, 20.0, (4.0, 2.0, 3.0), (255, 0, 51), angle_rad=np.pi / 2, lift_m=1.0)
    boxes.build_into(builder, FLAT)
    mesh = builder.build()
    assert mesh.vertices.min(axis=0) == pytest.approx([9, 18, 1], abs=1e-5)
    assert mesh.vertices.max(axis=0) == pytest.approx([11, 22, 4], abs=1e-5)
    assert mesh.albedo[0] == pytest.approx([1, 0, 0.2], abs=1e-6)
    assert (mesh.material == Material.PLAIN).all()


def test_leaf_boxes_know_their_bottom_and_height():
    boxes, builder = BoxList(), MeshBuilder()
    boxes.add([0, 9], [0, 9], (1, 1, [2.0, 5.0]), (9, 9, 9), lift_m=0.5, material=Material.LEAF)
    boxes.build_into(builder, FLAT)
    mesh = builder.build()
    assert set(mesh.along_length_m) == {2.0, 5.0}
    assert set(mesh.along_start_m) == {0.5}


def test_frame_rectangles_are_counter_clockwise_and_turned():
    frame = Frame(5.0, 7.0, np.pi / 6)
    corners = frame.rectangle(8, 3)
    assert Polygon(corners).exterior.is_ccw
    along = corners[1] - corners[0]
    assert np.hypot(*along) == pytest.approx(8)
    assert np.arctan2(along[1], along[0]) == pytest.approx(np.pi / 6)
    assert corners.mean(axis=0) == pytest.approx([5, 7])


def test_fit_box_finds_a_turned_rectangle_and_halving_keeps_its_area():
    polygon = Polygon(Frame(40, 30, 0.4).rectangle(20, 8))
    fitted = fit_box(polygon)
    assert (fitted.length_m, fitted.width_m) == pytest.approx((20, 8))
    halves = halve(polygon, fitted, 0.25)
    assert sorted(part.area for part in halves) == pytest.approx([40, 120])


def test_random_points_fall_inside():
    polygon = Polygon([(0, 0), (10, 0), (0, 10)])
    points = random_points(np.random.default_rng(0), polygon, 50)
    assert 0 < len(points) <= 50
    assert (points.sum(axis=1) <= 10).all()
    assert random_points(np.random.default_rng(0), Polygon(), 9).shape == (0, 2)


def test_polyline_walks_along_and_beside_its_line():
    line = Polyline(LineString([(0, 0), (10, 0), (10, 10)]))
    points, angle = line.at([5.0, 15.0], 2.0)
    assert line.length_m == 20
    assert points == pytest.approx(np.array([(5, 2), (8, 5)]))
    assert angle == pytest.approx([0, np.pi / 2])


def test_canvas_paints_north_up_and_stripes_only_inside():
    canvas = Canvas(100.0)
    canvas.fill(box(10, 80, 30, 95), "water")
    water = canvas.classes() == CLASS_ID["water"]
    rows, columns = np.nonzero(water)
    assert ((columns + 0.5) / 4).mean() == pytest.approx(20, abs=0.3)
    assert (100 - (rows + 0.5) / 4).mean() == pytest.approx(87.5, abs=0.3)
    assert water.sum() / 16 == pytest.approx(300, rel=0.05)
    canvas.fill_stripes(box(50, 10, 90, 50), Frame(50, 10, 0.3), "soil", pitch_m=4, width_m=1)
    soil = canvas.classes() == CLASS_ID["soil"]
    assert soil.sum() / 16 == pytest.approx(1600 / 4, rel=0.1)
    assert not soil[:, : 49 * 4].any()


def test_canvas_remembers_what_is_occupied():
    canvas = Canvas(50.0)
    canvas.occupy(box(10, 10, 20, 20), Occupied.BUILDING)
    found = canvas.occupied_at([15.0, 30.0, -5.0], [15.0, 30.0, 15.0])
    assert found.tolist() == [Occupied.BUILDING, Occupied.FREE, Occupied.FREE]
