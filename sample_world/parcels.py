"""Cutting blocks into parcels and building on each what its district builds."""

from dataclasses import dataclass

import numpy as np
import shapely
from shapely import Polygon

from sample_world.buildings import BuildingPlan, RoofShape, pitched, raise_building
from sample_world.districts import District
from sample_world.frame import Frame, OrientedBox, fit_box, halve, random_points
from sample_world.gardens import StreetFinder, lay_footpath, lay_out_garden, plant_hedges
from sample_world.parking import lay_out_parking
from sample_world.site import Site
from sample_world.styles import Footprint
from sample_world.vegetation import scatter_trees
from sample_world.yards import fill_yard

_SMALLEST_M2 = 60.0
_DEEPEST = 9
_NARROWEST_M = 4.5


@dataclass(frozen=True)
class _Parcel:
    shape: Polygon
    box: OrientedBox


def build_block(
    site: Site,
    rng: np.random.Generator,
    district: District,
    block: Polygon,
    streets: StreetFinder,
) -> None:
    """Paint a block and build on all of its parcels."""
    site.canvas.fill(block, district.resolve(str(rng.choice(district.kind.base))))
    for parcel in _subdivide(rng, block, district.kind.parcel_area_m2, 0):
        _build_parcel(site, rng, district, parcel, streets)


def _subdivide(
    rng: np.random.Generator, shape: Polygon, area_m2: float, depth: int
) -> list[_Parcel]:
    """Halve across the longer side until pieces are about `area_m2`."""
    if shape.area < _SMALLEST_M2:
        return []
    box = fit_box(shape)
    if shape.area < 1.4 * area_m2 * rng.uniform(0.7, 1.5) or depth >= _DEEPEST:
        return [_Parcel(shape, box)]
    halves = halve(shape, box, rng.uniform(0.38, 0.62))
    return [piece for half in halves for piece in _subdivide(rng, half, area_m2, depth + 1)]


def _build_parcel(
    site: Site,
    rng: np.random.Generator,
    district: District,
    parcel: _Parcel,
    streets: StreetFinder,
) -> None:
    kind = district.kind
    yard = district.resolve(str(rng.choice(kind.yards)))
    if kind.footprint is not Footprint.DENSE or rng.random() < 0.5:
        site.canvas.fill(parcel.shape.buffer(-0.3, join_style="mitre"), yard)
    use = rng.random()
    if use < 0.05 and parcel.shape.area > 500:
        lay_out_parking(site, rng, parcel.shape)
        return
    plan = _plan_building(rng, district, parcel) if use > 0.08 else None
    if plan is None:
        _scatter(site, rng, district, parcel.shape, 0.014)
        return
    _raise_plan(site, rng, district, parcel, plan)
    if kind.has_garden:
        lay_out_garden(site, rng, district, parcel.shape, plan, streets)
    elif kind.footprint in (Footprint.SLAB, Footprint.TOWER):
        lay_footpath(site, rng, plan, streets)
        if rng.random() < 0.3:
            plant_hedges(site, rng, parcel.shape)
    elif kind.footprint is Footprint.HALL:
        fill_yard(site, rng, parcel.shape, parcel.box)
    _scatter(site, rng, district, parcel.shape, kind.trees_per_m2)


def _scatter(
    site: Site, rng: np.random.Generator, district: District, shape: Polygon, per_m2: float
) -> None:
    points = random_points(rng, shape, int(rng.poisson(shape.area * per_m2)))
    scatter_trees(rng, site.trees, points, conifer_share=district.conifer_share)


def _plan_building(
    rng: np.random.Generator, district: District, parcel: _Parcel
) -> BuildingPlan | None:
    """The main building: as large as the coverage asks for and the parcel allows, or none."""
    kind, box, area = district.kind, parcel.box, parcel.shape.area
    share = np.sqrt(rng.uniform(*kind.coverage) * area / max(box.length_m * box.width_m, 1.0))
    stretch = rng.uniform(0.85, 1.15, 2)
    length = min(box.length_m * share * stretch[0], kind.max_footprint_m[0])
    width = min(box.width_m * share * stretch[1], kind.max_footprint_m[1])
    centre = shapely.centroid(parcel.shape)
    at_box = centre.x - box.frame.x, centre.y - box.frame.y
    turn = rng.normal(0, 0.05) if kind.footprint is Footprint.HOUSE else 0.0
    if kind.footprint is Footprint.ROW and rng.random() < 0.2:
        turn += np.pi / 2
    drift = rng.normal(0, 0.04, 2) * (box.length_m, box.width_m)
    frame = box.frame.shifted(float(drift[0]), float(drift[1]), turn)
    frame = Frame(frame.x + at_box[0], frame.y + at_box[1], frame.angle_rad)
    room = parcel.shape.buffer(0.05)
    shapely.prepare(room)
    for _ in range(4):
        if min(length, width) < _NARROWEST_M:
            return None
        if room.contains(Polygon(frame.rectangle(length, width))):
            floors = int(rng.integers(kind.floors[0], kind.floors[1] + 1))
            roof = pitched(rng, district) if rng.random() < kind.pitched_share else RoofShape.FLAT
            return BuildingPlan(frame, length, width, floors, roof)
        length, width = 0.86 * length, 0.86 * width
    return None


