"""Painting water, carriageways, sidewalks, markings, crossings and roundabouts."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from shapely.geometry.base import BaseGeometry

from sample_world.canvas import Canvas, Occupied
from sample_world.frame import Frame
from sample_world.polyline import Polyline
from sample_world.road_layout import RoadLayout, Street
from sample_world.scene import Float64
from sample_world.site import Site

_CLEAR_OF_JUNCTION_M = 11.0
_ROUNDABOUT_SHARE = 0.08


class JunctionFinder:
    """Tells which points lie close to a junction."""

    def __init__(self, junctions: Float64) -> None:
        self._tree = cKDTree(junctions) if len(junctions) else None

    def is_clear(self, points: Float64, distance_m: float) -> NDArray[np.bool_]:
        """(n,) whether no junction lies within `distance_m`."""
        if self._tree is None:
            return np.ones(len(points), bool)
        nearest, _ = self._tree.query(points)
        return np.asarray(nearest > distance_m, bool)


def paint_water(canvas: Canvas, water: BaseGeometry) -> None:
    """Paint banks and water; trees and cars keep off it from then on."""
    canvas.fill(water.buffer(9), "lawn_b")
    canvas.fill(water.buffer(2), "gravel")
    canvas.fill(water, "water")
    canvas.occupy(water.buffer(0.5), Occupied.WATER)


def paint_roads(site: Site, layout: RoadLayout) -> None:
    """Paint every road over what is there already, then its markings."""
    rng = site.rng("road_paint")
    _paint_surfaces(rng, site.canvas, layout.strokes)
    finder = JunctionFinder(layout.junctions)
    for street in layout.streets:
        _paint_markings(rng, site.canvas, street, finder)
    for x, y in layout.junctions:
        if rng.random() < _ROUNDABOUT_SHARE:
            _paint_roundabout(site, Frame(x, y, 0.0))


def _paint_surfaces(rng: np.random.Generator, canvas: Canvas, strokes: tuple[Street, ...]) -> None:
    """Sidewalks of all, then minor carriageways, then main ones on top."""
    for stroke in strokes:
        canvas.fill(stroke.line.buffer(stroke.half_width_m + stroke.sidewalk_m), "sidewalk")
    minor = [stroke for stroke in strokes if not stroke.is_main]
    main = [stroke for stroke in strokes if stroke.is_main]
    for stroke in minor:
        surface = str(rng.choice(["asphalt_a", "asphalt_b", "asphalt_c"], p=[0.5, 0.25, 0.25]))
        canvas.fill(stroke.line.buffer(stroke.half_width_m), surface)
    for stroke in main:
        if rng.random() < 0.6:
            canvas.fill(stroke.line.buffer(stroke.half_width_m + 1.6), "bike_lane")
    for stroke in main:
        canvas.fill(stroke.line.buffer(stroke.half_width_m), "asphalt_b")
    for stroke in strokes:
        canvas.occupy(stroke.line.buffer(stroke.half_width_m), Occupied.ROAD)


def _paint_markings(
    rng: np.random.Generator, canvas: Canvas, street: Street, finder: JunctionFinder
) -> None:
    line = Polyline(street.line)
    if street.is_main:
        for offset in (-0.25, 0.25):
            _dashes(canvas, line, finder, offset, width_m=0.28, dash_m=2.0, gap_m=0.0)
        for offset in (-3.5, 3.5):
            _dashes(canvas, line, finder, offset, width_m=0.3, dash_m=3.0, gap_m=5.0)
    elif rng.random() < 0.75:
        _dashes(canvas, line, finder, 0.0, width_m=0.28, dash_m=2.0, gap_m=4.0)
    for from_end in (False, True):
        if line.length_m > 30 and rng.random() < (0.75 if street.is_main else 0.3):
            _zebra(canvas, line, street.half_width_m, from_end=from_end)


def _dashes(
    canvas: Canvas,
    line: Polyline,
    finder: JunctionFinder,
    offset_m: float,
    *,
    width_m: float,
    dash_m: float,
    gap_m: float,
) -> None:
    """A dashed (gap > 0) or solid line beside the centre, interrupted at junctions."""
    distance = line.steps(dash_m + gap_m, end_m=dash_m)
    if not len(distance):
        return
    start, _ = line.at(distance, offset_m)
    end, _ = line.at(distance + dash_m, offset_m)
    clear = finder.is_clear((start + end) / 2, _CLEAR_OF_JUNCTION_M)
    canvas.fill_strips(start[clear], end[clear], width_m, "white")


def _zebra(canvas: Canvas, line: Polyline, half_width_m: float, *, from_end: bool) -> None:
    """A pedestrian crossing and a stop line, just outside the junction at one end."""
    offsets = np.arange(-half_width_m + 0.6, half_width_m - 0.3, 1.1)
    along = np.array([12.0, 15.2])
    if from_end:
        along = line.length_m - along
    start, _ = line.at(np.full(len(offsets), along[0]), offsets)
    end, _ = line.at(np.full(len(offsets), along[1]), offsets)
    canvas.fill_strips(start, end, 0.55, "white")
    stop = line.length_m - 17.0 if from_end else 17.0
    side = -1 if from_end else 1
    ends, _ = line.at([stop, stop], np.array([0.2, half_width_m - 0.4]) * side)
    canvas.fill_strips(ends[:1], ends[1:], 0.45, "white")


def _paint_roundabout(site: Site, frame: Frame) -> None:
    for diameter, ground in ((30, "sidewalk"), (26, "asphalt_a"), (12, "paving_a"), (10, "lawn_a")):
        site.canvas.fill(frame.ellipse(diameter, diameter), ground)
    site.canvas.occupy(frame.ellipse(26, 26), Occupied.ROAD)
    site.canvas.occupy(frame.ellipse(10, 10), Occupied.FREE)
    site.trees.add(np.array([[frame.x, frame.y]]), radius_m=np.array([2.6]))
