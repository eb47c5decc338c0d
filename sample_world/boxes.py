"""Boxes by the thousand: cars, lamps, chimneys, hedges, trunks; stored as rows, meshed at once."""

import numpy as np
from numpy.typing import ArrayLike

from sample_world.mesh import MeshBuilder
from sample_world.scene import Float64, Material
from sample_world.terrain import Terrain

_FOOT_M = 0.3  # how deep a box standing on the ground is sunk, so that slopes show no gap
_BASE = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
_FACES = np.array(
    [(4, 5, 6), (4, 6, 7), (0, 1, 5), (0, 5, 4), (1, 2, 6), (1, 6, 5), (2, 3, 7), (2, 7, 6),
     (3, 0, 4), (3, 4, 7)],
    np.int32,
)  # fmt: skip


class BoxList:
    """Rows of boxes: place, size, colour, material; see :meth:`add`."""

    def __init__(self) -> None:
        self._rows: list[Float64] = []

    def add(
        self,
        x: ArrayLike,
        y: ArrayLike,
        size_m: tuple[ArrayLike, ArrayLike, ArrayLike],
        rgb: ArrayLike,
        *,
        angle_rad: ArrayLike = 0.0,
        lift_m: ArrayLike = 0.0,
        taper: ArrayLike = 1.0,
        material: Material = Material.PLAIN,
        object_id: ArrayLike = 0,
    ) -> None:
        """Add boxes centred on (x, y); every argument is one value or one per box.

        Args:
            size_m: length along the angle, width, height.
            rgb: 0..255, (3,) or (n, 3).
            angle_rad: counter-clockwise from east.
            lift_m: bottom above the ground at (x, y).
            taper: size of the top relative to the bottom.
        """
        colour = np.atleast_2d(np.asarray(rgb, np.float64))
        columns = [x, y, *size_m, angle_rad, lift_m, taper, int(material), object_id, *colour.T]
        flat = np.broadcast_arrays(*[np.atleast_1d(np.asarray(c, np.float64)) for c in columns])
        self._rows.append(np.column_stack(flat))

    def build_into(self, mesh: MeshBuilder, terrain: Terrain) -> None:
        """Mesh all boxes, without their bottoms; leaf boxes know their own bottom and height."""
        if not self._rows:
            return
        rows = np.concatenate(self._rows)
        for material in np.unique(rows[:, 8]).astype(int):
            chosen = rows[rows[:, 8] == material]
            ground = terrain(chosen[:, 0], chosen[:, 1])
            mesh.add_copies(
                _corners(chosen, ground).astype(np.float32),
                _FACES,
                Material(material),
                chosen[:, 10:13],
                object_id=chosen[:, 9].astype(np.int32),
                along_start_m=ground + chosen[:, 6],
                along_length_m=chosen[:, 4],
            )


def _corners(rows: Float64, ground: Float64) -> Float64:
    """(n, 8, 3) corners: four of the bottom, four of the top."""
    x, y, length, width, height, angle, lift, taper = rows[:, :8].T
    scale = np.stack([np.ones_like(taper), taper], 1)[:, :, None]
    along = _BASE[:, 0] * length[:, None, None] * scale
    across = _BASE[:, 1] * width[:, None, None] * scale
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    bottom = ground + lift - np.where(lift == 0, _FOOT_M, 0.0)
    level = np.stack([bottom, ground + lift + height], 1)[:, :, None]
    corners = np.stack(
        [
            x[:, None, None] + along * cos - across * sin,
            y[:, None, None] + along * sin + across * cos,
            np.broadcast_to(level, along.shape),
        ],
        axis=-1,
    )
    return np.asarray(corners.reshape(len(rows), 8, 3), np.float64)
