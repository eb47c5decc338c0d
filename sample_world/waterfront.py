"""On the water: piers and the boats moored at them or riding at anchor."""

import numpy as np
import shapely
from shapely import box
from shapely.geometry.base import BaseGeometry
from shapely.geometry.polygon import orient

from sample_world.canvas import Occupied
from sample_world.frame import random_points
from sample_world.polyline import Polyline
from sample_world.scene import Float64
from sample_world.site import Site

_SHORE_PER_PIER_M = 90.0
_AREA_PER_BOAT_M2 = 2200.0
_DECK_RGB, _POST_RGB = (150, 118, 86), (96, 80, 64)
_HULLS = ((232, 232, 228), (40, 60, 96), (150, 44, 40), (90, 62, 44), (214, 196, 150))


def furnish_water(site: Site, water: BaseGeometry) -> None:
    """Build piers and put boats on the water; towns with quays have three times as many."""
    rng = site.rng("waterfront")
    share = 1.0 if site.style.quays else 0.35
    here = shapely.intersection(water, box(0, 0, site.size_m, site.size_m))
    for part in shapely.get_parts(here):
        if part.geom_type == "Polygon" and part.area > 1500:
            _build_piers(site, rng, part, share)
            room = part.buffer(-6)
            count = int(rng.poisson(share * part.area / _AREA_PER_BOAT_M2))
            anchored = random_points(rng, room, count)
            anchored = anchored[site.canvas.occupied_at(*anchored.T) == Occupied.WATER]
            heading = rng.normal(rng.uniform(0, np.pi), 0.25, len(anchored))
            _add_boats(site, rng, anchored, heading)


def _build_piers(
    site: Site, rng: np.random.Generator, water: shapely.Polygon, share: float
) -> None:
    """Decks square to the shore, boats on both sides of each."""
    shore = Polyline(orient(water).exterior)
    count = int(rng.poisson(share * shore.length_m / _SHORE_PER_PIER_M))
    start, angle = shore.at(np.sort(rng.uniform(0, shore.length_m, count)))
    length = rng.uniform(10, 22, count)
    outward = angle + np.pi / 2  # the water lies to the left of its shore
    step = np.column_stack([np.cos(outward), np.sin(outward)])
    reach = step * (length + 8)[:, None] + start
    inner = water.buffer(-3)
    inside = np.asarray(shapely.contains_xy(inner, reach[:, 0], reach[:, 1]), bool)
    inside &= ((start > 3) & (start < site.size_m - 3)).all(axis=1)  # no pier from the town's edge
    inside &= site.canvas.occupied_at(*reach.T) == Occupied.WATER  # nor under a bridge
    for index in np.flatnonzero(inside):
        middle = start[index] + step[index] * (length[index] / 2 - 1)
        size = (length[index], 2.2, 0.2)
        turn = float(outward[index])
        site.boxes.add(middle[0], middle[1], size, _DECK_RGB, angle_rad=turn, lift_m=0.45)
        site.boxes.add(reach[index, 0], reach[index, 1], (0.4, 0.4, 1.6), _POST_RGB)
        side = np.array((-np.sin(turn), np.cos(turn))) * 3.0
        berths = [middle + side, middle - side, middle + side + 8 * step[index]]
        taken = np.array(berths)[rng.random(3) < 0.7]
        _add_boats(site, rng, taken, np.full(len(taken), turn))


def _add_boats(site: Site, rng: np.random.Generator, points: Float64, angle_rad: Float64) -> None:
    """Hull, pointed bow and cabin each."""
    count = len(points)
    if not count:
        return
    x, y = points.T
    length = rng.uniform(4.5, 9.0, count)
    width = length * 0.32
    paint = np.array(_HULLS, np.float64)[rng.integers(len(_HULLS), size=count)]
    site.boxes.add(x, y, (length, width, 0.9), paint, angle_rad=angle_rad, taper=1.06)
    bow_x, bow_y = x + 0.5 * length * np.cos(angle_rad), y + 0.5 * length * np.sin(angle_rad)
    bow = (width * 0.7, width * 0.7, 0.9)
    site.boxes.add(bow_x, bow_y, bow, paint, angle_rad=angle_rad + np.pi / 4)
    inside = (length * 0.7, width * 0.7, 0.06)
    site.boxes.add(x, y, inside, (170, 150, 120), angle_rad=angle_rad, lift_m=0.9)
    cabin = rng.random(count) < 0.6
    size = (length[cabin] * 0.34, width[cabin] * 0.7, 1.2)
    site.boxes.add(
        x[cabin], y[cabin], size, (236, 236, 234),
        angle_rad=angle_rad[cabin], lift_m=0.9, taper=0.85,
    )  # fmt: skip
