"""From what a user says about a tile set to the store behind it."""

from pathlib import Path

from crossfix.errors import SourceError
from index_builder.sources.confinement import ANYWHERE, Confinement
from index_builder.sources.kinds import find_kind
from index_builder.sources.spec import SourceKind, SourceSpec
from index_builder.sources.tile_sets.mbtiles_store import MbtilesStore
from index_builder.sources.tile_sets.pmtiles_store import PmtilesStore
from index_builder.sources.tile_sets.tile_set_source import TileSetSource
from index_builder.sources.tile_sets.tile_store import TileStore
from index_builder.sources.tile_sets.web_address import WebAddress
from index_builder.sources.tile_sets.web_cache import WebCache, default_cache_folder
from index_builder.sources.tile_sets.web_fetching import WebFetcher
from index_builder.sources.tile_sets.web_pacing import Pacer
from index_builder.sources.tile_sets.web_store import WebStore
from index_builder.sources.tile_sets.xyz_store import XyzStore


def open_tile_set(
    spec: SourceSpec, *, name: str, tile_px: int, within: Confinement = ANYWHERE
) -> TileSetSource:
    """Opens the kinds xyz, tms, mbtiles, pmtiles and web; `auto` is told by looking.

    Args:
        within: where all that is read must lie.

    Raises:
        SourceError: missing, damaged, vector tiles, no tile set, or outside.
    """
    store = _open_store(spec, find_kind(spec), name, within)
    try:
        return TileSetSource(spec, name=name, tile_px=tile_px, store=store)
    except SourceError:
        store.close()
        raise


def _open_store(spec: SourceSpec, kind: SourceKind, name: str, within: Confinement) -> TileStore:
    path = Path(spec.location)
    match kind:
        case "mbtiles":
            return MbtilesStore(path, within=within)
        case "pmtiles":
            return PmtilesStore(path)
        case "web":
            within.refuse_web(spec.location)
            return open_web_store(spec, name=name)
        case "xyz" | "tms":
            return XyzStore(path, from_south=kind == "tms", within=within)
        case _:
            raise SourceError(
                f"source {spec.location} is no tile set",
                hint="give a folder of z/x/y or z_x_y tiles, an .mbtiles or .pmtiles file, or an "
                "address with {z}, {x} and {y}",
            )


def open_web_store(spec: SourceSpec, *, name: str) -> WebStore:
    """A server's tiles at the spec's zoom, with a cache.

    Raises:
        SourceError: a bad address, no attribution, no zoom, or an unusable cache.
    """
    address = WebAddress(spec.location)
    if not spec.attribution.strip():
        raise SourceError(
            f"tile server {address.host} needs an attribution",
            hint="give the credit line its terms ask for, and check that they allow this use",
        )
    if spec.zoom is None:
        raise SourceError(
            f"tile server {address.host} needs a zoom",
            hint="give the level to fetch; 18 or 19 suits tiles of about 100 m",
        )
    folder = Path(spec.cache) if spec.cache else default_cache_folder(name, spec.location)
    return WebStore(
        address,
        zoom=spec.zoom,
        cache=WebCache(folder, address.template),
        fetcher=WebFetcher(address.host, Pacer(spec.requests_per_s)),
    )
