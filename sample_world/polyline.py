"""Places along a line: what road markings, lamps, trees and parked cars are set out by."""

import numpy as np
from numpy.typing import ArrayLike
from shapely import LineString

from sample_world.scene import Float64


class Polyline:
    """A line measured by the distance along it."""

    def __init__(self, line: LineString) -> None:
        self.line = line
        self.coords: Float64 = np.asarray(line.coords, np.float64)[:, :2]
        steps = np.hypot(*np.diff(self.coords, axis=0).T)
        keep = np.concatenate([[True], steps > 1e-6])
        self.coords = self.coords[keep]
        self._distance = np.concatenate([[0.0], np.cumsum(steps[keep[1:]])])
        delta = np.diff(self.coords, axis=0)
        self._angle = np.arctan2(delta[:, 1], delta[:, 0])

    @property
    def length_m(self) -> float:
        """Length of the whole line."""
        return float(self._distance[-1])

    def at(self, distance_m: ArrayLike, offset_m: ArrayLike = 0.0) -> tuple[Float64, Float64]:
        """Points (n, 2) at distances along the line, `offset_m` to its left, and angles (n,)."""
        distance = np.atleast_1d(np.asarray(distance_m, np.float64))
        segment = np.searchsorted(self._distance, distance, side="right") - 1
        angle = self._angle[np.clip(segment, 0, len(self._angle) - 1)]
        x = np.interp(distance, self._distance, self.coords[:, 0])
        y = np.interp(distance, self._distance, self.coords[:, 1])
        offset = np.asarray(offset_m, np.float64)
        points = np.column_stack([x - offset * np.sin(angle), y + offset * np.cos(angle)])
        return points, np.asarray(angle, np.float64)

    def steps(self, step_m: float, *, start_m: float = 0.0, end_m: float = 0.0) -> Float64:
        """Distances every `step_m` from `start_m` until `end_m` before the end."""
        return np.arange(start_m, max(self.length_m - end_m, start_m), step_m)
