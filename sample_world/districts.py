"""Districts: regions of a town that share a kind of building, colours and gardens."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sample_world.scene import Float64
from sample_world.styles import (
    DISTRICT_KINDS,
    FLATS,
    TILES,
    WALLS,
    DistrictKind,
    Palette,
    TownStyle,
)

_AREA_PER_DISTRICT_M2 = 280_000.0
_FEWEST, _MOST = 4, 14
_BORDER_M = 40.0  # how ragged the border between two districts is


@dataclass(frozen=True)
class District:
    """One region: its kind and the few colours its builders had.

    Attributes:
        walls, tiles, flats: colours, the commonest first.
        lawn: ground class of its gardens.
        conifer_share: of its trees, 0..1.
        hip_share: of its pitched roofs, 0..1.
        garage_share: of its houses, 0..1.
    """

    kind: DistrictKind
    walls: Palette
    tiles: Palette
    flats: Palette
    lawn: str
    conifer_share: float
    hip_share: float
    garage_share: float

    def resolve(self, ground: str) -> str:
        """The ground class `ground` stands for here: "lawn" is the district's own."""
        return self.lawn if ground == "lawn" else ground


@dataclass(frozen=True)
class DistrictMap:
    """Districts around their seeds (K, 2), nearest seed wins; `centre` is the town's centre."""

    districts: tuple[District, ...]
    seeds: Float64
    centre: Float64
    size_m: float

    def at(self, rng: np.random.Generator, point: ArrayLike) -> District:
        """The district of a point, with a ragged border."""
        distance = np.hypot(*(self.seeds - np.asarray(point)).T)
        return self.districts[int(np.argmin(distance + rng.normal(0, _BORDER_M, len(distance))))]

    def remoteness(self, point: ArrayLike) -> float:
        """Distance from the centre over the size of the town."""
        return float(np.hypot(*(np.asarray(point) - self.centre)) / self.size_m)


def _pick(rng: np.random.Generator, palette: Palette, count: int) -> Palette:
    order = rng.permutation(len(palette))[:count]
    return tuple(palette[int(index)] for index in order)


def draw_district(rng: np.random.Generator, kind: DistrictKind, style: TownStyle) -> District:
    """A district of a kind, with colours out of the style's palettes."""

    def palette(names: tuple[str, ...], table: dict[str, Palette], count: int) -> Palette:
        return _pick(rng, table[str(rng.choice(names))], count)

    return District(
        kind=kind,
        walls=palette(style.walls, WALLS, 4),
        tiles=palette(style.tiles, TILES, 2),
        flats=palette(style.flats, FLATS, 3),
        lawn=str(rng.choice(["lawn_a", "lawn_b", "lawn_c", "grass"])),
        conifer_share=float(rng.uniform(0, 0.5)),
        hip_share=float(rng.choice([0.08, 0.35, 0.75])),
        garage_share=float(rng.uniform(0.1, 0.6)),
    )


def draw_districts(rng: np.random.Generator, size_m: float, style: TownStyle) -> DistrictMap:
    """Scatter districts and hand out the style's kinds from the centre outwards."""
    count = int(np.clip(round(size_m**2 / _AREA_PER_DISTRICT_M2), _FEWEST, _MOST))
    seeds = rng.uniform(0, size_m, (count, 2))
    centre = rng.uniform(0.35, 0.65, 2) * size_m
    outward = np.argsort(np.hypot(*(seeds - centre).T))
    names = [style.districts[int(i * len(style.districts) / count)] for i in range(count)]
    kinds: list[DistrictKind] = [DISTRICT_KINDS[names[0]]] * count
    for rank, index in enumerate(outward):
        kinds[int(index)] = DISTRICT_KINDS[names[rank]]
    districts = tuple(draw_district(rng, kind, style) for kind in kinds)
    return DistrictMap(districts, seeds, centre, size_m)
