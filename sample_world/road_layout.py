"""Where the streets and the water are: a warped grid, a boulevard, a river, perhaps a lake."""

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import shapely
from shapely import LineString, Polygon, box
from shapely.geometry.base import BaseGeometry
from shapely.ops import substring

from sample_world.scene import Float64
from sample_world.styles import TownStyle

MAIN_HALF_WIDTH_M = 7.0
MINOR_HALF_WIDTH_M = 3.6
MAIN_SIDEWALK_M = 4.0
MINOR_SIDEWALK_M = 2.4
MARGIN_M = 60.0  # streets and blocks reach this far beyond the town
_MAIN_EVERY = 5
_MIN_BLOCK_M2 = 250.0
_PIECE_M = 110.0  # of shore roads


@dataclass(frozen=True)
class Street:
    """A stretch of road between two junctions, or one stroke of the grid."""

    line: LineString
    is_main: bool

    @property
    def half_width_m(self) -> float:
        """Half the carriageway."""
        return MAIN_HALF_WIDTH_M if self.is_main else MINOR_HALF_WIDTH_M

    @property
    def sidewalk_m(self) -> float:
        """Width of the sidewalk on each side."""
        return MAIN_SIDEWALK_M if self.is_main else MINOR_SIDEWALK_M


@dataclass(frozen=True)
class RoadLayout:
    """Streets, water and the blocks between them.

    Attributes:
        strokes: roads as drawn, crossing each other freely; what is painted.
        streets: the same, cut at junctions.
        junctions: (J, 2) where three or more streets meet.
        water: river and lake.
        blocks: land enclosed by sidewalks, river banks and the margin.
    """

    strokes: tuple[Street, ...]
    streets: tuple[Street, ...]
    junctions: Float64
    water: BaseGeometry
    blocks: tuple[Polygon, ...]


class _Warp:
    """Bends the plane by a few long waves and turns it, so that a grid looks grown."""

    def __init__(self, rng: np.random.Generator, size_m: float) -> None:
        self._middle = size_m / 2
        self._amplitude = rng.uniform(18, 55, 5)
        self._wave_number = rng.uniform(0.6, 1.9, (5, 2)) * 2 * np.pi / 2000
        self._phase = rng.uniform(0, 2 * np.pi, 5)
        self._direction = rng.uniform(0, 2 * np.pi, 5)
        self._turn = rng.uniform(-0.5, 0.5)

    def __call__(self, points: Float64) -> Float64:
        moved = points - self._middle
        for wave in range(5):
            kx, ky = self._wave_number[wave]
            along = points[:, 0] * kx + points[:, 1] * ky + self._phase[wave]
            push = self._amplitude[wave] * np.sin(along)
            direction = self._direction[wave]
            moved = moved + np.outer(push, (np.cos(direction), np.sin(direction)))
        cos, sin = np.cos(self._turn), np.sin(self._turn)
        x, y = moved[:, 0], moved[:, 1]
        turned = np.column_stack([x * cos - y * sin, x * sin + y * cos]) + self._middle
        return np.round(turned, 3)  # crossings must share their coordinates exactly


def _ticks(rng: np.random.Generator, size_m: float, spacing_m: tuple[float, float]) -> Float64:
    """Where parallel streets lie, before warping."""
    reach = 0.35 * size_m + 120
    ticks = [-reach]
    while ticks[-1] < size_m + reach:
        ticks.append(ticks[-1] + rng.uniform(*spacing_m))
    return np.array(ticks)


def _grid(rng: np.random.Generator, size_m: float, style: TownStyle) -> list[Street]:
    warp = _Warp(rng, size_m)
    columns, rows = (_ticks(rng, size_m, style.spacing_m) for _ in range(2))
    strokes = []
    for swap, fixed, running in ((False, columns, rows), (True, rows, columns)):
        first_main = int(rng.integers(_MAIN_EVERY))
        for index, position in enumerate(fixed):
            is_main = index % _MAIN_EVERY == first_main
            for start, end in pairwise(running.tolist()):
                if is_main or rng.random() > style.missing_streets:
                    pair = np.full(9, position), np.linspace(start, end, 9)
                    points = np.column_stack(pair[::-1] if swap else pair)
                    strokes.append(Street(LineString(warp(points)), is_main))
    return strokes


def _winding(
    centre: Float64, angle_rad: float, size_m: float, sway_m: float, wave_m: float
) -> LineString:
    """A long line through `centre` that sways to both sides."""
    t = np.linspace(-1.6, 1.6, 80) * (size_m + 400)
    x = centre[0] + t * np.cos(angle_rad) + sway_m * np.sin(t / wave_m)
    y = centre[1] + t * np.sin(angle_rad) + sway_m * np.cos(t / (wave_m * 1.1))
    return LineString(np.round(np.column_stack([x, y]), 3))


