"""Colour of the ground: painted classes, smooth edges near the camera, mottling, water."""

import numpy as np
from numpy.typing import NDArray

from sample_world.ground import CLASS_ID, GROUND_CLASSES
from sample_world.light import Light
from sample_world.scene import Float32, Scene
from sample_world.sky import sky_radiance
from sample_world.surface import SurfacePoints
from sample_world.texture import NoiseTexture

_PALETTE = np.array([entry.rgb for entry in GROUND_CLASSES], np.float32) / np.float32(255)
_MOTTLE = np.array([entry.mottle for entry in GROUND_CLASSES], np.float32)
_IS_GREEN = np.array([entry.is_green for entry in GROUND_CLASSES])
_OUTSIDE = CLASS_ID["meadow"]
_WATER = (CLASS_ID["water"], CLASS_ID["pool"])
_NEAR_CELLS = np.float32(0.8)  # below this footprint, cell edges would show: interpolate


class GroundPainter:
    """Reads `Scene.ground_class`; what lies outside the town is meadow."""

    def __init__(self, scene: Scene, noise: NoiseTexture) -> None:
        padded = np.pad(scene.ground_class, 1, constant_values=_OUTSIDE)
        self._rows, self._columns = padded.shape
        self._classes = padded.ravel()
        self._per_cell = np.float32(1 / scene.ground_res_m)
        self._size_m = np.float32(scene.size_m)
        self._noise = noise

    def paint(self, points: SurfacePoints, light: Light, rng: np.random.Generator) -> None:
        """Set `albedo` (and `emission` of water) of ground points, in place."""
        palette = _PALETTE.copy()
        palette[_IS_GREEN] *= light.green_tint
        column = points.position[0] * self._per_cell
        row: Float32 = (self._size_m - points.position[1]) * self._per_cell
        spread: Float32 = points.footprint_m * self._per_cell
        near = np.flatnonzero(spread < _NEAR_CELLS)
        kind = self._class_at(row, column, np.minimum(spread, np.float32(1.1)), rng)
        points.albedo[:] = palette.take(kind, axis=0).T
        if len(near):
            self._smooth_edges(points.albedo, near, row, column, palette)
        self._mottle(points, kind)
        wet = np.flatnonzero((kind == _WATER[0]) | (kind == _WATER[1]))
        if len(wet):
            self._reflect_sky(points, wet, light)

    def _class_at(
        self, row: Float32, column: Float32, spread: Float32, rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        """Nearest class, at a point jittered by up to half of `spread` cells."""
        jitter = rng.random((2, len(row)), dtype=np.float32)
        jitter -= np.float32(0.5)
        jitter *= spread
        return self._classes.take(self._flat_index(row + jitter[0], column + jitter[1]))

    def _flat_index(self, row: Float32, column: Float32) -> NDArray[np.int32]:
        # +1: the border of outside cells; clipping before the cast makes truncation a floor.
        low = np.float32(0)
        index: NDArray[np.int32]
        index = np.clip(row + np.float32(1), low, np.float32(self._rows - 1)).astype(np.int32)
        index *= np.int32(self._columns)
        last = np.float32(self._columns - 1)
        index += np.clip(column + np.float32(1), low, last).astype(np.int32)
        return index

    def _smooth_edges(
        self,
        albedo: Float32,
        near: NDArray[np.intp],
        row: Float32,
        column: Float32,
        palette: Float32,
    ) -> None:
        """Blend the nine cells around points, where they differ, by quadratic B-spline weights."""
        row, column = row.take(near), column.take(near)
        centre = self._flat_index(row, column)
        margin = np.int32(self._columns + 1)
        np.clip(centre, margin, np.int32(len(self._classes) - 1) - margin, out=centre)
        steps = [down * self._columns + right for down in (-1, 0, 1) for right in (-1, 0, 1)]
        kinds = [self._classes.take(centre + np.int32(step)) for step in steps]
        differs = np.zeros(len(near), np.bool_)
        for kind in kinds:
            differs |= kind != kinds[4]
        mixed = np.flatnonzero(differs)
        down, right = _spline_weights(row.take(mixed)), _spline_weights(column.take(mixed))
        colour = np.zeros((3, len(mixed)), np.float32)
        for place, kind in enumerate(kinds):
            weight = down[place // 3] * right[place % 3]
            colour += palette.take(kind.take(mixed), axis=0).T * weight
        albedo[:, near.take(mixed)] = colour

    def _mottle(self, points: SurfacePoints, kind: NDArray[np.uint8]) -> None:
        x, y = points.position[0], points.position[1]
        fine = np.maximum(1 - points.distance_m * np.float32(1 / 60), 0)
        pattern = np.float32(0.45) * self._noise.sample(x, y, 1.7)
        detail = np.float32(0.30) * self._noise.sample(x + 7, y + 3, 37.0)
        detail *= fine
        detail += np.float32(0.35) * self._noise.sample(x + 37, y + 11, 9.3)
        detail *= fine
        pattern += detail
        pattern *= _MOTTLE.take(kind)
        np.clip(pattern, -0.6, 0.8, out=pattern)
        pattern += 1
        points.albedo[:] *= pattern

    def _reflect_sky(self, points: SurfacePoints, wet: NDArray[np.intp], light: Light) -> None:
        """Blend in the mirrored sky, more at grazing angles (Schlick's form of Fresnel's law)."""
        x, y = points.position[0].take(wet), points.position[1].take(wet)
        mirrored = points.direction[:, wet]
        mirrored[0] += np.float32(0.02) * self._noise.sample(x, y, 25.0)
        mirrored[1] += np.float32(0.02) * self._noise.sample(x + 50, y, 25.0)
        mirrored[2] *= -1
        share = (1 - np.clip(mirrored[2], 0, 1)) ** 3
        share *= np.float32(0.8)
        share += np.float32(0.08)
        reflected = sky_radiance(mirrored, self._noise, light)
        points.albedo[:, wet] += (reflected - points.albedo[:, wet]) * share
        points.emission[wet] = share


def _spline_weights(coordinate: Float32) -> tuple[Float32, Float32, Float32]:
    """Weights of the cells before, at and after coordinates (in cells)."""
    share = coordinate - np.floor(coordinate)
    before = np.float32(0.5) * (1 - share) ** 2
    after = np.float32(0.5) * share * share
    return before, 1 - before - after, after
