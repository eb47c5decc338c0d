"""Roofs: flat with parapet and machines, gabled, hipped, and the saw teeth of a factory."""

from dataclasses import dataclass

import numpy as np

from sample_world.frame import Frame
from sample_world.scene import Float64, Material
from sample_world.site import Site

_OVERHANG_M = 0.45
_PARAPET_M, _PARAPET_WIDTH_M = 0.6, 0.35
_SOLAR_RGB = (40, 52, 84)
_BRICK_RGB = (130, 84, 70)


@dataclass(frozen=True)
class RoofSite:
    """What a roof stands on: a rectangle, the height of its walls' top, and who it belongs to.

    Attributes:
        eaves_z_m: top of the walls, absolute.
        eaves_m: top of the walls above the ground at the centre.
        wall_rgb, roof_rgb: 0..255.
    """

    frame: Frame
    length_m: float
    width_m: float
    eaves_z_m: float
    eaves_m: float
    wall_rgb: Float64
    roof_rgb: Float64
    building: int

    def level(self, local: list[tuple[float, float, float]]) -> Float64:
        """(n, 3) town coordinates of local points whose z counts from the eaves."""
        points = np.asarray(local, np.float64)
        flat = self.frame.to_town(points[:, :2])
        return np.column_stack([flat, points[:, 2] + self.eaves_z_m])

    def lengthwise(self) -> "RoofSite":
        """The same with the longer side along x, so that ridges run along the house."""
        if self.length_m >= self.width_m:
            return self
        turned = self.frame.shifted(0.0, 0.0, np.pi / 2)
        return RoofSite(
            turned, self.width_m, self.length_m, self.eaves_z_m, self.eaves_m,
            self.wall_rgb, self.roof_rgb, self.building,
        )  # fmt: skip


def add_pitched_roof(site: Site, rng: np.random.Generator, on: RoofSite, *, is_hip: bool) -> None:
    """A ridge along the longer side, overhanging eaves; gables in wall colour or hips."""
    on = on.lengthwise()
    half_length, half_width = on.length_m / 2, on.width_m / 2
    rise = half_width * rng.uniform(0.55, 0.95)
    drop = _OVERHANG_M * rise / half_width
    inset = half_width * 0.9 if is_hip else -_OVERHANG_M
    ex, ey, ridge = half_length + _OVERHANG_M, half_width + _OVERHANG_M, half_length - inset
    eaves = [(-ex, -ey, -drop), (ex, -ey, -drop), (ex, ey, -drop), (-ex, ey, -drop)]
    points = on.level([*eaves, (-ridge, 0.0, rise), (ridge, 0.0, rise)])
    faces = [(0, 1, 5), (0, 5, 4), (2, 3, 4), (2, 4, 5)]
    if is_hip:
        faces += [(3, 0, 4), (1, 2, 5)]
    site.mesh.add(points, faces, Material.ROOF_TILE, on.roof_rgb, object_id=on.building)
    site.corners.append(points[:4])
    if not is_hip:
        _add_gables(site, on, rise)
    _add_roof_details(site, rng, on, rise)


def _add_gables(site: Site, on: RoofSite, rise: float) -> None:
    half_length, half_width = on.length_m / 2, on.width_m / 2
    west = [(-half_length, half_width, 0.0), (-half_length, -half_width, 0.0)]
    east = [(half_length, -half_width, 0.0), (half_length, half_width, 0.0)]
    points = on.level([*west, (-half_length, 0.0, rise), *east, (half_length, 0.0, rise)])
    faces = [(0, 1, 2), (3, 4, 5)]
    site.mesh.add(points, faces, Material.PLAIN, on.wall_rgb * 0.97, object_id=on.building)


def _add_roof_details(site: Site, rng: np.random.Generator, on: RoofSite, rise: float) -> None:
    """A chimney, sometimes solar panels or skylights lying in one slope."""
    if on.length_m > 8 and rng.random() < 0.85:
        spot = on.frame.shifted(rng.uniform(-0.3, 0.3) * on.length_m, on.width_m * 0.12)
        size = (0.9, 0.9, rise + 0.9)
        lift = on.eaves_m
        site.boxes.add(spot.x, spot.y, size, _BRICK_RGB, angle_rad=spot.angle_rad, lift_m=lift)
    draw = rng.random()
    if draw < 0.22:
        _add_slope_panel(site, on, rise, rng.uniform(0.3, 0.6), (0.25, 0.8), _SOLAR_RGB)
    elif draw < 0.45:
        _add_slope_panel(site, on, rise, 1.2 / on.length_m, (0.4, 0.62), (70, 84, 96))