def _lake(rng: np.random.Generator, size_m: float) -> Polygon:
    x, y = rng.uniform(0.1, 0.9, 2) * size_m
    radius = min(rng.uniform(0.1, 0.2) * size_m, rng.uniform(50, 110))
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    phase = rng.uniform(0, 2 * np.pi, 3)
    swell = 1 + sum(0.16 / k * np.sin((k + 1) * turn + phase[k - 1]) for k in (1, 2, 3))
    stretch = rng.uniform(0.6, 1.0)
    reach = radius * swell
    return Polygon(
        np.column_stack([x + reach * np.cos(turn), y + stretch * reach * np.sin(turn)])
    ).buffer(0)


def _lines(geometry: BaseGeometry) -> list[LineString]:
    parts = shapely.get_parts(geometry)
    return [part for part in parts if part.geom_type == "LineString" and part.length > 5]


def _with_water(
    strokes: list[Street], river: BaseGeometry, lake: BaseGeometry, *, quays: bool
) -> list[Street]:
    """Keep what crosses water on bridges (main roads, river only) and add roads along shores."""
    banks, shore = river.buffer(6), lake.buffer(16)
    kept = []
    for stroke in strokes:
        if not stroke.is_main and stroke.line.intersects(banks):
            continue
        if stroke.line.intersects(shore):
            parts = _lines(stroke.line.difference(shore))
            kept += [Street(part, stroke.is_main) for part in parts]
        else:
            kept.append(stroke)
    around = shapely.union(river.buffer(16), shore) if quays else shore
    for line in _lines(around.boundary.simplify(0.3).difference(lake.buffer(15))):
        kept += [Street(piece, False) for piece in _pieces(line)]
    return kept


def _pieces(line: LineString) -> list[LineString]:
    """Cut a line into stretches of about a block: a closed one would enclose the water."""
    count = max(2, round(line.length / _PIECE_M))
    ends = np.linspace(0, line.length, count + 1).tolist()
    return [
        piece
        for start, end in pairwise(ends)
        if isinstance(piece := substring(line, start, end), LineString)
    ]


def _junctions(streets: list[LineString]) -> Float64:
    ends = Counter(
        (round(x, 1), round(y, 1)) for line in streets for x, y in (line.coords[0], line.coords[-1])
    )
    return np.array([end for end, count in ends.items() if count >= 3]).reshape(-1, 2)


def lay_out_roads(rng: np.random.Generator, size_m: float, style: TownStyle) -> RoadLayout:
    """Draw the street network, the water and the blocks of a town."""
    area = box(-MARGIN_M, -MARGIN_M, size_m + MARGIN_M, size_m + MARGIN_M)
    strokes = _grid(rng, size_m, style)
    angle = rng.uniform(0, np.pi)
    boulevard = _winding(rng.uniform(0.3, 0.7, 2) * size_m, angle, size_m, 70, 285)
    strokes.append(Street(boulevard, True))
    river: BaseGeometry = Polygon()
    lake: BaseGeometry = Polygon()
    course = _winding(
        rng.uniform(0.2, 0.8, 2) * size_m, angle + rng.uniform(0.8, 2.2), size_m, 110, 290
    )
    if rng.random() < style.river_chance:
        river = course.buffer(rng.uniform(*style.river_half_width_m))
    if rng.random() < style.lake_chance:
        lake = _lake(rng, size_m)
    if lake.intersects(river.buffer(40)):  # one water, crossed by bridges
        river, lake = shapely.union(river, lake), Polygon()
    strokes = _with_water(strokes, river, lake, quays=style.quays)
    strokes = [stroke for stroke in strokes if stroke.line.intersects(area)]
    return _assemble(strokes, shapely.union(river, lake).intersection(area), area)


def _assemble(strokes: list[Street], water: BaseGeometry, area: Polygon) -> RoadLayout:
    """Cut strokes at junctions and find the blocks between them."""
    net = _lines(shapely.unary_union([stroke.line for stroke in strokes]))
    mains = shapely.STRtree([stroke.line for stroke in strokes if stroke.is_main])
    middles = shapely.line_interpolate_point(net, 0.5, normalized=True)
    on_main = set(mains.query(middles, "dwithin", 0.5)[0].tolist())
    lanes = [s.line.buffer(s.half_width_m + s.sidewalk_m, quad_segs=4) for s in strokes]
    open_land = area.difference(shapely.unary_union([*lanes, water.buffer(10)]))
    parts = [part for part in shapely.get_parts(open_land) if part.area > _MIN_BLOCK_M2]
    return RoadLayout(
        strokes=tuple(strokes),
        streets=tuple(Street(line, index in on_main) for index, line in enumerate(net)),
        junctions=_junctions(net),
        water=water,
        blocks=tuple(part for part in parts if part.geom_type == "Polygon"),
    )
