"""Nearest hit and shadow rays against one day's mesh, through Embree."""

from dataclasses import dataclass

import numpy as np
from embreex import rtcore_scene
from embreex.mesh_construction import TriangleMesh
from numpy.typing import NDArray

from sample_world.scene import Float32, Mesh

MISS = -1


@dataclass(frozen=True)
class Hits:
    """Where rays first met the mesh.

    Attributes:
        face: (n,) int32 face index, `MISS` where the ray left the world.
        distance_m: (n,) along the ray, in units of its direction; meaningless for misses.
        u, v: (n,) barycentric weights of the face's second and third vertex.
    """

    face: NDArray[np.int32]
    distance_m: Float32
    u: Float32
    v: Float32


def merge_meshes(first: Mesh, second: Mesh) -> Mesh:
    """Put two meshes into one; faces of `second` follow those of `first`."""
    offset = np.int32(len(first.vertices))
    return Mesh(
        vertices=np.concatenate([first.vertices, second.vertices]),
        faces=np.concatenate([first.faces, second.faces + offset]),
        material=np.concatenate([first.material, second.material]),
        albedo=np.concatenate([first.albedo, second.albedo]),
        object_id=np.concatenate([first.object_id, second.object_id]),
        along_start_m=np.concatenate([first.along_start_m, second.along_start_m]),
        along_length_m=np.concatenate([first.along_length_m, second.along_length_m]),
    )


class Raycaster:
    """An Embree tree over a mesh. Rays are (n, 3) float32; origins may be a broadcast view."""

    def __init__(self, mesh: Mesh) -> None:
        self._scene = rtcore_scene.EmbreeScene()
        vertices = np.ascontiguousarray(mesh.vertices, np.float32)
        self._geometry = TriangleMesh(self._scene, vertices, np.ascontiguousarray(mesh.faces))
        nowhere = np.zeros((1, 3), np.float32)
        self._scene.run(nowhere, nowhere + 1, query="OCCLUDED")  # commits: the tree is built here

    def nearest(self, origins: Float32, directions: Float32) -> Hits:
        """First hit of every ray."""
        found = self._scene.run(origins, directions, query="INTERSECT", output=True)
        return Hits(face=found["primID"], distance_m=found["tfar"], u=found["u"], v=found["v"])

    def occluded(self, origins: Float32, directions: Float32) -> NDArray[np.bool_]:
        """Whether anything at all lies along each ray."""
        blocked: NDArray[np.bool_] = self._scene.run(origins, directions, query="OCCLUDED") != MISS
        return blocked
