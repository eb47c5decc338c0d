"""Radiance along rays: hits, surface colours, sun with shadows, sky light, fog."""

import numpy as np
from scipy.ndimage import gaussian_filter

from sample_world.light import CLEAR_FOG_M, Light
from sample_world.raycaster import Raycaster, merge_meshes
from sample_world.scene import Float32, Material, Mesh, Scene
from sample_world.shading_ground import GroundPainter
from sample_world.shading_leaves import LeafPainter
from sample_world.shading_roofs import paint_flat_roof, paint_tiled_roof
from sample_world.shading_walls import WallPainter
from sample_world.sky import sky_radiance
from sample_world.surface import FaceTable, SurfacePoints, sort_hits
from sample_world.texture import NoiseTexture

_SHADOW_OFFSET_M = np.float32(0.03)
_OCCLUSION_CELL_M = 2.0
_OCCLUSION_BLUR_CELLS = 3.2
_TALLEST_OCCLUDER_M = 25.0


class OcclusionField:
    """Coarse sky occlusion: how high things stand, on average, around a place."""

    def __init__(self, scene: Scene, raycaster: Raycaster) -> None:
        count = max(1, int(scene.size_m / _OCCLUSION_CELL_M))
        centre = (np.arange(count) + 0.5) * _OCCLUSION_CELL_M
        x, y = np.meshgrid(centre, centre)
        ground = np.asarray(scene.terrain(x, y), np.float64)
        top = float(ground.max()) + 300.0
        origins = np.stack([x, y, np.full_like(x, top)], axis=-1).reshape(-1, 3).astype(np.float32)
        down = np.broadcast_to(np.array([0, 0, -1], np.float32), origins.shape)
        reached = top - raycaster.nearest(origins, down).distance_m.reshape(count, count)
        height = np.clip(reached - ground, 0, _TALLEST_OCCLUDER_M)
        blurred = gaussian_filter(height, _OCCLUSION_BLUR_CELLS)
        self._count = count
        # Only blurred + 0.8 * ground is ever needed: see `share`.
        self._level = (blurred + 0.8 * ground).astype(np.float32).ravel()

    def share(self, position: Float32) -> Float32:
        """(n,) 0..1: how far surroundings rise above points of (3, n), 9 m counting as 1."""
        scale, last = np.float32(1 / _OCCLUSION_CELL_M), np.float32(self._count - 1)
        index = np.clip(position[1] * scale, 0, last).astype(np.int32)
        index *= np.int32(self._count)
        index += np.clip(position[0] * scale, 0, last).astype(np.int32)
        share: Float32 = self._level.take(index)
        share -= position[2] * np.float32(0.8)
        share *= np.float32(1 / 9)
        return np.clip(share, 0, 1, out=share)


class Shader:
    """One day of a town, ready to be looked at."""

    def __init__(self, scene: Scene, cars: Mesh) -> None:
        mesh = merge_meshes(scene.static, cars)
        self.scene = scene
        self.top_z_m = float(mesh.vertices[:, 2].max())
        self.raycaster = Raycaster(mesh)
        self.faces = FaceTable(mesh)
        self._noise = NoiseTexture(scene.noise)
        self._ground = GroundPainter(scene, self._noise)
        self._walls = WallPainter(mesh, self.faces, scene.buildings, self._noise)
        self._leaves = LeafPainter(mesh, self.faces, self._noise)
        self._occlusion = OcclusionField(scene, self.raycaster)

    def radiance(
        self,
        origins: Float32,
        directions: Float32,
        light: Light,
        rng: np.random.Generator,
        footprint: tuple[float, float],
    ) -> Float32:
        """Light arriving along rays, 0..about 1.3 per channel.

        Args:
            origins: (n, 3), or (1, 3) when all rays start at one point.
            directions: (n, 3) unit vectors.
            light: conditions of the acquisition.
            rng: drives texture jitter only, never geometry.
            footprint: what a ray stands for: metres at the camera, growth per metre.

        Returns:
            (3, n) float32. Best called with ten to fifty thousand rays, which stay in cache.
        """
        starts = np.broadcast_to(origins, directions.shape)
        hits = self.raycaster.nearest(starts, directions)
        batch = sort_hits(hits, origins, directions, self.faces, footprint)
        for material, points in batch.parts():
            self._paint(material, points, light, rng)
        result = np.empty((3, len(directions)), np.float32)
        solid = len(batch.points.face)
        if solid:
            result[:, batch.order[:solid]] = self._lit(batch.points, light)
        if solid < len(directions):
            sky = sky_radiance(batch.sky_direction, self._noise, light)
            result[:, batch.order[solid:]] = sky
        return result

    def _paint(
        self, material: Material, points: SurfacePoints, light: Light, rng: np.random.Generator
    ) -> None:
        if material is Material.GROUND:
            self._ground.paint(points, light, rng)
        elif material is Material.WALL:
            self._walls.paint(points, light)
        elif material is Material.ROOF_TILE:
            paint_tiled_roof(points, self._noise)
        elif material is Material.ROOF_FLAT:
            paint_flat_roof(points, self._noise)
        elif material is Material.LEAF:
            self._leaves.paint(points, light, rng)
        elif material is Material.LAMP:
            points.emission[:] = 0.3

    def _lit(self, points: SurfacePoints, light: Light) -> Float32:
        """(3, n) radiance of painted points."""
        direct = self._direct(points, light)
        ambient = points.normal[2] * np.float32(0.34)
        ambient += np.float32(0.66)
        ambient *= 1 - np.float32(0.5) * self._occlusion.share(points.position)
        reflective = 1 - points.emission
        direct *= reflective
        ambient *= reflective
        own = points.emission * np.float32(0.9)
        visible = _fog_transmission(points.distance_m, light)
        radiance = points.albedo
        sun, sky, haze = light.sun_colour, light.ambient_colour, light.horizon_colour
        for channel in range(3):
            row = radiance[channel]
            row *= direct * sun[channel] + ambient * sky[channel] + own
            if visible is not None:
                row -= haze[channel]
                row *= visible
                row += haze[channel]
        return radiance

    def _direct(self, points: SurfacePoints, light: Light) -> Float32:
        """(n,) sunlight received: cosine to the sun where nothing is in between."""
        sun, normal = light.sun, points.normal
        cosine: Float32 = normal[0] * sun[0] + normal[1] * sun[1] + normal[2] * sun[2]
        np.maximum(cosine, 0, out=cosine)
        facing = np.flatnonzero(cosine)
        starts = points.position[:, facing] + normal[:, facing] * _SHADOW_OFFSET_M
        towards = np.broadcast_to(sun, (len(facing), 3))
        blocked = self.raycaster.occluded(starts.T, towards)
        cosine[facing[blocked]] = 0
        cosine *= np.float32(light.sun_strength)
        return cosine


def _fog_transmission(distance_m: Float32, light: Light) -> Float32 | None:
    if light.fog_m >= CLEAR_FOG_M:
        return None
    transmission: Float32 = np.exp(distance_m * np.float32(-1 / light.fog_m))
    return transmission
