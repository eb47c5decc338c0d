"""Blocks that are not built up: parks, sports grounds and squares."""

import numpy as np
import shapely
from shapely import Polygon
from shapely.geometry.base import BaseGeometry

from sample_world.buildings import BuildingPlan, RoofShape, raise_building
from sample_world.canvas import Occupied
from sample_world.districts import District
from sample_world.frame import Frame, fit_box, largest_part, random_points
from sample_world.polyline import Polyline
from sample_world.scene import Float64, Material
from sample_world.site import Site
from sample_world.vegetation import scatter_trees

_PITCH_M, _TRACK_STRAIGHT_M = (70.0, 44.0), 84.0
_AWNINGS = ((200, 60, 56), (236, 232, 220), (60, 110, 150), (226, 186, 60))
_COURT_GROUNDS = ("court_blue", "court_green", "track")


def lay_out_park(site: Site, rng: np.random.Generator, district: District, block: Polygon) -> None:
    """Lawn, winding paths, perhaps a pond and a playground, trees."""
    site.canvas.fill(block, str(rng.choice(["lawn_a", "grass", "lawn_b"])))
    inner = largest_part(block.buffer(-6))
    if not inner.is_empty and rng.random() < 0.5:
        site.canvas.fill_path(shapely.get_coordinates(inner.exterior), 2.4, "path")
    centre = np.array((block.centroid.x, block.centroid.y))
    for goal in random_points(rng, block, int(rng.integers(3, 7))):
        _pave_path(site, rng, centre, goal)
    if rng.random() < 0.6:
        _dig_pond(site, rng, largest_part(block.buffer(-15)))
    if rng.random() < 0.45:
        _build_playground(site, rng, largest_part(block.buffer(-9)))
    points = random_points(rng, block, int(rng.poisson(block.area * rng.uniform(0.004, 0.013))))
    scatter_trees(rng, site.trees, points, conifer_share=district.conifer_share)


def _pave_path(site: Site, rng: np.random.Generator, start: Float64, end: Float64) -> None:
    bend = (start + end) / 2 + rng.normal(0, 8, 2)
    t = np.linspace(0, 1, 12)[:, None]
    curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end  # quadratic Bezier
    site.canvas.fill_path(curve, 2.6, "path")


def _dig_pond(site: Site, rng: np.random.Generator, room: Polygon) -> None:
    for x, y in random_points(rng, room, 1).tolist():
        size = rng.uniform(12, 24)
        pond = Frame(x, y, rng.uniform(0, np.pi)).ellipse(size, size * rng.uniform(0.5, 0.9), 30)
        wobble = 1 + 0.12 * np.sin(3 * np.arange(30) / 30 * 2 * np.pi + x)
        pond = (x, y) + (pond - (x, y)) * wobble[:, None]
        site.canvas.fill((x, y) + (pond - (x, y)) * 1.15, "gravel")
        site.canvas.fill(pond, "water")
        site.canvas.occupy(pond, Occupied.WATER)


def _build_playground(site: Site, rng: np.random.Generator, room: Polygon) -> None:
    for x, y in random_points(rng, room, 1).tolist():
        spot = Frame(x, y, rng.uniform(0, np.pi))
        site.canvas.fill(spot.ellipse(15, 12), "sand")
        site.canvas.occupy(spot.ellipse(15, 12), Occupied.WATER)
        places = spot.to_town([(-3.5, 0.0), (3.0, 1.5), (1.0, -3.0)])
        rgb = np.array([(190, 60, 50), (60, 110, 190), (220, 180, 60)])
        size = (np.array([3.0, 2.2, 1.2]), np.array([2.0, 1.4, 1.2]), np.array([2.2, 2.8, 1.4]))
        site.boxes.add(places[:, 0], places[:, 1], size, rgb, angle_rad=spot.angle_rad)


def lay_out_sports(
    site: Site, rng: np.random.Generator, district: District, block: Polygon
) -> None:
    """A football pitch, often inside a running track, small courts around it."""
    site.canvas.fill(block, "lawn_b")
    frame = fit_box(block).frame
    centre = block.centroid
    frame = Frame(centre.x, centre.y, frame.angle_rad)
    if rng.random() < 0.5 and block.area > 12_000:
        straight = shapely.LineString(frame.to_town([(-42.0, 0.0), (42.0, 0.0)]))
        site.canvas.fill(straight.buffer(36).intersection(block), "track")
        site.canvas.fill(straight.buffer(29).intersection(block), "lawn_a")
    field = Polygon(frame.rectangle(*_PITCH_M)).intersection(block)
    _paint_pitch(site, frame, field)
    site.canvas.occupy(frame.rectangle(*_PITCH_M), Occupied.WATER)
    around = block.difference(field.buffer(12))
    for x, y in random_points(rng, largest_part(around.buffer(-10)), int(rng.integers(0, 4))):
        _paint_court(site, rng, Frame(x, y, frame.angle_rad))
    points = random_points(rng, around, int(rng.poisson(around.area * 0.004)))
    scatter_trees(rng, site.trees, points, conifer_share=district.conifer_share)


