"""A tile set's own tiles as tiles of the gallery."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crossfix.errors import SourceError
from crossfix.geodesy import Bounds, LocalFrame, LonLat, TileId, from_web_mercator, tile_bounds
from index_builder.sources.grid.area import Area
from index_builder.sources.source import TilePlan
from index_builder.sources.tile_sets.tile_image import decode_tile
from index_builder.sources.tile_sets.tile_mosaic import split_alpha
from index_builder.sources.tile_sets.tile_store import (
    TileNumbers,
    TileSetFacts,
    TileStore,
    name_tile,
)

UInt8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]

MAX_SIDE_M = 20_000.0
_GROUP_TILES = 64
_LOWEST_ZOOM = 8  # below, even polar tiles are wider than MAX_SIDE_M


class OwnGroup(NamedTuple):
    """Tiles that follow each other in the store; a plan's `place` is ``y << zoom | x``."""

    zoom: int
    number: int


class OwnTiles:
    """Plans and reads the tiles of one level.

    Args:
        name: what their ids begin with.
        facts: carried by every tile.
    """

    def __init__(self, store: TileStore, zoom: int, *, name: str, facts: TileSetFacts) -> None:
        self._store = store
        self._zoom = zoom
        self._name = name
        self._facts = facts

    def plan(self, side_px: int, area: Area | None) -> Iterator[TilePlan]:
        """In the store's order, only those that touch the area.

        Args:
            side_px: of the store's tiles.

        Raises:
            SourceError: the tiles are larger than 20 km on the ground.
        """
        if self._zoom < _LOWEST_ZOOM:
            raise self._too_large()
        planned = 0
        for batch in self._store.tiles(self._zoom, area):
            inside = batch if area is None else batch[_touched(batch, self._zoom, area)]
            for x, y in inside.tolist():
                yield self._plan_tile(TileId(self._zoom, x, y), side_px, planned)
                planned += 1

    def _plan_tile(self, tile: TileId, side_px: int, number: int) -> TilePlan:
        world = 2**tile.zoom
        lon, lat = from_web_mercator((tile.x + 0.5) / world, (tile.y + 0.5) / world)
        centre = LonLat(float(lon), float(lat))
        bounds = tile_bounds(tile)
        size_m = _side_m(bounds, centre)
        if size_m > MAX_SIDE_M:
            raise self._too_large()
        return TilePlan(
            tile_id=f"{self._name}-z{tile.zoom}-x{tile.x}-y{tile.y}",
            lon=centre.lon,
            lat=centre.lat,
            bounds=bounds,
            size_m=size_m,
            resolution_m=size_m / side_px,
            date=self._facts.date,
            attribution=self._facts.attribution,
            licence=self._facts.licence,
            group=OwnGroup(tile.zoom, number // _GROUP_TILES),
            place=(tile.y << tile.zoom) | tile.x,
        )

    def _too_large(self) -> SourceError:
        return SourceError(
            f"tiles of zoom {self._zoom} in {self._store.place} are too large to be gallery tiles",
            hint=f"choose a higher zoom (sides up to {MAX_SIDE_M:g} m) or give --tile-size-m",
        )

    def read(self, plan: TilePlan, group: OwnGroup) -> tuple[UInt8, Bool] | None:
        """The tile's pixels and which hold data; None where the store has no such tile.

        Raises:
            SourceError: the store or the image is damaged.
        """
        tile = TileId(group.zoom, plan.place & (2**group.zoom - 1), plan.place >> group.zoom)
        data = self._store.get(tile)
        if data is None:
            return None
        return split_alpha(np.asarray(decode_tile(data, where=name_tile(self._store, tile))))


def _touched(batch: TileNumbers, zoom: int, area: Area) -> Bool:
    """Which tiles share ground with the area, (n,)."""
    west, north = from_web_mercator(batch[:, 0] / 2**zoom, batch[:, 1] / 2**zoom)
    east, south = from_web_mercator((batch[:, 0] + 1) / 2**zoom, (batch[:, 1] + 1) / 2**zoom)
    return area.touches_many(west, south, east, north)


def _side_m(bounds: Bounds, centre: LonLat) -> float:
    """Mean of width and height, which differ by up to 0.7 % on the ellipsoid."""
    scale_east, scale_north = LocalFrame(centre).to_metres(centre.lon + 0.01, centre.lat + 0.01)
    area = (bounds.east - bounds.west) * (bounds.north - bounds.south)
    return math.sqrt(area * float(scale_east * scale_north)) * 100
