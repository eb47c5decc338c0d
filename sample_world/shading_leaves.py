"""Trees and hedges: smooth normals, mottled crowns, darker below, some in autumn colours."""

import numpy as np

from sample_world.light import Light
from sample_world.scene import Float32, Material, Mesh
from sample_world.surface import FaceTable, SurfacePoints
from sample_world.texture import NoiseTexture, hash_unit

_AUTUMN = np.array([1.65, 1.0, 0.5], np.float32)
_NORMAL_JITTER = np.float32(0.95)  # width of a uniform draw: standard deviation 0.27


def leaf_vertex_normals(mesh: Mesh, normals: Float32) -> Float32:
    """(V, 3) area-weighted unit normals of vertices of LEAF faces; zero elsewhere."""
    leaf = mesh.faces[mesh.material == Material.LEAF]
    first, second, third = (mesh.vertices[leaf[:, corner]] for corner in range(3))
    area_normal = np.cross(second - first, third - first)
    smooth = np.zeros_like(normals, shape=(len(mesh.vertices), 3))
    for axis in range(3):
        weights = np.tile(area_normal[:, axis], 3)
        smooth[:, axis] = np.bincount(leaf.T.ravel(), weights, minlength=len(mesh.vertices))
    smooth /= np.linalg.norm(smooth, axis=1, keepdims=True) + 1e-9
    return smooth


class LeafPainter:
    """Shades LEAF faces."""

    def __init__(self, mesh: Mesh, faces: FaceTable, noise: NoiseTexture) -> None:
        self._faces = faces
        self._noise = noise
        self._vertex_normals = leaf_vertex_normals(mesh, faces.normal)

    def paint(self, points: SurfacePoints, light: Light, rng: np.random.Generator) -> None:
        """Set colour and bend normals of leaf points, in place."""
        shade = self._crown_shade(points)
        points.albedo[:] *= light.green_tint[:, None] * shade
        if light.autumn_share > 0:
            draw = hash_unit(points.object_id, np.zeros_like(points.object_id), 9)
            turned = np.flatnonzero(draw < light.autumn_share)
            points.albedo[:, turned] *= _AUTUMN[:, None]
        self._bend_normals(points, rng)

    def _crown_shade(self, points: SurfacePoints) -> Float32:
        """(n,) brightness: from the bottom of the crown to its top, with clumps of leaves."""
        x, y, z = points.position
        length = self._faces.along_length_m.take(points.face)
        height = z - self._faces.along_start_m.take(points.face)
        height /= np.maximum(length, np.float32(0.1))
        np.clip(height, 0, 1, out=height)
        height[length <= 1.01] = 0.7  # hedges carry no crown height
        fine = np.maximum(1 - points.distance_m * np.float32(1 / 60), 0)
        clumps = self._noise.sample(x - z, y + z, 55.0)
        clumps *= fine * np.float32(0.13)
        clumps += np.float32(0.12) * self._noise.sample(x + z * 0.7, y + z * 1.3, 21.0)
        clumps += 1
        clumps *= np.float32(0.62) + np.float32(0.5) * height
        return clumps

    def _bend_normals(self, points: SurfacePoints, rng: np.random.Generator) -> None:
        corners = self._faces.faces.take(points.face, axis=0)
        u, v = points.u, points.v
        smooth = self._vertex_normals.take(corners[:, 0], axis=0).T * (1 - u - v)
        smooth += self._vertex_normals.take(corners[:, 1], axis=0).T * u
        smooth += self._vertex_normals.take(corners[:, 2], axis=0).T * v
        away = (smooth * points.direction).sum(axis=0)
        smooth *= np.where(away > 0.2, np.float32(-0.65), np.float32(0.65))
        normal = points.normal
        normal *= np.float32(0.35)
        normal += smooth
        jitter = rng.random(normal.shape, dtype=np.float32)
        jitter -= np.float32(0.5)
        jitter *= _NORMAL_JITTER
        normal += jitter
        normal /= np.sqrt((normal * normal).sum(axis=0)) + np.float32(1e-6)
