"""A seeded town from nothing: land, roads, blocks, buildings, trees and cars, in that order."""

import numpy as np
from shapely import Polygon, box

from crossfix.errors import InvalidParameter
from sample_world.canvas import Canvas
from sample_world.districts import DistrictMap, draw_districts
from sample_world.fields import lay_out_fields
from sample_world.gardens import StreetFinder
from sample_world.georeference import place_town
from sample_world.noise import make_noise
from sample_world.parcels import build_block
from sample_world.parking import lay_out_parking
from sample_world.randomness import stream
from sample_world.road_layout import RoadLayout, lay_out_roads
from sample_world.road_paint import paint_roads, paint_water
from sample_world.scene import Material, RoadLine, Scene
from sample_world.site import Site
from sample_world.special_blocks import lay_out_park, lay_out_plaza, lay_out_sports
from sample_world.street_furniture import furnish_streets
from sample_world.styles import TOWN_STYLES
from sample_world.terrain import make_terrain
from sample_world.vegetation import build_trees
from sample_world.vehicles import PHOTO_DAY, SATELLITE_DAY, build_cars
from sample_world.waterfront import furnish_water

SMALLEST_M, LARGEST_M = 200.0, 2000.0
_SURROUNDINGS_M = 200.0
_GROUND_CELL_M = 10.0
_CAMERA_INSET_M = 8.0  # cameras keep this far inside the town


def build_town(seed: int, *, size_m: float, style: str | None = None) -> Scene:
    """Build a town of `size_m` x `size_m`; the same arguments give the same arrays.

    Args:
        seed: any non-negative integer; decides everything, the place on Earth included.
        size_m: side of the town, 200..2000 metres.
        style: a key of `styles.TOWN_STYLES`; None lets the seed choose.

    Raises:
        InvalidParameter: `size_m` is out of range or `style` is unknown.
    """
    site = _open_site(seed, size_m, style)
    layout = lay_out_roads(site.rng("roads"), size_m, site.style)
    districts = draw_districts(site.rng("districts"), size_m, site.style)
    _build_blocks(site, layout, districts)
    paint_water(site.canvas, layout.water)
    paint_roads(site, layout)
    furnish_streets(site, layout)
    furnish_water(site, layout.water)
    _add_ground(site)
    build_trees(site.rng("trees"), site.trees, site.canvas, site.terrain, site.mesh, site.boxes)
    site.boxes.build_into(site.mesh, site.terrain)
    return _finish(site, layout)


def _open_site(seed: int, size_m: float, style: str | None) -> Site:
    if not SMALLEST_M <= size_m <= LARGEST_M:
        raise InvalidParameter(
            f"A town of {size_m} m was asked for; sizes are {SMALLEST_M:.0f}..{LARGEST_M:.0f} m."
        )
    names = list(TOWN_STYLES)
    name = names[int(stream(seed, "style").integers(len(names)))] if style is None else style
    if name not in TOWN_STYLES:
        known = ", ".join(names)
        raise InvalidParameter(f"There is no town style {name!r}; choose one of {known}.")
    chosen = TOWN_STYLES[name]
    terrain = make_terrain(stream(seed, "terrain"), relief=chosen.relief)
    return Site(seed, size_m, chosen, terrain, Canvas(size_m))


def _build_blocks(site: Site, layout: RoadLayout, districts: DistrictMap) -> None:
    rng = site.rng("blocks")
    streets = StreetFinder([street.line for street in layout.streets])
    for block in layout.blocks:
        _build_one(site, rng, block, districts, streets)


def _build_one(
    site: Site,
    rng: np.random.Generator,
    block: Polygon,
    districts: DistrictMap,
    streets: StreetFinder,
) -> None:
    """Choose what a block is used for, by the style's shares, and lay it out."""
    style, use = site.style, rng.random()
    centre = (block.centroid.x, block.centroid.y)
    district = districts.at(rng, centre)
    steps = np.cumsum([style.park, style.sports, style.plaza, style.parking])
    is_remote = districts.remoteness(centre) > style.fields_from
    if use < steps[0] and block.area > 3000:
        lay_out_park(site, rng, district, block)
    elif steps[0] <= use < steps[1] and block.area > 6000:
        lay_out_sports(site, rng, district, block)
    elif steps[1] <= use < steps[2] and block.area < 7_000:
        lay_out_plaza(site, rng, district, block)
    elif steps[2] <= use < steps[3] and block.area < 15_000:
        lay_out_parking(site, rng, block)
    elif is_remote and rng.random() < style.fields:
        lay_out_fields(site, rng, district, block)
    else:
        build_block(site, rng, district, block, streets)


def _add_ground(site: Site) -> None:
    """A grid of about 10 m that reaches 200 m beyond the town."""
    low, high = -_SURROUNDINGS_M, site.size_m + _SURROUNDINGS_M
    side = int(np.ceil((high - low) / _GROUND_CELL_M)) + 1
    ticks = np.linspace(low, high, side)
    x, y = np.meshgrid(ticks, ticks)
    vertices = np.stack([x, y, site.terrain(x, y)], axis=-1).reshape(-1, 3)
    index = np.arange(side * side).reshape(side, side)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.concatenate(
        [np.stack(corner, axis=-1).reshape(-1, 3) for corner in ((a, b, c), (a, c, d))]
    )
    site.mesh.add(vertices, faces, Material.GROUND, (0, 0, 0))


def _camera_lines(size_m: float, layout: RoadLayout) -> tuple[RoadLine, ...]:
    """Streets a camera can stand on, clipped to the town."""
    inside = box(
        _CAMERA_INSET_M, _CAMERA_INSET_M, size_m - _CAMERA_INSET_M, size_m - _CAMERA_INSET_M
    )
    lines = []
    for street in layout.streets:
        clipped = street.line.intersection(inside)
        for part in getattr(clipped, "geoms", [clipped]):
            if part.geom_type == "LineString" and part.length > 5:
                lines.append(RoadLine(part, street.half_width_m, street.is_main))
    return tuple(lines)


def _finish(site: Site, layout: RoadLayout) -> Scene:
    satellite_cars, photo_cars = (
        build_cars(site.seed, day, site.cars, site.canvas, site.terrain)
        for day in (SATELLITE_DAY, PHOTO_DAY)
    )
    corners = np.concatenate(site.corners) if site.corners else np.zeros((0, 3))
    return Scene(
        seed=site.seed,
        style=site.style.name,
        size_m=site.size_m,
        georeference=place_town(site.seed),
        terrain=site.terrain,
        ground_class=site.canvas.classes(),
        ground_res_m=site.canvas.res_m,
        noise=make_noise(site.rng("noise")),
        static=site.mesh.build(),
        satellite_cars=satellite_cars,
        photo_cars=photo_cars,
        buildings=site.buildings.build(),
        roads=_camera_lines(site.size_m, layout),
        corners=corners.astype(np.float32),
    )