def _raise_plan(
    site: Site, rng: np.random.Generator, district: District, parcel: _Parcel, plan: BuildingPlan
) -> None:
    """Raise the plan as is, or as an L, a tower on a podium, a hall with saw teeth, a farm."""
    kind, draw = district.kind.footprint, rng.random()
    is_large = plan.length_m > 18
    if kind is Footprint.FARM:
        _raise_farm(site, rng, district, parcel, plan)
    elif kind is Footprint.HALL and draw > 0.75:
        shaped = _resized(plan, roof=RoofShape.SAWTOOTH)
        raise_building(site, rng, district, shaped)
    elif kind not in (Footprint.HOUSE, Footprint.ROW) and draw < 0.35 and is_large:
        _raise_wings(site, rng, district, parcel, _resized(plan, roof=RoofShape.FLAT))
    elif kind is Footprint.TOWER and draw < 0.7:
        raise_building(site, rng, district, _resized(plan, floors=2))
        raise_building(site, rng, district, _resized(plan, scale=(0.6, 0.6)))
    elif kind is Footprint.HOUSE and draw < 0.35 and plan.length_m > 10:
        _raise_wings(site, rng, district, parcel, plan)
    else:
        raise_building(site, rng, district, plan)


def _resized(
    plan: BuildingPlan,
    *,
    scale: tuple[float, float] = (1.0, 1.0),
    floors: float | None = None,
    roof: RoofShape | None = None,
) -> BuildingPlan:
    return BuildingPlan(
        plan.frame,
        plan.length_m * scale[0],
        plan.width_m * scale[1],
        plan.floors if floors is None else floors,
        plan.roof if roof is None else roof,
    )


def _raise_wings(
    site: Site, rng: np.random.Generator, district: District, parcel: _Parcel, plan: BuildingPlan
) -> None:
    """An L or T: a main wing and, where the parcel has room, one across it."""
    main = _resized(plan, scale=(1.0, 0.6))
    raise_building(site, rng, district, main)
    side = float(rng.choice([-0.33, 0.0, 0.33]))
    frame = plan.frame.shifted(side * plan.length_m, plan.width_m * 0.42)
    wing = BuildingPlan(
        frame,
        plan.length_m * 0.34,
        plan.width_m * 0.66,
        max(1, plan.floors - int(rng.integers(0, 2))),
        plan.roof,
    )
    if parcel.shape.contains(Polygon(frame.rectangle(wing.length_m, wing.width_m))):
        raise_building(site, rng, district, wing)


def _raise_farm(
    site: Site, rng: np.random.Generator, district: District, parcel: _Parcel, plan: BuildingPlan
) -> None:
    """A farmhouse and up to two barns around a gravel yard."""
    yard = plan.frame.ellipse(plan.length_m * 1.8, plan.width_m * 3.4)
    site.canvas.fill(shapely.intersection(Polygon(yard), parcel.shape), "gravel")
    house = BuildingPlan(plan.frame, min(plan.length_m, 15), min(plan.width_m, 11), 2, plan.roof)
    raise_building(site, rng, district, house)
    for side in (-1.0, 1.0):
        length, width = rng.uniform(16, 34), rng.uniform(9, 14)
        spot = plan.frame.shifted(
            side * (house.length_m / 2 + width), rng.uniform(-6, 6), np.pi / 2
        )
        if parcel.shape.contains(Polygon(spot.rectangle(length, width))):
            barn = BuildingPlan(spot, length, width, 1.6, RoofShape.GABLE)
            raise_building(site, rng, district, barn)