def _paint_pitch(site: Site, frame: Frame, field: BaseGeometry) -> None:
    """Mowing stripes, lines, goals."""
    canvas = site.canvas
    canvas.fill(field, "pitch")
    mown = frame.shifted(-_PITCH_M[0] / 2, 0.0, np.pi / 2)
    canvas.fill_stripes(field, mown, "lawn_a", pitch_m=17.5, width_m=8.75)
    canvas.outline(frame.rectangle(66, 41), 0.4, "white")
    canvas.outline(frame.ellipse(18, 18), 0.4, "white")
    ends = frame.to_town([(0.0, -20.5), (0.0, 20.5)])
    canvas.fill_strips(ends[:1], ends[1:], 0.4, "white")
    for side in (-1.0, 1.0):
        canvas.outline(frame.shifted(side * 25.5, 0.0).rectangle(15, 26), 0.4, "white")
        goal = frame.shifted(side * 33.4, 0.0)
        size = (0.15, 7.3, 2.4)
        site.boxes.add(goal.x, goal.y, size, (236, 236, 236), angle_rad=goal.angle_rad)


def _paint_court(site: Site, rng: np.random.Generator, frame: Frame) -> None:
    ground = str(rng.choice(_COURT_GROUNDS))
    site.canvas.fill(frame.rectangle(26, 14), ground)
    site.canvas.outline(frame.rectangle(22, 10), 0.3, "white")
    ends = frame.to_town([(0.0, -5.0), (0.0, 5.0)])
    site.canvas.fill_strips(ends[:1], ends[1:], 0.3, "white")
    site.canvas.occupy(frame.rectangle(26, 14), Occupied.WATER)


def lay_out_plaza(site: Site, rng: np.random.Generator, district: District, block: Polygon) -> None:
    """A paved square: a round in the middle, a church or market stalls, trees at the rim."""
    site.canvas.fill(block, str(rng.choice(["paving_a", "paving_b", "paving_c"])))
    middle = Frame(block.centroid.x, block.centroid.y, fit_box(block).frame.angle_rad)
    rim = largest_part(block.buffer(-4))
    if rng.random() < 0.5:
        site.canvas.fill(middle.ellipse(18, 18), "paving_b")
        site.canvas.fill(middle.ellipse(10, 10), str(rng.choice(["water", "lawn_a"])))
        site.canvas.occupy(middle.ellipse(10, 10), Occupied.WATER)
    room = largest_part(block.buffer(-18))
    if rng.random() < 0.5 and block.area > 1500 and not room.is_empty:
        for x, y in random_points(rng, room, 1).tolist():
            _raise_church(site, rng, district, Frame(x, y, middle.angle_rad))
    elif not rim.is_empty:
        _put_up_stalls(site, rng, middle)
    if not rim.is_empty:
        line = Polyline(rim.exterior)
        points, _ = line.at(line.steps(9.0))
        site.trees.add(points, radius_m=rng.uniform(1.8, 2.6, len(points)))


def _raise_church(site: Site, rng: np.random.Generator, district: District, frame: Frame) -> None:
    """A nave and a tower with a spire."""
    nave = BuildingPlan(frame, 26, 12, 3, RoofShape.GABLE)
    raise_building(site, rng, district, nave)
    at = frame.shifted(-15, 0)
    floors = 23.0 / district.kind.floor_height_m
    raise_building(site, rng, district, BuildingPlan(at, 6.5, 6.5, floors, RoofShape.FLAT))
    top = site.ground_z(at.x, at.y) + 23.0
    base = np.hstack([at.rectangle(7, 7), np.full((4, 1), top)])
    spire = np.vstack([base, [(at.x, at.y, top + 14.0)]])
    faces = [(0, 1, 4), (1, 2, 4), (2, 3, 4), (3, 0, 4)]
    site.mesh.add(spire, faces, Material.ROOF_TILE, (84, 110, 98))


def _put_up_stalls(site: Site, rng: np.random.Generator, middle: Frame) -> None:
    count = int(rng.integers(0, 14))
    row, place = np.divmod(np.arange(count), 7)
    local = np.column_stack([(place - 3) * 4.2, 8.0 - 16.0 * row])
    places = middle.to_town(local)
    rgb = np.array(_AWNINGS, np.float64)[rng.integers(len(_AWNINGS), size=count)]
    if count:
        size = (3.0, 2.4, 0.5)
        angle = middle.angle_rad
        site.boxes.add(
            places[:, 0], places[:, 1], size, rgb, angle_rad=angle, lift_m=2.1, taper=0.5
        )
        site.boxes.add(
            places[:, 0], places[:, 1], (2.6, 1.6, 0.95), (140, 110, 84), angle_rad=angle
        )
