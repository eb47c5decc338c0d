"""Works yards: stacks of containers, tanks and parked trucks between the halls."""

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import Polygon

from sample_world.canvas import Occupied
from sample_world.frame import OrientedBox, random_points
from sample_world.scene import Float64, Material
from sample_world.site import Site

_CONTAINER_M = (6.1, 2.44, 2.6)
_CONTAINER_RGB = ((172, 70, 48), (44, 84, 130), (60, 110, 86), (190, 190, 186), (200, 150, 60),
                  (120, 56, 50))  # fmt: skip
_TANK_SIDES = 14


def fill_yard(site: Site, rng: np.random.Generator, yard: Polygon, box: OrientedBox) -> None:
    """Put goods where the hall left room, by chance."""
    draw = rng.random()
    if draw < 0.4:
        _stack_containers(site, rng, yard, box)
    elif draw < 0.6:
        _raise_tanks(site, rng, yard)
    if rng.random() < 0.6:
        _park_along(site, rng, yard, box)


def _has_room(site: Site, points: Float64, reach_m: float) -> NDArray[np.bool_]:
    """(n,) whether no building lies at, or `reach_m` to any side of, each point."""
    free = np.ones(len(points), bool)
    for dx, dy in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (0.7, 0.7), (-0.7, 0.7)):
        x, y = points[:, 0] + dx * reach_m, points[:, 1] + dy * reach_m
        free &= site.canvas.occupied_at(x, y) != Occupied.BUILDING
    return free


def _inside(yard: Polygon, points: Float64, inset_m: float) -> NDArray[np.bool_]:
    room = yard.buffer(-inset_m)
    return np.asarray(shapely.contains_xy(room, points[:, 0], points[:, 1]), bool)


def _stack_containers(
    site: Site, rng: np.random.Generator, yard: Polygon, box: OrientedBox
) -> None:
    """Rows of containers, one to three high, along one end of the yard."""
    along = np.arange(-3, 3) * (_CONTAINER_M[0] + 0.4)
    across = np.arange(-4, 4) * (_CONTAINER_M[1] + 0.2)
    across = across + np.where(np.arange(8) % 4 >= 2, 3.0, 0.0)
    grid = np.stack(np.meshgrid(along, across), axis=-1).reshape(-1, 2)
    end = rng.choice([-0.3, 0.3]) * box.length_m
    points = box.frame.shifted(float(end), rng.uniform(-0.3, 0.3) * box.width_m).to_town(grid)
    keep = _inside(yard, points, 4.0) & _has_room(site, points, 4.5)
    points = points[keep & (rng.random(len(points)) < 0.75)]
    levels = rng.integers(1, 4, len(points))
    for level in range(3):
        here = points[levels > level]
        if len(here):
            rgb = np.array(_CONTAINER_RGB, np.float64)[rng.integers(6, size=len(here))]
            site.boxes.add(
                here[:, 0], here[:, 1], _CONTAINER_M, rgb,
                angle_rad=box.frame.angle_rad, lift_m=level * _CONTAINER_M[2],
            )  # fmt: skip


def _raise_tanks(site: Site, rng: np.random.Generator, yard: Polygon) -> None:
    radius, height = rng.uniform(2.5, 6.0), rng.uniform(4, 12)
    points = random_points(rng, yard.buffer(-radius - 2), 5)
    points = points[_has_room(site, points, radius + 1.5)]
    taken: list[Float64] = []
    for point in points:
        if all(np.hypot(*(point - other)) > 2.3 * radius for other in taken):
            taken.append(point)
            _add_tank(site, point, radius, height)


def _add_tank(site: Site, centre: Float64, radius_m: float, height_m: float) -> None:
    """An upright cylinder with a low conical lid."""
    turn = np.arange(_TANK_SIDES) / _TANK_SIDES * 2 * np.pi
    ring = centre + radius_m * np.column_stack([np.cos(turn), np.sin(turn)])
    ground = site.ground_z(*centre.tolist())
    low = np.column_stack([ring, np.full(_TANK_SIDES, ground - 0.3)])
    high = np.column_stack([ring, np.full(_TANK_SIDES, ground + height_m)])
    lid = np.array([[*centre, ground + height_m + 0.25 * radius_m]])
    side = np.arange(_TANK_SIDES)
    after = (side + 1) % _TANK_SIDES
    upper = side + _TANK_SIDES
    faces = np.concatenate(
        [
            np.column_stack([side, after, after + _TANK_SIDES]),
            np.column_stack([side, after + _TANK_SIDES, upper]),
            np.column_stack([upper, after + _TANK_SIDES, np.full(_TANK_SIDES, 2 * _TANK_SIDES)]),
        ]
    )
    site.mesh.add(np.concatenate([low, high, lid]), faces, Material.PLAIN, (206, 208, 206))
    site.canvas.occupy(ring, Occupied.BUILDING)


def _park_along(site: Site, rng: np.random.Generator, yard: Polygon, box: OrientedBox) -> None:
    """A row of cars along one long side of the yard."""
    along = np.arange(4, box.length_m - 4, 2.8) - box.length_m / 2
    side = float(rng.choice([-0.5, 0.5])) * max(box.width_m - 8, 0.0)
    points = box.frame.to_town(np.column_stack([along, np.full(len(along), side)]))
    points = points[_inside(yard, points, 2.5) & _has_room(site, points, 2.6)]
    site.cars.add(points, angle_rad=box.frame.angle_rad + np.pi / 2, chance=0.55)
