"""Along the streets: trees, lamps, bus shelters, railings on bridges, parked and moving cars."""

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from sample_world.polyline import Polyline
from sample_world.road_layout import RoadLayout, Street
from sample_world.road_paint import JunctionFinder
from sample_world.scene import Float64, Material
from sample_world.site import Site

_CLEAR_M = 14.0
_POLE_RGB, _LAMP_RGB = (90, 92, 94), (236, 232, 210)
_LAMP_SPACING_M, _PARKING_SPACING_M = 28.0, 6.2


def furnish_streets(site: Site, layout: RoadLayout) -> None:
    """Set out everything that stands or drives along the streets."""
    rng = site.rng("street_furniture")
    finder = JunctionFinder(layout.junctions)
    shapely.prepare(layout.water)
    for street in layout.streets:
        line = Polyline(street.line)
        if line.length_m < 20:
            continue
        is_avenue = rng.random() < (0.75 if street.is_main else 0.3)
        has_parking = rng.random() < 0.7
        parking_side = int(rng.choice([-1, 0, 1], p=[0.4, 0.2, 0.4]))
        for side in (-1, 1):
            if is_avenue:
                _plant_trees(site, rng, street, line, finder, side)
            _put_up_lamps(site, street, line, finder, side)
            if has_parking and (street.is_main or side == parking_side):
                _park_cars(site, street, line, finder, side)
        _let_drive(site, rng, street, line)
        if street.is_main:
            _put_up_shelter(site, rng, street, line, finder)
            _put_up_railings(site, street, line, layout.water)


def _spots(
    line: Polyline, finder: JunctionFinder, distance: Float64, offset_m: float
) -> tuple[Float64, Float64]:
    """Points and street angles at distances along the line, those near junctions left out."""
    points, angle = line.at(distance, offset_m)
    clear = finder.is_clear(points, _CLEAR_M)
    return points[clear], angle[clear]


def _plant_trees(
    site: Site,
    rng: np.random.Generator,
    street: Street,
    line: Polyline,
    finder: JunctionFinder,
    side: int,
) -> None:
    distance = line.steps(rng.uniform(8, 16), start_m=rng.uniform(2, 8))
    offset = side * (street.half_width_m + (2.6 if street.is_main else 1.2))
    points, _ = _spots(line, finder, distance[rng.random(len(distance)) < 0.88], offset)
    largest = 3.0 if street.is_main else 2.4
    site.trees.add(points, radius_m=rng.uniform(0.62 * largest, largest, len(points)))


def _put_up_lamps(
    site: Site, street: Street, line: Polyline, finder: JunctionFinder, side: int
) -> None:
    start = 10.0 if side > 0 else 10.0 + _LAMP_SPACING_M / 2
    offset = side * (street.half_width_m + 0.9)
    points, angle = _spots(line, finder, line.steps(_LAMP_SPACING_M, start_m=start), offset)
    if not len(points):
        return
    x, y = points.T
    reach = np.column_stack([np.sin(angle), -np.cos(angle)]) * side * 0.6
    across = angle + np.pi / 2
    site.boxes.add(x, y, (0.16, 0.16, 6.5), _POLE_RGB)
    head = points + reach
    size = (1.4, 0.3, 0.15)
    site.boxes.add(
        head[:, 0], head[:, 1], size, _LAMP_RGB,
        angle_rad=across, lift_m=6.5, material=Material.LAMP,
    )  # fmt: skip


def _park_cars(
    site: Site, street: Street, line: Polyline, finder: JunctionFinder, side: int
) -> None:
    distance = line.steps(_PARKING_SPACING_M, start_m=4, end_m=3)
    points, angle = _spots(line, finder, distance, side * (street.half_width_m - 1.1))
    site.cars.add(points, angle_rad=angle + (np.pi if side > 0 else 0.0), chance=0.5)


def _let_drive(site: Site, rng: np.random.Generator, street: Street, line: Polyline) -> None:
    """Moving cars, on the right-hand lane."""
    for side in (-1, 1):
        distance = line.steps(45.0, start_m=rng.uniform(5, 40), end_m=5)
        offset = side * street.half_width_m * (0.26 if street.is_main else 0.36)
        points, angle = line.at(distance, offset)
        site.cars.add(points, angle_rad=angle + (np.pi if side > 0 else 0.0), chance=0.2)


def _put_up_shelter(
    site: Site, rng: np.random.Generator, street: Street, line: Polyline, finder: JunctionFinder
) -> None:
    if rng.random() > 0.35 or line.length_m < 60:
        return
    side = int(rng.choice([-1, 1]))
    distance = np.array([line.length_m * rng.uniform(0.35, 0.65)])
    points, angle = _spots(line, finder, distance, side * (street.half_width_m + 3.2))
    if len(points):
        x, y = points.T
        site.boxes.add(x, y, (4.2, 1.6, 0.15), (70, 76, 82), angle_rad=angle, lift_m=2.4)
        back, _ = line.at(distance, side * (street.half_width_m + 3.9))
        site.boxes.add(back[:, 0], back[:, 1], (4.0, 0.1, 2.4), (150, 172, 182), angle_rad=angle)


def _put_up_railings(site: Site, street: Street, line: Polyline, water: BaseGeometry) -> None:
    """Railings on both edges of a bridge."""
    for side in (-1, 1):
        offset = side * (street.half_width_m + street.sidewalk_m - 0.2)
        points, angle = line.at(line.steps(2.0), offset)
        over = shapely.contains_xy(water, points[:, 0], points[:, 1])
        if over.any():
            x, y = points[over].T
            size = (2.1, 0.2, 1.05)
            site.boxes.add(x, y, size, (176, 172, 164), angle_rad=angle[over])
