"""From a camera to a picture's radiance: supersampled rays, in bands that fit the cache."""

import numpy as np

from sample_world.cameras import Camera
from sample_world.light import Light
from sample_world.scene import Float32, Float64
from sample_world.shader import Shader

_RAYS_PER_BATCH = 24_576


def render_rows(
    shader: Shader,
    camera: Camera,
    light: Light,
    rng: np.random.Generator,
    rows: range,
    supersample: int,
) -> Float32:
    """(rows, width, 3) radiance of some rows of a picture, `supersample` squared rays a pixel."""
    width = camera.width_px
    result = np.empty((len(rows), width, 3), np.float32)
    band = max(1, _RAYS_PER_BATCH // (width * supersample * supersample))
    for start in range(0, len(rows), band):
        count = min(band, len(rows) - start)
        columns, lines = _sample_grid(width, rows.start + start, count, supersample)
        origins, directions = camera.rays(columns, lines)
        base, growth = camera.footprint
        footprint = (base / supersample, growth / supersample)
        radiance = shader.radiance(origins, directions, light, rng, footprint)
        result[start : start + count] = _pool(radiance, count, width, supersample)
    return result


def render_picture(
    shader: Shader,
    camera: Camera,
    light: Light,
    rng: np.random.Generator,
    *,
    supersample: int,
    rows: range | None = None,
) -> Float32:
    """(height, width, 3) radiance; rows outside `rows` repeat the nearest rendered one."""
    rows = range(camera.height_px) if rows is None else rows
    part = render_rows(shader, camera, light, rng, rows, supersample)
    edge = ((rows.start, camera.height_px - rows.stop), (0, 0), (0, 0))
    return np.pad(part, edge, mode="edge") if any(edge[0]) else part


def _sample_grid(
    width: int, first_row: int, count: int, supersample: int
) -> tuple[Float64, Float64]:
    """Pixel coordinates of the centres of every pixel's sub-pixels, row by row."""
    columns = (np.arange(width * supersample) + 0.5) / supersample
    lines = first_row + (np.arange(count * supersample) + 0.5) / supersample
    grid = np.meshgrid(columns, lines)
    return grid[0].ravel(), grid[1].ravel()


def _pool(radiance: Float32, count: int, width: int, supersample: int) -> Float32:
    """(count, width, 3) mean over sub-pixels of (3, n)."""
    cells = radiance.reshape(3, count, supersample, width, supersample)
    total = np.zeros((3, count, width), np.float32)
    for row in range(supersample):
        for column in range(supersample):
            total += cells[:, :, row, :, column]
    total /= supersample * supersample
    return total.transpose(1, 2, 0)
