"""What a finished town is: one static mesh, two days' cars, painted ground, its place on Earth.

Frame: metres, x east, y north (grid north of the town's UTM zone), z up; the town covers
``0 <= x, y <= size_m``. ``town`` builds a :class:`Scene`; the renderer only ever reads one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from shapely import LineString

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


class Material(IntEnum):
    """How a face is shaded; stored per face as uint8."""

    GROUND = 0  # albedo comes from the painted ground classes, not from the face
    WALL = 1  # windows and doors are drawn from the building table through `object_id`
    ROOF_TILE = 2
    ROOF_FLAT = 3
    LEAF = 4  # tree crowns and hedges, smooth-shaded
    PLAIN = 5  # cars, chimneys, poles, trunks: albedo as is
    LAMP = 6


@dataclass(frozen=True)
class Mesh:
    """Triangles with per-face attributes.

    Attributes:
        vertices: (V, 3) metres.
        faces: (F, 3) int32 indices into `vertices`.
        material: (F,) uint8, a :class:`Material`.
        albedo: (F, 3) linear-ish reflectance in 0..1.
        object_id: (F,) int32; for WALL the row in `Scene.buildings`, for LEAF a random tint seed.
        along_start_m: (F,) WALL: coordinate of the wall's first end along its own direction,
            so a point's place along the wall is ``p @ direction - along_start_m``;
            LEAF: z of the crown's bottom.
        along_length_m: (F,) WALL: length of the wall; LEAF: height of the crown.
    """

    vertices: Float32
    faces: NDArray[np.int32]
    material: NDArray[np.uint8]
    albedo: Float32
    object_id: NDArray[np.int32]
    along_start_m: Float32
    along_length_m: Float32


@dataclass(frozen=True)
class BuildingTable:
    """One row per building, read by the facade shader. All arrays (B,)."""

    base_z_m: Float32
    height_m: Float32
    floor_height_m: Float32
    window_pitch_m: Float32
    window_width_share: Float32
    window_height_share: Float32
    has_shop: NDArray[np.bool_]
    cladding: NDArray[np.uint8]  # 0 plaster, 1 brick courses, 2 floor bands, 3 panels
    facade: NDArray[np.uint8]  # 0/1 single windows, 2 industrial ribbon, 3 curtain wall


@dataclass(frozen=True)
class RoadLine:
    """A street a camera can stand on: its centre line and half the carriageway's width."""

    centre: LineString
    half_width_m: float
    is_main: bool


@dataclass(frozen=True)
class Georeference:
    """Where the town is on Earth: a UTM zone and the UTM coordinates of local (0, 0)."""

    epsg: int
    easting_m: float
    northing_m: float


@dataclass(frozen=True)
class Scene:
    """A town, complete.

    Attributes:
        ground_class: (N, N) uint8 indices into `ground.GROUND_CLASSES`, row 0 is the north edge.
        ground_res_m: metres per cell of `ground_class`.
        noise: (1024, 1024) float32 tileable zero-mean unit-variance texture, from the seed.
        terrain: (x, y) metres, any shape -> z metres.
        satellite_cars, photo_cars: the same town's cars on two different days.
        corners: (C, 3) metres, roof-edge corners of buildings, for geometry tests.
    """

    seed: int
    style: str
    size_m: float
    georeference: Georeference
    terrain: Callable[[Float64, Float64], Float64]
    ground_class: NDArray[np.uint8]
    ground_res_m: float
    noise: Float32
    static: Mesh
    satellite_cars: Mesh
    photo_cars: Mesh
    buildings: BuildingTable
    roads: tuple[RoadLine, ...]
    corners: Float32
