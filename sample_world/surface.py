"""What rays hit, as arrays sorted by material, so that each shader works on one slice."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from sample_world.raycaster import Hits
from sample_world.scene import Float32, Material, Mesh

SKY_CODE = 255  # sorts behind every material
_HITS_MATERIALS = len(Material)


@dataclass(frozen=True)
class SurfacePoints:
    """Hit points in material order. Vectors are (3, n), scalars (n,); shaders work in place.

    Attributes:
        albedo: in: the face's colour; out: the point's.
        emission: out: 0..1, share of `albedo` that is light leaving the point as it is
            (reflections, lamps) rather than something the sun must light first.
        footprint_m: size on the surface of what one ray stands for; detail finer than it is noise.
        normal: unit, facing the viewer; leaves may bend it.
    """

    position: Float32
    direction: Float32
    normal: Float32
    albedo: Float32
    emission: Float32
    distance_m: Float32
    footprint_m: Float32
    u: Float32
    v: Float32
    face: NDArray[np.int32]
    object_id: NDArray[np.int32]

    def part(self, span: slice) -> "SurfacePoints":
        """The same points' views for one slice."""
        values = {item.name: getattr(self, item.name)[..., span] for item in fields(self)}
        return SurfacePoints(**values)


class FaceTable:
    """Per-face attributes laid out for one gather per ray."""

    def __init__(self, mesh: Mesh) -> None:
        self.material = np.append(mesh.material, np.uint8(SKY_CODE))  # face -1 is the sky
        self.object_id = mesh.object_id
        self.along_start_m = mesh.along_start_m
        self.along_length_m = mesh.along_length_m
        self.faces = mesh.faces
        self.normal = face_normals(mesh)
        self._normal_albedo = np.concatenate([self.normal, mesh.albedo], axis=1).astype(np.float32)

    def normal_and_albedo(self, face: NDArray[np.int32]) -> Float32:
        """(6, n): unit normal and colour of faces."""
        return np.ascontiguousarray(self._normal_albedo.take(face, axis=0).T)


def face_normals(mesh: Mesh) -> Float32:
    """(F, 3) unit normals by the right-hand rule; zero for degenerate faces."""
    first, second, third = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    normal = np.cross(second - first, third - first)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    return normal.astype(np.float32)


@dataclass(frozen=True)
class SortedHits:
    """A batch of rays by what they hit: `order` maps sorted to given; the sky is at the end."""

    order: NDArray[np.intp]
    points: SurfacePoints
    sky_direction: Float32
    bounds: NDArray[np.intp]

    def parts(self) -> Iterator[tuple[Material, SurfacePoints]]:
        """The non-empty materials with their points."""
        for material in Material:
            span = slice(int(self.bounds[material]), int(self.bounds[material + 1]))
            if span.stop > span.start:
                yield material, self.points.part(span)


def sort_hits(
    hits: Hits,
    origins: Float32,
    directions: Float32,
    faces: FaceTable,
    footprint: tuple[float, float],
) -> SortedHits:
    """Group a batch's hits by material and compute where they are.

    Args:
        hits: of the n rays.
        origins: (n, 3), or (1, 3) when all rays share it.
        directions: (n, 3) unit.
        faces: of the mesh that was hit.
        footprint: metres at the camera, and growth per metre of distance.
    """
    code = faces.material.take(hits.face)
    order = np.argsort(code, kind="stable")
    bounds = np.searchsorted(code[order], np.arange(_HITS_MATERIALS + 1))
    solid = order[: bounds[-1]]
    direction = np.ascontiguousarray(directions.take(order, axis=0).T)
    points = _points(hits, solid, origins, direction[:, : len(solid)], faces, footprint)
    return SortedHits(order, points, direction[:, len(solid) :], bounds)


def _points(
    hits: Hits,
    solid: NDArray[np.intp],
    origins: Float32,
    direction: Float32,
    faces: FaceTable,
    footprint: tuple[float, float],
) -> SurfacePoints:
    face = hits.face.take(solid)
    distance = hits.distance_m.take(solid)
    start = origins.T if len(origins) == 1 else origins.take(solid, axis=0).T
    position = direction * distance
    position += start
    attributes = faces.normal_and_albedo(face)
    normal = attributes[:3]
    facing = normal[0] * direction[0]
    facing += normal[1] * direction[1]
    facing += normal[2] * direction[2]
    normal *= -np.copysign(np.float32(1), facing)
    return SurfacePoints(
        position=position,
        direction=direction,
        normal=normal,
        albedo=attributes[3:],
        emission=np.zeros(len(face), np.float32),
        distance_m=distance,
        footprint_m=np.float32(footprint[1]) * distance + np.float32(footprint[0]),
        u=hits.u.take(solid),
        v=hits.v.take(solid),
        face=face,
        object_id=faces.object_id.take(face),
    )
