"""Cars, vans and trucks: places collected once, filled differently on each of two days."""

import numpy as np
from numpy.typing import ArrayLike

from sample_world.boxes import BoxList
from sample_world.canvas import Canvas, Occupied
from sample_world.mesh import MeshBuilder
from sample_world.randomness import stream
from sample_world.scene import Float64, Mesh
from sample_world.terrain import Terrain

SATELLITE_DAY, PHOTO_DAY = 0, 1
_PAINTS = np.array(
    [(210, 212, 214), (40, 42, 46), (150, 152, 156), (160, 30, 30), (36, 64, 120), (230, 228, 222),
     (90, 94, 98), (60, 90, 70), (196, 160, 60), (120, 40, 50)],
    np.float64,
)  # fmt: skip
_PAINT_SHARES = (0.18, 0.17, 0.17, 0.07, 0.08, 0.15, 0.10, 0.03, 0.02, 0.03)
_GLASS, _RUBBER = (44, 52, 60), (30, 30, 32)


class CarList:
    """Rows (x, y, angle, chance of being taken): places where a vehicle may stand or drive."""

    def __init__(self) -> None:
        self._rows: list[Float64] = []

    def add(self, points: Float64, *, angle_rad: ArrayLike, chance: float) -> None:
        """Add (n, 2) places, the vehicle's nose along `angle_rad`."""
        if len(points):
            columns = (points[:, 0], points[:, 1], angle_rad, chance)
            flat = [np.broadcast_to(np.asarray(c, np.float64), len(points)) for c in columns]
            self._rows.append(np.column_stack(flat))

    def rows(self) -> Float64:
        """(n, 4) everything added so far."""
        return np.concatenate(self._rows) if self._rows else np.zeros((0, 4))


def build_cars(seed: int, day: int, cars: CarList, canvas: Canvas, terrain: Terrain) -> Mesh:
    """The vehicles of one day: each place is taken by chance, by a vehicle of its own."""
    rng = stream(seed, f"vehicles of day {day}")
    rows = cars.rows()
    rows = rows[rng.random(len(rows)) < rows[:, 3]]
    x, y = rows[:, 0], rows[:, 1]
    inside = (x > 1) & (y > 1) & (x < canvas.size_m - 1) & (y < canvas.size_m - 1)
    where = canvas.occupied_at(x, y)
    rows = rows[inside & (where != Occupied.BUILDING) & (where != Occupied.WATER)]
    boxes = BoxList()
    kind = rng.choice(3, len(rows), p=[0.86, 0.11, 0.03])
    for index, add in enumerate((_add_cars, _add_vans, _add_trucks)):
        add(rng, boxes, rows[kind == index])
    mesh = MeshBuilder()
    boxes.build_into(mesh, terrain)
    return mesh.build()


def _paint(rng: np.random.Generator, count: int) -> Float64:
    chosen = rng.choice(len(_PAINTS), count, p=_PAINT_SHARES)
    return np.asarray(_PAINTS[chosen] * rng.uniform(0.85, 1.1, (count, 1)), np.float64)


def _moved(rows: Float64, along_m: Float64 | float) -> tuple[Float64, Float64]:
    x, y, angle = rows[:, 0], rows[:, 1], rows[:, 2]
    return x + along_m * np.cos(angle), y + along_m * np.sin(angle)


def _add_cars(rng: np.random.Generator, boxes: BoxList, rows: Float64) -> None:
    """Wheels, body, glass cabin and roof; from hatchback to saloon."""
    count = len(rows)
    x, y, angle = rows[:, 0], rows[:, 1], rows[:, 2]
    length, paint = rng.uniform(3.7, 4.8, count), _paint(rng, count)
    tall = rng.uniform(0.5, 0.72, count)
    boxes.add(x, y, (length * 0.86, 1.66, 0.4), _RUBBER, angle_rad=angle, lift_m=0.02)
    boxes.add(x, y, (length, 1.8, 0.56), paint, angle_rad=angle, lift_m=0.3, taper=0.96)
    cabin = rng.uniform(0.5, 0.66, count) * length
    cx, cy = _moved(rows, -rng.uniform(0.02, 0.09, count) * length)
    boxes.add(cx, cy, (cabin, 1.64, tall), _GLASS, angle_rad=angle, lift_m=0.86, taper=0.8)
    roof = (cabin * 0.74, 1.3, 0.06)
    boxes.add(cx, cy, roof, paint, angle_rad=angle, lift_m=0.85 + tall)


def _add_vans(rng: np.random.Generator, boxes: BoxList, rows: Float64) -> None:
    count = len(rows)
    x, y, angle = rows[:, 0], rows[:, 1], rows[:, 2]
    paint = _paint(rng, count)
    boxes.add(x, y, (4.6, 1.7, 0.4), _RUBBER, angle_rad=angle, lift_m=0.02)
    boxes.add(*_moved(rows, -0.4), (4.7, 1.9, 1.7), paint, angle_rad=angle, lift_m=0.35, taper=0.95)
    boxes.add(*_moved(rows, 2.3), (1.1, 1.85, 0.75), paint, angle_rad=angle, lift_m=0.35)
    boxes.add(*_moved(rows, 1.98), (0.5, 1.6, 0.7), _GLASS, angle_rad=angle, lift_m=1.05)


def _add_trucks(rng: np.random.Generator, boxes: BoxList, rows: Float64) -> None:
    count = len(rows)
    x, y, angle = rows[:, 0], rows[:, 1], rows[:, 2]
    load = np.where(rng.random((count, 1)) < 0.6, (226.0, 226.0, 222.0), _paint(rng, count))
    boxes.add(x, y, (6.8, 2.0, 0.6), _RUBBER, angle_rad=angle, lift_m=0.02)
    boxes.add(*_moved(rows, -0.9), (5.2, 2.3, 2.4), load, angle_rad=angle, lift_m=0.7)
    boxes.add(*_moved(rows, 2.8), (1.7, 2.2, 2.0), _paint(rng, count), angle_rad=angle, lift_m=0.5)
    boxes.add(*_moved(rows, 3.6), (0.2, 1.9, 0.8), _GLASS, angle_rad=angle, lift_m=1.4)
