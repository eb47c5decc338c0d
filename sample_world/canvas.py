"""The painted ground of a town, and which of it is taken by roads, water and buildings."""

from enum import IntEnum

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw
from shapely.geometry.base import BaseGeometry

from sample_world.frame import Frame
from sample_world.ground import CLASS_ID
from sample_world.scene import Float64

Shape = BaseGeometry | Float64
_OCCUPANCY_RES_M = 0.5


class Occupied(IntEnum):
    """What stands in the way of a tree or a car."""

    FREE = 0
    ROAD = 1
    WATER = 2
    BUILDING = 3


def _rings(shape: Shape) -> list[Float64]:
    """Outlines of a corner array or of the polygons in a geometry; holes are ignored."""
    if isinstance(shape, np.ndarray):
        return [shape]
    parts = [part for part in shapely.get_parts(shape) if part.geom_type == "Polygon"]
    return [shapely.get_coordinates(part.exterior) for part in parts if not part.is_empty]


class Canvas:
    """Ground classes painted with later strokes over earlier ones; row 0 is the north edge."""

    def __init__(self, size_m: float, *, res_m: float = 0.25, background: str = "meadow") -> None:
        self.size_m = size_m
        self.res_m = res_m
        side = round(size_m / res_m)
        self._image = Image.new("L", (side, side), CLASS_ID[background])
        self._draw = ImageDraw.Draw(self._image)
        taken = int(np.ceil(size_m / _OCCUPANCY_RES_M))
        self._taken = Image.new("L", (taken, taken), Occupied.FREE)
        self._taken_draw = ImageDraw.Draw(self._taken)

    def _pixels(self, points: Float64, res_m: float) -> list[tuple[float, float]]:
        # polygon vertices are pixel centres to Pillow, pixel edges to us: half a pixel apart
        column = points[:, 0] / res_m - 0.5
        row = (self.size_m - points[:, 1]) / res_m - 0.5
        return list(zip(column.tolist(), row.tolist(), strict=True))

    def fill(self, shape: Shape, ground: str) -> None:
        """Paint a polygon (corners (n, 2) or any geometry's polygons), holes included."""
        for ring in _rings(shape):
            if len(ring) >= 3:
                self._draw.polygon(self._pixels(ring, self.res_m), fill=CLASS_ID[ground])

    def fill_strips(self, start: Float64, end: Float64, width_m: float, ground: str) -> None:
        """Paint (n, 2) to (n, 2) straight strips with flat ends."""
        delta = end - start
        length = np.maximum(np.hypot(delta[:, 0], delta[:, 1]), 1e-9)[:, None]
        # Pillow fills every pixel a polygon touches, half a pixel too much on each side
        half_width = max(width_m - self.res_m, 0.02) / 2
        side = np.column_stack([-delta[:, 1], delta[:, 0]]) / length * half_width
        quads = np.stack([start - side, end - side, end + side, start + side], axis=1)
        for quad in quads:
            self._draw.polygon(self._pixels(quad, self.res_m), fill=CLASS_ID[ground])

    def fill_path(self, points: Float64, width_m: float, ground: str) -> None:
        """Paint a line through (n, 2) points."""
        pixels = max(1, round(width_m / self.res_m))
        path = self._pixels(points, self.res_m)
        self._draw.line(path, fill=CLASS_ID[ground], width=pixels, joint="curve")

    def outline(self, corners: Float64, width_m: float, ground: str) -> None:
        """Paint the closed outline of a polygon."""
        self.fill_path(np.concatenate([corners, corners[:1]]), width_m, ground)

    def fill_stripes(
        self, shape: Shape, frame: Frame, ground: str, *, pitch_m: float, width_m: float
    ) -> None:
        """Paint stripes along the frame's x axis, `pitch_m` apart, where `shape` is."""
        for ring in _rings(shape):
            pixels = np.array(self._pixels(ring, self.res_m))
            low = np.clip(np.floor(pixels.min(axis=0)), 0, self._image.size).astype(int)
            high = np.clip(np.ceil(pixels.max(axis=0)) + 1, 0, self._image.size).astype(int)
            if (high <= low).any():
                continue
            mask = Image.new("L", tuple((high - low).tolist()), 0)
            ImageDraw.Draw(mask).polygon([(c, r) for c, r in (pixels - low).tolist()], fill=255)
            east = (np.arange(low[0], high[0]) + 0.5) * self.res_m - frame.x
            north = self.size_m - (np.arange(low[1], high[1]) + 0.5) * self.res_m - frame.y
            across = north[:, None] * np.cos(frame.angle_rad) - east * np.sin(frame.angle_rad)
            striped = np.where(across % pitch_m < width_m, np.asarray(mask), 0).astype(np.uint8)
            corner = (int(low[0]), int(low[1]))
            self._image.paste(CLASS_ID[ground], corner, Image.fromarray(striped))

    def occupy(self, shape: Shape, by: Occupied) -> None:
        """Mark a polygon as taken; later marks replace earlier ones."""
        for ring in _rings(shape):
            if len(ring) >= 3:
                self._taken_draw.polygon(self._pixels(ring, _OCCUPANCY_RES_M), fill=int(by))

    def occupied_at(self, x: ArrayLike, y: ArrayLike) -> NDArray[np.uint8]:
        """What is at (x, y), any shape; places outside the town read as the nearest edge."""
        taken = np.asarray(self._taken)
        last = len(taken) - 1
        column = (np.asarray(x) / _OCCUPANCY_RES_M).astype(int).clip(0, last)
        row = ((self.size_m - np.asarray(y)) / _OCCUPANCY_RES_M).astype(int).clip(0, last)
        return np.asarray(taken[row, column], np.uint8)

    def classes(self) -> NDArray[np.uint8]:
        """(N, N) indices into `ground.GROUND_CLASSES`, a copy."""
        return np.array(self._image, np.uint8)
