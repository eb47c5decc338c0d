"""The site a town is built on: everything its parts are written into."""

from dataclasses import dataclass, field

import numpy as np

from sample_world.boxes import BoxList
from sample_world.building_ledger import BuildingLedger
from sample_world.canvas import Canvas
from sample_world.mesh import MeshBuilder
from sample_world.randomness import stream
from sample_world.scene import Float64
from sample_world.styles import TownStyle
from sample_world.terrain import Terrain
from sample_world.vegetation import TreeList
from sample_world.vehicles import CarList


@dataclass
class Site:
    """A town under construction; the parts add to it in the order `town` calls them."""

    seed: int
    size_m: float
    style: TownStyle
    terrain: Terrain
    canvas: Canvas
    mesh: MeshBuilder = field(default_factory=MeshBuilder)
    boxes: BoxList = field(default_factory=BoxList)
    buildings: BuildingLedger = field(default_factory=BuildingLedger)
    trees: TreeList = field(default_factory=TreeList)
    cars: CarList = field(default_factory=CarList)
    corners: list[Float64] = field(default_factory=list)

    def rng(self, part: str) -> np.random.Generator:
        """The random stream of one part of this town."""
        return stream(self.seed, part)

    def ground_z(self, x: float, y: float) -> float:
        """Height of the ground at one place, metres."""
        return float(self.terrain(x, y))
