"""Planning squares: a grid over imagery that can be surveyed before it is read."""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from crossfix.errors import SourceError
from crossfix.geodesy import Bounds
from index_builder.sources.grid.area import Area
from index_builder.sources.grid.blocks import Block, Boxes, PlacedBlock, TilePixels, cut_band
from index_builder.sources.grid.intervals import Intervals, intersect
from index_builder.sources.grid.tile_grid import TileGrid
from index_builder.sources.source import TilePlan


class SquareFacts(NamedTuple):
    """What is known of a square's imagery; `resolution_m` is a source pixel's ground size."""

    resolution_m: float
    date: str
    attribution: str
    licence: str


class SquareSurvey(NamedTuple):
    """A block's squares, (n,) each: whether to plan it, and which of `facts` is its own."""

    wanted: NDArray[np.bool_]
    facts_index: NDArray[np.int64]
    facts: list[SquareFacts]


class Imagery(Protocol):
    """Ground to cut squares from."""

    @property
    def label(self) -> str:
        """What errors call it."""
        ...

    def latitudes(self) -> Intervals:
        """Ranges that have imagery, from the south."""
        ...

    def spans(self, south: float, north: float) -> Intervals:
        """Longitudes that have imagery between two latitudes, counted as the grid's extent is."""
        ...

    def survey(self, block: Block, boxes: Boxes) -> SquareSurvey:
        """What a block's squares are likely to hold; rather one too many than one too few."""
        ...

    def group(self, block: Block, places: NDArray[np.int64]) -> Hashable:
        """The `TilePlan.group` of the squares planned of a block."""
        ...


@dataclass(frozen=True)
class SquarePlanner:
    """Plans the squares of a grid, block by block from the south-west.

    Attributes:
        name: what ids begin with; the rest is the square's number in the grid.
    """

    imagery: Imagery
    grid: TileGrid
    pixels: TilePixels
    name: str
    area: Area | None

    def plan(self) -> Iterator[TilePlan]:
        """Every square worth reading.

        Raises:
            SourceError: there is none (while iterating, and only without an area).
            InvalidParameter: at once, where a row lies beyond 85 degrees of latitude.
        """
        latitudes = self.imagery.latitudes()
        if self.area is not None:
            bounds = self.area.bounds
            latitudes = intersect(latitudes, [(bounds.south, bounds.north)])
        bands = self.grid.bands(latitudes)
        blocks = (
            placed
            for band in bands
            for placed in cut_band(band, self._spans(band.south, band.north), self.pixels)
        )
        return self._plan_blocks(blocks)

    def _spans(self, south: float, north: float) -> Intervals:
        spans = self.imagery.spans(south, north)
        if self.area is None or not spans:
            return spans
        west, east = spans[0][0], spans[-1][1]
        return intersect(spans, self.area.spans(south, north, west=west, east=east))

    def _plan_blocks(self, blocks: Iterator[PlacedBlock]) -> Iterator[TilePlan]:
        empty = True
        for placed in blocks:
            for plan in self._plan_block(placed):
                empty = False
                yield plan
        if empty and self.area is None:
            raise SourceError(
                f"{self.imagery.label} leaves every tile of {self.grid.tile_size_m:g} m empty",
                hint="use smaller tiles or another zoom, or check its nodata value",
            )

    def _plan_block(self, placed: PlacedBlock) -> Iterator[TilePlan]:
        block, boxes = placed.block, placed.block.boxes()
        survey = self.imagery.survey(block, boxes)
        wanted = survey.wanted
        if self.area is not None and wanted.any():
            wanted = wanted & self.area.touches_many(*boxes)
        places = np.flatnonzero(wanted)
        group = self.imagery.group(block, places)
        west, south, east, north = (side[places] for side in boxes)
        lon, lat = _wrap((west + east) / 2), (south + north) / 2
        rows, columns = np.divmod(places, block.columns)
        size_m = self.grid.tile_size_m
        prefix = f"{self.name}-{size_m:g}m-r"
        values = (
            *(places, rows + placed.first_row, columns + placed.first_column),
            *(survey.facts_index[places], lon, lat, _wrap(west), south, _wrap(east), north),
        )
        for place, row, column, which, *degrees in zip(*(v.tolist() for v in values), strict=True):
            facts = survey.facts[which]
            yield TilePlan(
                tile_id=f"{prefix}{row}-c{column}",
                lon=degrees[0],
                lat=degrees[1],
                bounds=Bounds(*degrees[2:]),
                size_m=size_m,
                resolution_m=max(facts.resolution_m, size_m / block.pixels.tile_px),
                date=facts.date,
                attribution=facts.attribution,
                licence=facts.licence,
                group=group,
                place=place,
            )


def _wrap(lon: NDArray[np.float64]) -> NDArray[np.float64]:
    """To -180..180, without a rounding error where there is nothing to do."""
    return np.where(np.abs(lon) <= 180, lon, (lon + 180) % 360 - 180)
