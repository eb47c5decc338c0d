"""A town small enough to know by heart: a slope, two houses, a tree, a street, red markers."""

import numpy as np
from scipy.ndimage import gaussian_filter
from shapely import LineString

from sample_world.ground import CLASS_ID
from sample_world.scene import (
    BuildingTable,
    Georeference,
    Material,
    Mesh,
    RoadLine,
    Scene,
)

SIZE_M = 120.0
RED = (0.9, 0.02, 0.02)
HOUSES = ((25.0, 80.0, 16.0, 12.0, 9.0), (85.0, 30.0, 12.0, 20.0, 24.0))  # x, y, width, depth, high
MARKERS = ((60.0, 95.0, 0.0), (20.0, 30.0, 0.0), (100.0, 85.0, 0.0), (38.0, 55.0, 12.0))
MARKER_M = 1.2


def terrain(x, y):
    """A plane, so that the mesh is exact."""
    return 5.0 + 0.04 * np.asarray(x, np.float64) - 0.03 * np.asarray(y, np.float64)


def marker_centres():
    """(M, 3) centres of the red cubes; the last one floats."""
    return np.array([(x, y, float(terrain(x, y)) + up + MARKER_M / 2) for x, y, up in MARKERS])


class _Builder:
    def __init__(self):
        self.parts = []
        self.count = 0

    def add(self, vertices, faces, material, albedo, *, object_id=0, start=0.0, length=1.0):
        shape = len(faces)
        self.parts.append(
            (
                np.asarray(vertices, np.float32),
                np.asarray(faces, np.int32) + self.count,
                np.full(shape, material, np.uint8),
                np.tile(np.float32(albedo), (shape, 1)),
                np.full(shape, object_id, np.int32),
                np.full(shape, start, np.float32),
                np.full(shape, length, np.float32),
            )
        )
        self.count += len(vertices)

    def box(self, x, y, z, width, depth, height, material, albedo, roof, object_id=0):
        """Axis-aligned, base centred on (x, y, z); the top four vertices are returned."""
        corners = np.array(
            [
                (x + sx * width / 2, y + sy * depth / 2)
                for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1))
            ]
        )
        for i in range(4):
            a, b = corners[i], corners[(i + 1) % 4]
            length = np.linalg.norm(b - a)
            wall = [(*a, z), (*b, z), (*b, z + height), (*a, z + height)]
            self.add(
                wall,
                [(0, 1, 2), (0, 2, 3)],
                material,
                albedo,
                object_id=object_id,
                start=a @ ((b - a) / length),
                length=length,
            )
        for level, order in ((z + height, 1), (z, -1)):
            top = [(*c, level) for c in corners]
            faces = [(0, 1, 2)[::order], (0, 2, 3)[::order]]
            self.add(top, faces, roof, albedo, object_id=object_id)
        return [(*c, z + height) for c in corners]

    def mesh(self):
        return Mesh(*(np.concatenate(column) for column in zip(*self.parts, strict=True)))


def _cars(x):
    builder = _Builder()
    builder.box(
        x,
        62.0,
        float(terrain(x, 62.0)),
        4.0,
        1.8,
        1.4,
        Material.PLAIN,
        (0.2, 0.3, 0.6),
        Material.PLAIN,
    )
    return builder.mesh()


def hand_made_town(seed=1, *, size_m=SIZE_M, style=None):  # noqa: ARG001
    """The same town for every argument: stands in for `build_town`."""
    builder = _Builder()
    edge = [(-300.0, -300.0), (420.0, -300.0), (420.0, 420.0), (-300.0, 420.0)]
    builder.add(
        [(x, y, terrain(x, y)) for x, y in edge], [(0, 1, 2), (0, 2, 3)], Material.GROUND, (0, 0, 0)
    )
    corners = []
    for i, (x, y, width, depth, height) in enumerate(HOUSES):
        corners += builder.box(
            x,
            y,
            float(terrain(x, y)),
            width,
            depth,
            height,
            Material.WALL,
            (0.8, 0.75, 0.6),
            Material.ROOF_FLAT,
            i,
        )
    x, y = 55.0, 30.0
    builder.box(
        x, y, float(terrain(x, y)) + 2, 4, 4, 4, Material.LEAF, (0.2, 0.4, 0.1), Material.LEAF
    )
    for centre in marker_centres():
        builder.box(
            *(centre - (0, 0, MARKER_M / 2)),
            MARKER_M,
            MARKER_M,
            MARKER_M,
            Material.PLAIN,
            RED,
            Material.PLAIN,
        )
    cells = round(SIZE_M / 0.5)
    ground = np.full((cells, cells), CLASS_ID["grass"], np.uint8)
    ground[int((SIZE_M - 68) / 0.5) : int((SIZE_M - 60) / 0.5)] = CLASS_ID["asphalt_a"]
    two = len(HOUSES)
    noise = gaussian_filter(np.random.default_rng(0).standard_normal((1024, 1024)), 3, mode="wrap")
    return Scene(
        seed=seed,
        style=style or "hand_made",
        size_m=SIZE_M,
        georeference=Georeference(32632, 691000.0, 5335000.0),
        terrain=terrain,
        ground_class=ground,
        ground_res_m=0.5,
        noise=(noise / noise.std()).astype(np.float32),
        static=builder.mesh(),
        satellite_cars=_cars(20.0),
        photo_cars=_cars(95.0),
        buildings=BuildingTable(
            base_z_m=np.float32([terrain(x, y) for x, y, *_ in HOUSES]),
            height_m=np.float32([h for *_, h in HOUSES]),
            floor_height_m=np.full(two, 3, np.float32),
            window_pitch_m=np.full(two, 3, np.float32),
            window_width_share=np.full(two, 0.5, np.float32),
            window_height_share=np.full(two, 0.5, np.float32),
            has_shop=np.array([True, False]),
            cladding=np.uint8([1, 2]),
            facade=np.uint8([0, 3]),
        ),
        roads=(RoadLine(LineString([(-50, 64), (170, 64)]), 4.0, is_main=True),),
        corners=np.float32(corners),
    )
