"""The satellite image, rendered in strips that do not know of each other."""

from dataclasses import dataclass
from math import radians, tan

import numpy as np

from sample_world.camera_look import CameraLook, UInt8, blur, develop, draw_satellite_look
from sample_world.cameras import Orthographic
from sample_world.imaging import render_rows
from sample_world.light import Light, draw_satellite_light
from sample_world.scene import Scene
from sample_world.shader import Shader

_SERIES = 0  # of the random seed; photos have 1 and above
_MOST_LEAN_DEG = 6.0
_STRIP_ROWS = 96
_HALO_ROWS = 3  # rendered twice, so that blur has no seams


@dataclass(frozen=True)
class SatelliteScene:
    """Geometry and conditions of one satellite image."""

    camera: Orthographic
    light: Light
    look: CameraLook
    seed: int

    @property
    def strips(self) -> list[range]:
        """Rows of each strip, north to south."""
        rows = self.camera.height_px
        return [range(at, min(at + _STRIP_ROWS, rows)) for at in range(0, rows, _STRIP_ROWS)]


def plan_satellite(scene: Scene, *, gsd_m: float, top_z_m: float) -> SatelliteScene:
    """Draw the conditions of a town's satellite image.

    Args:
        scene: the town.
        gsd_m: ground metres to the pixel.
        top_z_m: highest point of the mesh.
    """
    rng = np.random.default_rng([scene.seed, _SERIES])
    lean_deg, towards_deg = rng.uniform(0.2, 1) * _MOST_LEAN_DEG, rng.uniform(0, 360)
    lean, towards = tan(radians(lean_deg)), radians(towards_deg)
    side_px = max(1, round(scene.size_m / gsd_m))
    camera = Orthographic(
        west_m=0.0,
        north_m=scene.size_m,
        gsd_m=gsd_m,
        width_px=side_px,
        height_px=side_px,
        lean=(float(lean * np.sin(towards)), float(lean * np.cos(towards))),
        terrain=scene.terrain,
        top_z_m=top_z_m + 10.0,
    )
    return SatelliteScene(camera, draw_satellite_light(rng), draw_satellite_look(rng), scene.seed)


def render_strip(shader: Shader, scene: SatelliteScene, rows: range, supersample: int) -> UInt8:
    """(rows, width, 3) of one strip; depends on nothing but the scene and the strip."""
    rng = np.random.default_rng([scene.seed, _SERIES, rows.start])
    first = max(rows.start - _HALO_ROWS, 0)
    wide = range(first, min(rows.stop + _HALO_ROWS, scene.camera.height_px))
    radiance = render_rows(shader, scene.camera, scene.light, rng, wide, supersample)
    radiance = blur(radiance, scene.look.blur_px)
    inner = radiance[rows.start - first : rows.stop - first]
    return develop(inner, scene.look, rng)