def _add_slope_panel(
    site: Site,
    on: RoofSite,
    rise: float,
    length_share: float,
    slope: tuple[float, float],
    rgb: tuple[int, int, int],
) -> None:
    """A rectangle just above the southern slope, between two heights (0 eaves .. 1 ridge)."""
    half_width, half = on.width_m / 2, on.length_m * length_share / 2
    side = -1.0 if np.cos(on.frame.angle_rad) >= 0 else 1.0
    (low, high), over = slope, 0.06
    corners = [
        (-half, side * half_width * (1 - low), rise * low + over),
        (half, side * half_width * (1 - low), rise * low + over),
        (half, side * half_width * (1 - high), rise * high + over),
        (-half, side * half_width * (1 - high), rise * high + over),
    ]
    site.mesh.add_polygons(on.level(corners)[None], Material.PLAIN, rgb, object_id=on.building)


def add_flat_roof(site: Site, rng: np.random.Generator, on: RoofSite) -> None:
    """A sunk flat roof behind a parapet, with machines, hatches and solar panels on it."""
    outer = on.frame.rectangle(on.length_m, on.width_m)
    narrow = 2 * _PARAPET_WIDTH_M
    inner = on.frame.rectangle(on.length_m - narrow, on.width_m - narrow)
    top, floor = np.full((4, 1), on.eaves_z_m), np.full((4, 1), on.eaves_z_m - _PARAPET_M)
    rim, edge, base = np.hstack([outer, top]), np.hstack([inner, top]), np.hstack([inner, floor])
    after = [1, 2, 3, 0]
    caps = np.stack([rim, rim[after], edge[after], edge], axis=1)
    sides = np.stack([edge, edge[after], base[after], base], axis=1)
    site.mesh.add_polygons(
        np.concatenate([caps, sides]), Material.PLAIN, on.wall_rgb * 0.9, object_id=on.building
    )
    site.mesh.add_polygons(base[None], Material.ROOF_FLAT, on.roof_rgb, object_id=on.building)
    site.corners.append(rim)
    _add_machines(site, rng, on)


def _add_machines(site: Site, rng: np.random.Generator, on: RoofSite) -> None:
    count = min(8, int(rng.poisson(on.length_m * on.width_m / 130)))
    if not count:
        return
    local = rng.uniform(-0.36, 0.36, (count, 2)) * (on.length_m, on.width_m)
    places = on.frame.to_town(local)
    solar = rng.random(count) < 0.3
    length = np.where(solar, rng.uniform(3, 6, count), rng.uniform(1.2, 3.5, count))
    width = np.where(solar, 1.6, rng.uniform(1.2, 3.0, count))
    height = np.where(solar, 0.45, rng.uniform(0.8, 2.0, count))
    grey = np.array((170.0, 172.0, 174.0)) * rng.uniform(0.7, 1.1, (count, 1))
    rgb = np.where(solar[:, None], np.array(_SOLAR_RGB, np.float64), grey)
    lift = on.eaves_m - _PARAPET_M - _rise_of_ground(site, on, places)
    site.boxes.add(
        places[:, 0], places[:, 1], (length, width, height), rgb,
        angle_rad=on.frame.angle_rad, lift_m=lift,
    )  # fmt: skip


def _rise_of_ground(site: Site, on: RoofSite, places: Float64) -> Float64:
    """How much higher the ground is at each place than at the building's centre, metres."""
    ground = site.terrain(places[:, 0], places[:, 1])
    return np.asarray(ground - (on.eaves_z_m - on.eaves_m), np.float64)


def add_sawtooth_roof(site: Site, rng: np.random.Generator, on: RoofSite) -> None:
    """Teeth across the length: a glazed upright and a slope each, closed at both sides."""
    teeth = max(2, round(on.length_m / rng.uniform(6, 9)))
    step, half_width, rise = on.length_m / teeth, on.width_m / 2, rng.uniform(1.8, 3.0)
    slopes, uprights, sides = [], [], []
    for tooth in range(teeth):
        x0 = -on.length_m / 2 + tooth * step
        x1 = x0 + step
        low = [(x1, -half_width, 0.0), (x1, half_width, 0.0)]
        high = [(x0, half_width, rise), (x0, -half_width, rise)]
        slopes.append(on.level([*low, *high]))
        uprights.append(on.level([high[1], high[0], (x0, half_width, 0.0), (x0, -half_width, 0.0)]))
        sides.append(on.level([(x0, -half_width, 0.0), low[0], high[1]]))
        sides.append(on.level([low[1], (x0, half_width, 0.0), high[0]]))
    identity = on.building
    site.mesh.add_polygons(np.array(slopes), Material.ROOF_FLAT, on.roof_rgb, object_id=identity)
    site.mesh.add_polygons(np.array(uprights), Material.PLAIN, (96, 112, 124), object_id=identity)
    site.mesh.add_polygons(np.array(sides), Material.PLAIN, on.wall_rgb, object_id=identity)
    outline = on.frame.rectangle(on.length_m, on.width_m)
    site.corners.append(np.hstack([outline, np.full((4, 1), on.eaves_z_m)]))
