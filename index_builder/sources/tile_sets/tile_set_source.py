"""Any tile set as a source: squares of a chosen size on the ground, or its own tiles."""

from collections.abc import Iterator
from itertools import chain, islice

import numpy as np

from crossfix.errors import SourceError
from crossfix.gallery_manifest import SourceInfo
from crossfix.geodesy import TileId
from index_builder.sources.grid.area import Area
from index_builder.sources.source import TilePlan, UInt8
from index_builder.sources.spec import SourceSpec
from index_builder.sources.tile_sets.tile_image import decode_tile
from index_builder.sources.tile_sets.tile_set_own import OwnGroup, OwnTiles
from index_builder.sources.tile_sets.tile_set_squares import SquareGroup, Squares
from index_builder.sources.tile_sets.tile_store import TileSetFacts, TileStore, name_tile

MAX_EMPTY_SHARE = 0.5
_USUAL_SIDE_PX = 256
_SAMPLES = 4  # tiles tried to learn how many pixels they have


class TileSetSource:
    """A `TileStore` as a `TileSource`.

    Planned with a tile size it is one picture at the chosen zoom, cut into north-up squares on
    the grid that rasters have; where the squares' pixels are much coarser than the store's, a
    lower zoom is read, or made by averaging where the store has none. Planned without a size,
    the store's tiles at that zoom are the gallery's.

    Raises:
        SourceError: the store has no tiles of the zoom asked for.
    """

    def __init__(self, spec: SourceSpec, *, name: str, tile_px: int, store: TileStore) -> None:
        self._store = store
        self._name = name
        self._zoom = _choose_zoom(spec, store)
        self._facts = facts = TileSetFacts(
            attribution=spec.attribution or store.facts.attribution,
            licence=spec.licence or store.facts.licence,
            date=spec.date or store.facts.date,
        )
        self._own = OwnTiles(store, self._zoom, name=name, facts=facts)
        self._squares = Squares(store, self._zoom, tile_px=tile_px, name=name, facts=facts)

    def describe(self) -> SourceInfo:
        """Name, licence and coordinate system."""
        return SourceInfo(
            name=self._name,
            attribution=self._facts.attribution,
            licence=self._facts.licence,
            date=self._facts.date,
            crs="EPSG:3857",
            kind=self._store.kind,
            fingerprint=self.fingerprint(),
        )

    @property
    def has_own_sizes(self) -> bool:
        """It is cut to any size, although it can be planned without one."""
        return False

    def fingerprint(self) -> str:
        """The store's, and the zoom."""
        return f"{self._store.fingerprint()}-z{self._zoom}"

    def plan(
        self, tile_size_m: float | None, overlap: float, area: Area | None = None
    ) -> Iterator[TilePlan]:
        """Squares in blocks of neighbours; or, without a size, the store's tiles in its order.

        Raises:
            SourceError: a server without an area; or, while iterating, a zoom whose own tiles
                are too large, or no square that would hold any data.
            InvalidParameter: size or overlap out of range.
        """
        side_px = self._find_side_px(area)
        if tile_size_m is None:
            return self._own.plan(side_px, area)
        return self._squares.plan(tile_size_m, overlap, side_px, area)

    def _find_side_px(self, area: Area | None) -> int:
        """Pixels of the store's tiles, told by the first there is."""
        numbers = chain.from_iterable(self._store.tiles(self._zoom, area))
        for x, y in islice(numbers, _SAMPLES):
            tile = TileId(self._zoom, int(x), int(y))
            data = self._store.get(tile)
            if data is not None:
                return decode_tile(data, where=name_tile(self._store, tile)).width
        return _USUAL_SIDE_PX

    def read(self, plan: TilePlan) -> UInt8 | None:
        """(side, side, 3) uint8, or None where more than half of the tile holds no data.

        Raises:
            SourceError: the store or one of its tiles is damaged.
        """
        match plan.group:
            case OwnGroup():
                found = self._own.read(plan, plan.group)
            case SquareGroup():
                found = self._squares.read(plan, plan.group)
            case _:
                raise SourceError(f"tile {plan.tile_id} is none of {self._store.place}")
        if found is None:
            return None
        pixels, valid = found
        if np.count_nonzero(valid) < (1 - MAX_EMPTY_SHARE) * valid.size:
            return None
        return np.ascontiguousarray(pixels)

    def close(self) -> None:
        """Closes the store."""
        self._store.close()


def _choose_zoom(spec: SourceSpec, store: TileStore) -> int:
    if spec.zoom is None:
        return store.zooms[-1]
    if spec.zoom not in store.zooms:
        raise SourceError(
            f"{store.place} has no tiles of zoom {spec.zoom}",
            hint=f"it has zoom {', '.join(str(zoom) for zoom in store.zooms)}",
        )
    return spec.zoom
