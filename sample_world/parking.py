"""Parking lots: rows of bays with cars, a tree here and there between them."""

import numpy as np
import shapely
from shapely import Polygon

from sample_world.frame import fit_box
from sample_world.site import Site

_BAY_M, _ROW_M, _BAY_LENGTH_M = 2.7, 8.3, 4.8


def lay_out_parking(site: Site, rng: np.random.Generator, lot: Polygon) -> None:
    """Pave a lot and fill it with rows of bays along its longer side."""
    surface = "asphalt_c" if rng.random() < 0.5 else "asphalt_a"
    site.canvas.fill(lot.buffer(-0.5), surface)
    box = fit_box(lot)
    along = np.arange(2, box.length_m - 2, _BAY_M) - box.length_m / 2
    across = np.arange(3.5, box.width_m - 3, _ROW_M) - box.width_m / 2
    if not len(along) or not len(across):
        return
    grid = np.stack(np.meshgrid(along, across), axis=-1).reshape(-1, 2)
    centre = box.frame.to_town(grid)
    room = lot.buffer(-2.5)
    inside = shapely.contains_xy(room, centre[:, 0], centre[:, 1])
    grid, centre = grid[inside], centre[inside]
    edge = grid + np.array((_BAY_M / 2, 0.0))
    half = np.array((0.0, _BAY_LENGTH_M / 2))
    start, end = box.frame.to_town(edge - half), box.frame.to_town(edge + half)
    site.canvas.fill_strips(start, end, 0.2, "white")
    facing = box.frame.angle_rad + np.where(rng.random(len(centre)) < 0.5, 0.5, -0.5) * np.pi
    site.cars.add(centre, angle_rad=facing, chance=float(rng.uniform(0.25, 0.8)))
    trees = grid[rng.random(len(grid)) < 0.07] + (0.0, 3.4)
    points = box.frame.to_town(trees)
    keep = shapely.contains_xy(room, points[:, 0], points[:, 1])
    site.trees.add(points[keep], radius_m=rng.uniform(1.3, 2.2, int(keep.sum())))
