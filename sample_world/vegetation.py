"""Trees and bushes: collected as rows, set free of obstacles, meshed in bulk."""

from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sample_world.boxes import BoxList
from sample_world.canvas import Canvas, Occupied
from sample_world.mesh import MeshBuilder, icosphere
from sample_world.scene import Float64, Material
from sample_world.terrain import Terrain

_MARGIN_M = 0.5
_AROUND = np.array([(np.cos(a), np.sin(a)) for a in np.arange(6) * np.pi / 3])
_BROADLEAF_RGB = (98.0, 122.0, 56.0)
_CONIFER_RGB = (66.0, 94.0, 56.0)
_CONE_SIDES = 7
_CONES = ((0.12, 1.0, 0.45), (0.38, 0.76, 0.40), (0.64, 0.50, 0.38))  # (bottom, width, height)


class TreeKind(IntEnum):
    """Shapes of crowns."""

    BROADLEAF = 0
    CONIFER = 1
    BUSH = 2
    COLUMN = 3


class TreeList:
    """Rows (x, y, crown radius, kind)."""

    def __init__(self) -> None:
        self._rows: list[Float64] = []

    def add(
        self, points: Float64, *, radius_m: ArrayLike, kind: ArrayLike = TreeKind.BROADLEAF
    ) -> None:
        """Add trees at (n, 2) points; radius and kind are one value or one per tree."""
        if len(points):
            columns = (points[:, 0], points[:, 1], radius_m, kind)
            flat = [np.broadcast_to(np.asarray(c, np.float64), len(points)) for c in columns]
            self._rows.append(np.column_stack(flat))

    def rows(self) -> Float64:
        """(n, 4) everything added so far."""
        return np.concatenate(self._rows) if self._rows else np.zeros((0, 4))


def scatter_trees(
    rng: np.random.Generator, trees: TreeList, points: Float64, *, conifer_share: float
) -> None:
    """Plant a natural mix of sizes and kinds at (n, 2) points."""
    count = len(points)
    radius = rng.uniform(1.3, 3.8, count)
    kind = np.where(rng.random(count) < conifer_share, TreeKind.CONIFER, TreeKind.BROADLEAF)
    bush = rng.random(count) < 0.18
    kind[bush] = TreeKind.BUSH
    radius[bush] *= 0.4
    trees.add(points, radius_m=radius, kind=kind)


def _standing_room(rows: Float64, canvas: Canvas) -> NDArray[np.bool_]:
    """(n,) whether a tree stands inside the town, on open ground, clear of buildings."""
    x, y, radius, _ = rows.T
    high = canvas.size_m - _MARGIN_M
    free = (x > _MARGIN_M) & (y > _MARGIN_M) & (x < high) & (y < high)
    free &= canvas.occupied_at(x, y) == Occupied.FREE
    reach = radius * 0.55 + 0.3
    for dx, dy in _AROUND:
        free &= canvas.occupied_at(x + dx * reach, y + dy * reach) != Occupied.BUILDING
    return np.asarray(free, bool)


def build_trees(
    rng: np.random.Generator,
    trees: TreeList,
    canvas: Canvas,
    terrain: Terrain,
    mesh: MeshBuilder,
    trunks: BoxList,
) -> int:
    """Mesh all trees that have room; trunks go to `trunks`. Returns how many stand."""
    rows = trees.rows()
    rows = rows[_standing_room(rows, canvas)]
    conifer = rows[:, 3] == TreeKind.CONIFER
    _add_conifers(rng, rows[conifer], terrain, mesh, trunks)
    _add_crowns(rng, rows[~conifer], terrain, mesh, trunks)
    return len(rows)


def _add_conifers(
    rng: np.random.Generator, rows: Float64, terrain: Terrain, mesh: MeshBuilder, trunks: BoxList
) -> None:
    """Three stacked open cones each."""
    count = len(rows)
    if not count:
        return
    x, y, radius, _ = rows.T
    ground = terrain(x, y)
    height = radius * rng.uniform(3.2, 4.6, count)
    rgb = np.array(_CONIFER_RGB) * rng.uniform(0.6, 1.05, (count, 1))
    tint = rng.integers(1 << 20, size=count).astype(np.int32)
    turn = np.arange(_CONE_SIDES) / _CONE_SIDES * 2 * np.pi
    side = np.arange(_CONE_SIDES)
    tip = np.full(_CONE_SIDES, _CONE_SIDES)
    faces = np.stack([side, (side + 1) % _CONE_SIDES, tip], 1)
    for level, (bottom, width, part) in enumerate(_CONES):
        ring = np.column_stack([np.cos(turn + level), np.sin(turn + level), np.zeros(_CONE_SIDES)])
        shape = np.concatenate([ring * 0.8 * width, [(0.0, 0.0, 0.0)]])
        vertices = shape[None] * radius[:, None, None] + np.stack([x, y, ground], 1)[:, None]
        vertices[:, :_CONE_SIDES, 2] += (bottom * height)[:, None]
        vertices[:, _CONE_SIDES, 2] += (bottom + part) * height
        mesh.add_copies(
            vertices.astype(np.float32), faces.astype(np.int32), Material.LEAF, rgb,
            object_id=tint, along_start_m=ground, along_length_m=height,
        )  # fmt: skip
    trunks.add(x, y, (0.4, 0.4, height * 0.2), (84, 66, 50))


