"""Texture of roofs: courses of tiles, stains on flat roofs."""

import numpy as np

from sample_world.surface import SurfacePoints
from sample_world.texture import NoiseTexture

_TILE_COURSES_PER_M = np.float32(4.2)
_FINEST_COURSE_M = np.float32(0.12)


def paint_tiled_roof(points: SurfacePoints, noise: NoiseTexture) -> None:
    """Darken the lower edge of every course where it can be seen, in place."""
    shade = np.float32(0.07) * noise.sample(points.position[0], points.position[1], 6.0)
    course = points.position[2] * _TILE_COURSES_PER_M
    course -= np.floor(course)
    is_edge = (course < 0.25) & (points.footprint_m < _FINEST_COURSE_M)
    shade -= np.float32(0.16) * is_edge
    shade += np.float32(1.02)
    points.albedo[:] *= shade


def paint_flat_roof(points: SurfacePoints, noise: NoiseTexture) -> None:
    """Stain the roof at two scales, in place."""
    x, y = points.position[0], points.position[1]
    shade = np.float32(0.09) * noise.sample(x, y, 2.2)
    shade += np.float32(0.05) * noise.sample(x, y, 17.0)
    shade += 1
    points.albedo[:] *= shade
