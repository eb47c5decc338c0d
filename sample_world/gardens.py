"""What surrounds a house: driveway, garage, pool, patio, hedges, sheds."""

import numpy as np
import shapely
from shapely import Point, Polygon

from sample_world.buildings import BuildingPlan, RoofShape, pitched, raise_building
from sample_world.canvas import Occupied
from sample_world.districts import District
from sample_world.frame import Frame, random_points
from sample_world.scene import Float64, Material
from sample_world.site import Site

_DRIVE_GROUNDS = ("gravel", "paving_c", "paving_b", "asphalt_c", "paving_a")
_LONGEST_DRIVE_M = 32.0


class StreetFinder:
    """The nearest point of any street."""

    def __init__(self, lines: list[shapely.LineString]) -> None:
        self._lines = np.array(lines)
        self._tree = shapely.STRtree(lines)

    def nearest(self, x: float, y: float) -> Float64:
        """(2,) the point of a street nearest to (x, y)."""
        here = Point(x, y)
        line = self._lines[int(self._tree.nearest(here))]
        onto = line.interpolate(line.project(here))
        return np.array((onto.x, onto.y))


def lay_out_garden(
    site: Site,
    rng: np.random.Generator,
    district: District,
    parcel: Polygon,
    house: BuildingPlan,
    streets: StreetFinder,
) -> None:
    """Fill the parcel around its house."""
    footprint = Polygon(house.frame.rectangle(house.length_m, house.width_m))
    if rng.random() < 0.6:
        _lay_drive(site, rng, house, streets)
    if rng.random() < 0.45:
        _lay_patio(site, rng, house)
    if rng.random() < (0.3 if parcel.area > 800 else 0.12):
        _dig_pool(site, rng, parcel, footprint, house.frame.angle_rad)
    if rng.random() < 0.55:
        plant_hedges(site, rng, parcel)
    if rng.random() < district.garage_share:
        _raise_garage(site, rng, district, parcel, footprint, house)


def _lay_drive(
    site: Site, rng: np.random.Generator, house: BuildingPlan, streets: StreetFinder
) -> None:
    """A strip to the nearest street, perhaps a car on it; roads are painted over its far end."""
    start = np.array((house.frame.x, house.frame.y))
    end = streets.nearest(*start.tolist())
    length = float(np.hypot(*(end - start)))
    if not 9.0 < length < _LONGEST_DRIVE_M:
        return
    ground = str(rng.choice(_DRIVE_GROUNDS))
    site.canvas.fill_strips(start[None], end[None], rng.uniform(2.2, 3.6), ground)
    direction = (end - start) / length
    spot = end - direction * 9.5
    angle = float(np.arctan2(direction[1], direction[0]))
    site.cars.add(spot[None], angle_rad=angle, chance=0.5)


def lay_footpath(
    site: Site, rng: np.random.Generator, house: BuildingPlan, streets: StreetFinder
) -> None:
    """A narrow path along a block of flats and on to the street."""
    ground = str(rng.choice(["path", "paving_c", "asphalt_c"]))
    side = float(rng.choice([-1.0, 1.0])) * (house.width_m / 2 + 3.0)
    ends = house.frame.to_town([(-house.length_m / 2, side), (house.length_m / 2, side)])
    site.canvas.fill_strips(ends[:1], ends[1:], 2.0, ground)
    goal = streets.nearest(*ends[1].tolist())
    if np.hypot(*(goal - ends[1])) < 2 * _LONGEST_DRIVE_M:
        site.canvas.fill_strips(ends[1:], goal[None], 2.0, ground)


def _lay_patio(site: Site, rng: np.random.Generator, house: BuildingPlan) -> None:
    side = float(rng.choice([-1.0, 1.0]))
    spot = house.frame.shifted(rng.uniform(-0.2, 0.2) * house.length_m, side * house.width_m * 0.6)
    ground = str(rng.choice(["paving_a", "paving_b", "deck", "deck"]))
    site.canvas.fill(spot.rectangle(rng.uniform(3, 6), rng.uniform(3, 5)), ground)


def _dig_pool(
    site: Site, rng: np.random.Generator, parcel: Polygon, footprint: Polygon, angle_rad: float
) -> None:
    yard = parcel.buffer(-3.5).difference(footprint.buffer(3.5))
    for x, y in random_points(rng, yard, 1).tolist():
        spot = Frame(x, y, angle_rad)
        length, width = rng.uniform(6, 9), rng.uniform(3, 4.5)
        site.canvas.fill(spot.rectangle(length + 2.4, width + 2.4), "paving_a")
        is_round = rng.random() < 0.25
        basin = spot.ellipse(length, width) if is_round else spot.rectangle(length, width)
        site.canvas.fill(basin, "pool")
        site.canvas.occupy(spot.rectangle(length + 1, width + 1), Occupied.WATER)


def plant_hedges(site: Site, rng: np.random.Generator, parcel: Polygon) -> None:
    """Hedges or board fences along one to three sides of a parcel."""
    corners = shapely.get_coordinates(parcel.exterior)
    start, delta = corners[:-1], np.diff(corners, axis=0)
    length = np.hypot(delta[:, 0], delta[:, 1])
    sides = np.flatnonzero(length > 4)
    sides = rng.permutation(sides)[: int(rng.integers(1, 4))]
    if not len(sides):
        return
    middle = start[sides] + delta[sides] / 2
    angle = np.arctan2(delta[sides, 1], delta[sides, 0])
    if rng.random() < 0.7:
        rgb = np.array((64.0, 92.0, 44.0)) * rng.uniform(0.8, 1.2)
        height = rng.uniform(1.0, 1.9)
        site.boxes.add(
            middle[:, 0], middle[:, 1], (length[sides] * 0.92, 0.8, height), rgb,
            angle_rad=angle, taper=0.94, material=Material.LEAF,
            object_id=rng.integers(1 << 20, size=len(sides)),
        )  # fmt: skip
    else:
        rgb = np.array((150.0, 124.0, 96.0)) * rng.uniform(0.6, 1.45)
        size = (length[sides] * 0.96, 0.12, rng.uniform(0.9, 1.6))
        site.boxes.add(middle[:, 0], middle[:, 1], size, np.clip(rgb, 0, 235), angle_rad=angle)


def _raise_garage(
    site: Site,
    rng: np.random.Generator,
    district: District,
    parcel: Polygon,
    footprint: Polygon,
    house: BuildingPlan,
) -> None:
    """A garage or shed beside the house, where the parcel has room for one."""
    length, width = rng.uniform(3.2, 6.2), rng.uniform(2.8, 3.8)
    across = (house.width_m - width) / 2
    beside = (house.length_m + length) / 2 + 0.15
    sides = [(beside, across), (-beside, across), (beside, -across), (-beside, -across)]
    spots = [house.frame.shifted(*sides[int(i)]) for i in rng.permutation(4)]
    spots += [Frame(x, y, house.frame.angle_rad) for x, y in random_points(rng, parcel, 3).tolist()]
    shapely.prepare(parcel)
    for spot in spots:
        shape = Polygon(spot.rectangle(length, width))
        if parcel.contains(shape) and not shape.intersects(footprint):
            roof = RoofShape.FLAT if rng.random() < 0.6 else pitched(rng, district)
            raise_building(site, rng, district, BuildingPlan(spot, length, width, 0.8, roof))
            return