def _add_crowns(
    rng: np.random.Generator, rows: Float64, terrain: Terrain, mesh: MeshBuilder, trunks: BoxList
) -> None:
    """One to three lumpy spheres each, on a trunk unless it is a bush."""
    count = len(rows)
    if not count:
        return
    x, y, radius, kind = rows.T
    ground = terrain(x, y)
    is_bush, is_column = kind == TreeKind.BUSH, kind == TreeKind.COLUMN
    stretch = rng.uniform(0.9, 1.35, count) * np.where(is_column, 2.4, 1.0)
    stretch = np.where(is_bush, rng.uniform(0.6, 1.0, count), stretch)
    radius = np.where(is_column, radius * 0.62, radius)
    stem = np.where(is_bush, -0.2 * radius, radius * rng.uniform(0.7, 1.1, count) + 0.8)
    tall = 1.8 * radius * stretch
    rgb = _crown_colours(rng, count)
    tint = rng.integers(1 << 20, size=count).astype(np.int32)
    lumps = 1 + (radius > 1.5).astype(int) + (radius > 2.4)
    lumps = np.where(is_bush | is_column, 1, lumps)
    tree = np.repeat(np.arange(count), lumps)
    first = np.concatenate([[True], tree[1:] != tree[:-1]])
    middle = np.stack([x, y, ground + stem + radius * stretch * 0.8], 1)
    vertices = _lumps(rng, first, radius[tree], stretch[tree]) + middle[tree][:, None]
    mesh.add_copies(
        vertices.astype(np.float32), icosphere(1)[1], Material.LEAF,
        np.clip(rgb[tree] * rng.uniform(0.93, 1.07, (len(tree), 1)), 10, 235),
        object_id=tint[tree], along_start_m=(ground + stem)[tree], along_length_m=tall[tree],
    )  # fmt: skip
    up = ~is_bush
    girth = 0.12 * radius[up] + 0.1
    trunks.add(x[up], y[up], (girth, girth, stem[up] + 0.5 * radius[up]), (92, 74, 58))


def _crown_colours(rng: np.random.Generator, count: int) -> Float64:
    """(n, 3) greens, one tree in twenty copper-leaved."""
    rgb = np.array(_BROADLEAF_RGB) * rng.uniform(0.68, 1.15, (count, 1))
    rgb += rng.normal(0, 7, (count, 3))
    copper = rng.random(count) < 0.05
    rgb[copper] *= (1.1, 0.62, 0.85)
    return np.clip(rgb, 20, 200)


def _lumps(
    rng: np.random.Generator, first: NDArray[np.bool_], radius: Float64, stretch: Float64
) -> Float64:
    """(n, 42, 3) bumpy ellipsoids around the origin; all but a tree's first smaller and offset."""
    sphere, _ = icosphere(1)
    count = len(first)
    waves = rng.normal(0, 3, (count, 3, 3))
    phase = rng.uniform(0, 2 * np.pi, (count, 1, 3))
    bump = np.sin(np.einsum("vk,nkj->nvj", sphere, waves) + phase).mean(axis=2)
    bump = 1 + 0.2 * bump + rng.normal(0, 0.05, bump.shape)
    share = np.where(first, 1.0, rng.uniform(0.55, 0.75, count))
    size = (radius * share)[:, None] * np.stack([np.ones(count), np.ones(count), stretch], 1)
    drift = np.column_stack([rng.normal(0, 0.45, (count, 2)), rng.uniform(-0.1, 0.55, count)])
    offset = np.where(first[:, None], 0.0, drift * radius[:, None])
    return np.asarray(sphere * bump[:, :, None] * size[:, None] + offset[:, None], np.float64)
