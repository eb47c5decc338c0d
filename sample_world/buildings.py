"""Raising a building on a rectangle: its row in the table, its walls, its roof."""

from dataclasses import dataclass
from enum import Enum

import numpy as np

from sample_world.building_ledger import BuildingRow
from sample_world.canvas import Occupied
from sample_world.districts import District
from sample_world.frame import Frame
from sample_world.roofs import RoofSite, add_flat_roof, add_pitched_roof, add_sawtooth_roof
from sample_world.scene import Float64, Material
from sample_world.site import Site
from sample_world.styles import Palette

_SINK_M = 1.0  # walls start this far below the lowest corner's ground
_OCCUPIED_MARGIN_M = 0.6
_WALL_SHARES = (0.45, 0.30, 0.15, 0.10)


class RoofShape(Enum):
    """Shapes of roofs."""

    FLAT = "flat"
    GABLE = "gable"
    HIP = "hip"
    SAWTOOTH = "sawtooth"


@dataclass(frozen=True)
class BuildingPlan:
    """A building to raise: a rectangle, its storeys and its roof."""

    frame: Frame
    length_m: float
    width_m: float
    floors: float
    roof: RoofShape


def pitched(rng: np.random.Generator, district: District) -> RoofShape:
    """A hip or a gable, as is usual in the district."""
    return RoofShape.HIP if rng.random() < district.hip_share else RoofShape.GABLE


def draw_rgb(rng: np.random.Generator, palette: Palette, tones: tuple[float, float]) -> Float64:
    """A colour of the palette, the first ones likeliest, lighter or darker by `tones`."""
    shares = np.array(_WALL_SHARES[: len(palette)])
    chosen = np.array(palette[int(rng.choice(len(palette), p=shares / shares.sum()))], np.float64)
    return np.asarray(np.clip(chosen * rng.uniform(*tones), 20, 245), np.float64)


def raise_building(
    site: Site, rng: np.random.Generator, district: District, plan: BuildingPlan
) -> int:
    """Add one building to the site; its id in the building table."""
    kind, frame = district.kind, plan.frame
    base = site.ground_z(frame.x, frame.y)
    height = plan.floors * kind.floor_height_m + 0.4
    building = site.buildings.register(
        BuildingRow(
            base_z_m=base,
            height_m=height,
            floor_height_m=kind.floor_height_m,
            window_pitch_m=rng.uniform(2.2, 3.6),
            window_width_share=rng.uniform(0.34, 0.62),
            window_height_share=rng.uniform(0.42, 0.62),
            has_shop=bool(rng.random() < kind.shop_share),
            cladding=int(rng.integers(4)),
            facade=int(rng.integers(2)) if kind.facade is None else kind.facade,
        )
    )
    wall_rgb = draw_rgb(rng, district.walls, (0.88, 1.08))
    _add_walls(site, plan, building, wall_rgb, base + height)
    palette = district.tiles if plan.roof in (RoofShape.GABLE, RoofShape.HIP) else district.flats
    on = RoofSite(
        frame, plan.length_m, plan.width_m, base + height, height, wall_rgb,
        draw_rgb(rng, palette, (0.86, 1.12)), building,
    )  # fmt: skip
    _add_roof(site, rng, on, plan.roof)
    margin = 2 * _OCCUPIED_MARGIN_M
    taken = frame.rectangle(plan.length_m + margin, plan.width_m + margin)
    site.canvas.occupy(taken, Occupied.BUILDING)
    return building


def _add_roof(site: Site, rng: np.random.Generator, on: RoofSite, shape: RoofShape) -> None:
    if shape is RoofShape.FLAT:
        add_flat_roof(site, rng, on)
    elif shape is RoofShape.SAWTOOTH:
        add_sawtooth_roof(site, rng, on)
    else:
        add_pitched_roof(site, rng, on, is_hip=shape is RoofShape.HIP)


def _add_walls(site: Site, plan: BuildingPlan, building: int, rgb: Float64, top_z_m: float) -> None:
    """Four quads facing outwards, each from p0 to p1 counter-clockwise around the building.

    With the unit vector t from p0 to p1, `along_start_m` is p0 . t and `along_length_m` is
    |p1 - p0|: a point p of the wall is p . t - along_start_m metres from its start.
    """
    start = plan.frame.rectangle(plan.length_m, plan.width_m)
    end = np.roll(start, -1, axis=0)
    bottom = float(site.terrain(start[:, 0], start[:, 1]).min()) - _SINK_M
    low, high = np.full((4, 1), bottom), np.full((4, 1), top_z_m)
    quads = np.stack(
        [np.hstack(pair) for pair in ((start, low), (end, low), (end, high), (start, high))], axis=1
    )
    length = np.hypot(*(end - start).T)
    direction = (end - start) / length[:, None]
    site.mesh.add_polygons(
        quads,
        Material.WALL,
        rgb,
        object_id=np.full(4, building),
        along_start_m=(start * direction).sum(axis=1),
        along_length_m=length,
    )
