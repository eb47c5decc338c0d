"""Putting a mesh together from polygons, boxes and many copies of one shape."""

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sample_world.scene import Float32, Float64, Material, Mesh

Int32 = NDArray[np.int32]


class MeshBuilder:
    """Collects triangles; colours are given as rgb 0..255 and stored as albedo 0..1."""

    def __init__(self) -> None:
        self._parts: list[Mesh] = []
        self._vertices = 0

    def add(
        self,
        vertices: ArrayLike,
        faces: ArrayLike,
        material: Material,
        rgb: ArrayLike,
        *,
        object_id: ArrayLike = 0,
        along_start_m: ArrayLike = 0.0,
        along_length_m: ArrayLike = 1.0,
    ) -> None:
        """Add (V, 3) vertices and (F, 3) faces; attributes are one value or one per face."""
        points = np.asarray(vertices, np.float32).reshape(-1, 3)
        index = np.asarray(faces, np.int32).reshape(-1, 3)
        count = len(index)
        part = Mesh(
            vertices=points,
            faces=index + np.int32(self._vertices),
            material=np.full(count, material, np.uint8),
            albedo=np.broadcast_to(np.asarray(rgb, np.float32) / np.float32(255), (count, 3)),
            object_id=np.broadcast_to(np.asarray(object_id, np.int32), count),
            along_start_m=np.broadcast_to(np.asarray(along_start_m, np.float32), count),
            along_length_m=np.broadcast_to(np.asarray(along_length_m, np.float32), count),
        )
        self._vertices += len(points)
        self._parts.append(part)

    def add_polygons(
        self,
        corners: ArrayLike,
        material: Material,
        rgb: ArrayLike,
        *,
        object_id: ArrayLike = 0,
        along_start_m: ArrayLike = 0.0,
        along_length_m: ArrayLike = 1.0,
    ) -> None:
        """Add (n, k, 3) convex polygons as fans; attributes are one value or one per polygon."""
        points = np.asarray(corners, np.float32)
        count, sides, _ = points.shape
        fan = np.array([(0, k, k + 1) for k in range(1, sides - 1)], np.int32)
        faces = (np.arange(count, dtype=np.int32)[:, None, None] * sides + fan).reshape(-1, 3)
        each = [
            np.repeat(value, sides - 2, axis=0) if np.ndim(value) == rank else value
            for value, rank in (
                (rgb, 2), (object_id, 1), (along_start_m, 1), (along_length_m, 1),
            )
        ]  # fmt: skip
        self.add(
            points, faces, material, each[0],
            object_id=each[1], along_start_m=each[2], along_length_m=each[3],
        )  # fmt: skip

    def add_copies(
        self,
        vertices: Float32,
        faces: Int32,
        material: Material,
        rgb: Float64,
        *,
        object_id: Int32,
        along_start_m: Float64,
        along_length_m: Float64,
    ) -> None:
        """Add (n, V, 3) vertices sharing (F, 3) faces; attributes (n, ...) are per copy."""
        count, size, _ = vertices.shape
        offsets = (np.arange(count, dtype=np.int32) * size)[:, None, None]
        every = len(faces)
        self.add(
            vertices,
            offsets + faces,
            material,
            np.repeat(rgb, every, axis=0),
            object_id=np.repeat(object_id, every),
            along_start_m=np.repeat(along_start_m, every),
            along_length_m=np.repeat(along_length_m, every),
        )

    def build(self) -> Mesh:
        """Everything added so far as one mesh."""
        parts = self._parts or [_empty_mesh()]

        def joined(name: str) -> NDArray[np.generic]:
            return np.concatenate([getattr(part, name) for part in parts])

        return Mesh(**{name: joined(name) for name in Mesh.__dataclass_fields__})  # type: ignore[arg-type]


def _empty_mesh() -> Mesh:
    none = np.zeros(0, np.float32)
    return Mesh(
        vertices=np.zeros((0, 3), np.float32),
        faces=np.zeros((0, 3), np.int32),
        material=np.zeros(0, np.uint8),
        albedo=np.zeros((0, 3), np.float32),
        object_id=np.zeros(0, np.int32),
        along_start_m=none,
        along_length_m=none,
    )


@lru_cache(maxsize=4)
def icosphere(subdivisions: int) -> tuple[Float32, Int32]:
    """Unit sphere from an icosahedron: vertices (V, 3), outward faces (20 * 4**n, 3)."""
    golden = (1 + 5**0.5) / 2
    ring = [(-1.0, golden), (1.0, golden), (-1.0, -golden), (1.0, -golden)]
    corners = [(a, b, 0.0) for a, b in ring] + [(0.0, a, b) for a, b in ring]
    corners += [(b, 0.0, a) for a, b in ring]
    points = np.array(corners) / np.hypot(1, golden)
    faces = _hull_faces(points)
    for _ in range(subdivisions):
        points, faces = _subdivide(points, faces)
    return points.astype(np.float32), faces.astype(np.int32)


def _hull_faces(points: Float64) -> Int32:
    """Outward triangles of an icosahedron: the triples of mutually nearest corners."""
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    near = distance < distance[distance > 1e-9].min() * 1.01
    faces = []
    for a in range(12):
        for b in range(a + 1, 12):
            for c in range(b + 1, 12):
                if near[a, b] and near[b, c] and near[a, c]:
                    outward = np.linalg.det(points[[a, b, c]]) > 0
                    faces.append((a, b, c) if outward else (a, c, b))
    return np.array(faces, np.int32)


def _subdivide(points: Float64, faces: Int32) -> tuple[Float64, Int32]:
    """Cut every triangle into four, new corners pushed out to the sphere."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    unique, inverse = np.unique(edges, axis=0, return_inverse=True)
    middle = points[unique].sum(axis=1)
    middle /= np.linalg.norm(middle, axis=1, keepdims=True)
    x, y, z = inverse.reshape(3, -1) + len(points)
    a, b, c = faces.T
    cut = np.concatenate([np.stack(t, 1) for t in ((a, x, z), (b, y, x), (c, z, y), (x, y, z))])
    return np.concatenate([points, middle]), cut.astype(np.int32)
