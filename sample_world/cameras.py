"""Camera geometry: which ray each pixel looks along, and which pixel each point falls on.

Pixel coordinates are ``(column, row)`` from the image's top left corner; the centre of the first
pixel is (0.5, 0.5). Headings are clockwise from grid north; pitch 0 is level, -90 straight down.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from sample_world.scene import Float32, Float64

Terrain = Callable[[Float64, Float64], Float64]


class Camera(Protocol):
    """What the renderer and the tests need of a camera."""

    @property
    def width_px(self) -> int:
        """Columns of the image."""
        ...

    @property
    def height_px(self) -> int:
        """Rows of the image."""
        ...

    @property
    def footprint(self) -> tuple[float, float]:
        """Size of a pixel: metres at the camera, and growth per metre of distance."""
        ...

    def rays(self, columns: Float64, rows: Float64) -> tuple[Float32, Float32]:
        """Origins, (n, 3) or (1, 3), and unit directions (n, 3) of n pixel coordinates."""
        ...

    def project(self, points: ArrayLike) -> Float64:
        """(n, 2) pixel coordinates of (n, 3) points; NaN where a point is behind the camera."""
        ...


@dataclass(frozen=True)
class Equirectangular:
    """A panorama of 360 x 180 degrees; its centre column looks to `heading_deg`."""

    position: tuple[float, float, float]
    heading_deg: float
    width_px: int
    height_px: int

    @property
    def footprint(self) -> tuple[float, float]:
        """Pixels grow with distance."""
        return 0.0, 2 * np.pi / self.width_px

    def rays(self, columns: Float64, rows: Float64) -> tuple[Float32, Float32]:
        """Longitude runs with the column, elevation with the row."""
        azimuth = (columns / self.width_px - 0.5) * (2 * np.pi) + np.radians(self.heading_deg)
        elevation = (0.5 - rows / self.height_px) * np.pi
        level = np.cos(elevation)
        directions = np.empty((len(columns), 3), np.float32)
        directions[:, 0] = level * np.sin(azimuth)
        directions[:, 1] = level * np.cos(azimuth)
        directions[:, 2] = np.sin(elevation)
        return np.array([self.position], np.float32), directions

    def project(self, points: ArrayLike) -> Float64:
        """The inverse of `rays`; columns in 0..width."""
        offset = np.asarray(points, np.float64) - np.asarray(self.position)
        azimuth = np.arctan2(offset[:, 0], offset[:, 1]) - np.radians(self.heading_deg)
        elevation = np.arctan2(offset[:, 2], np.hypot(offset[:, 0], offset[:, 1]))
        turn = (azimuth / (2 * np.pi) + 0.5) % 1.0
        return np.stack([turn * self.width_px, (0.5 - elevation / np.pi) * self.height_px], axis=1)


@dataclass(frozen=True)
class Perspective:
    """A pinhole camera with square pixels and its optical axis through the image's centre.

    At pitch -90 the image's up direction is `heading_deg`; positive roll turns the camera
    clockwise about its optical axis.
    """

    position: tuple[float, float, float]
    heading_deg: float
    pitch_deg: float
    roll_deg: float
    hfov_deg: float
    width_px: int
    height_px: int

    @property
    def focal_px(self) -> float:
        """Focal length in pixels."""
        return float(self.width_px / 2 / np.tan(np.radians(self.hfov_deg) / 2))

    @property
    def footprint(self) -> tuple[float, float]:
        """Pixels grow with distance."""
        return 0.0, 1.0 / self.focal_px

    @property
    def axes(self) -> Float64:
        """(3, 3) rows: right, up and forward, in the town's frame."""
        heading, pitch, roll = np.radians([self.heading_deg, self.pitch_deg, self.roll_deg])
        sin, cos = np.sin(heading), np.cos(heading)
        forward = np.array([sin * np.cos(pitch), cos * np.cos(pitch), np.sin(pitch)])
        level = np.array([cos, -sin, 0.0])
        over = np.cross(level, forward)
        right = level * np.cos(roll) - over * np.sin(roll)
        return np.stack([right, np.cross(right, forward), forward])

    def rays(self, columns: Float64, rows: Float64) -> tuple[Float32, Float32]:
        """All from the camera's position."""
        right, up, forward = self.axes
        across = (columns - self.width_px / 2)[:, None]
        above = (self.height_px / 2 - rows)[:, None]
        directions = forward * self.focal_px + across * right + above * up
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        return np.array([self.position], np.float32), directions.astype(np.float32)

    def project(self, points: ArrayLike) -> Float64:
        """The inverse of `rays`."""
        offset = np.asarray(points, np.float64) - np.asarray(self.position)
        across, above, depth = (offset @ self.axes.T).T
        depth = np.where(depth > 1e-6, depth, np.nan)
        column = self.width_px / 2 + self.focal_px * across / depth
        return np.stack([column, self.height_px / 2 - self.focal_px * above / depth], axis=1)


@dataclass(frozen=True)
class Orthographic:
    """A satellite: parallel rays, a little off nadir, orthorectified on the terrain.

    A point on the terrain falls exactly where the map says; one that stands `h` above it is
    displaced by `h * lean`.

    Attributes:
        gsd_m: metres to the pixel; row 0 begins at `north_m`, column 0 at `west_m`.
        lean: displacement to the east and to the north per metre of height (a tangent).
        top_z_m: above everything.
    """

    west_m: float
    north_m: float
    gsd_m: float
    width_px: int
    height_px: int
    lean: tuple[float, float]
    terrain: Terrain
    top_z_m: float

    @property
    def footprint(self) -> tuple[float, float]:
        """The same everywhere."""
        return self.gsd_m, 0.0

    def rays(self, columns: Float64, rows: Float64) -> tuple[Float32, Float32]:
        """Rays that meet the terrain where the pixel's map position says."""
        x = self.west_m + columns * self.gsd_m
        y = self.north_m - rows * self.gsd_m
        rise = self.top_z_m - np.asarray(self.terrain(x, y), np.float64)
        origins = np.empty((len(x), 3), np.float32)
        origins[:, 0] = x - self.lean[0] * rise
        origins[:, 1] = y - self.lean[1] * rise
        origins[:, 2] = self.top_z_m
        down = np.array([self.lean[0], self.lean[1], -1.0])
        down = (down / np.linalg.norm(down)).astype(np.float32)
        return origins, np.broadcast_to(down, origins.shape)

    def project(self, points: ArrayLike) -> Float64:
        """The inverse of `rays`, by fixed-point iteration on the terrain's height."""
        x, y, z = np.asarray(points, np.float64).T
        map_x, map_y = x, y
        for _ in range(12):  # converges by slope * lean, well under 0.1, per step
            height = z - np.asarray(self.terrain(map_x, map_y), np.float64)
            map_x, map_y = x + self.lean[0] * height, y + self.lean[1] * height
        column = (map_x - self.west_m) / self.gsd_m
        return np.stack([column, (self.north_m - map_y) / self.gsd_m], axis=1)
