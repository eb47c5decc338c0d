"""From what a user says about a source to the source itself, and the name its tiles go by."""

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from crossfix.errors import CrossfixError, SourceError
from index_builder.sources.confinement import ANYWHERE, Confinement
from index_builder.sources.kinds import find_kind, is_pattern
from index_builder.sources.source import TileSource
from index_builder.sources.spec import SourceSpec

_USUAL = ("tiles", "images", "imagery", "rasters", "data")  # folders that say nothing by themselves


def open_sources(
    specs: Sequence[SourceSpec], *, tile_px: int, within: Confinement = ANYWHERE
) -> list[TileSource]:
    """Opens every source.

    Args:
        tile_px: the largest side in pixels anyone needs of a tile.
        within: where all that is read must lie.

    Raises:
        SourceError: a source is missing, cannot be read, is of no known kind, or lies outside.
    """
    opened: list[TileSource] = []
    try:
        for spec, name in zip(specs, name_sources(specs), strict=True):
            opened.append(open_source(spec, name=name, tile_px=tile_px, within=within))
    except CrossfixError:
        close_sources(opened)
        raise
    return opened


def open_source(
    spec: SourceSpec, *, name: str, tile_px: int, within: Confinement = ANYWHERE
) -> TileSource:
    """Opens one source; errors as `open_sources`."""
    within.refuse_web(spec.location)
    within.check(Path(spec.location))
    kind = find_kind(spec)
    try:
        # Imported here: whoever has no tile archives need not install what reads them.
        match kind:
            case "raster":
                from index_builder.sources.rasters.raster_source import RasterSource

                return RasterSource(spec, name=name, tile_px=tile_px, within=within)
            case "mosaic":
                from index_builder.sources.rasters.mosaic_source import MosaicSource

                return MosaicSource(spec, name=name, tile_px=tile_px, within=within)
            case "table":
                from index_builder.sources.tables.table_source import TableSource

                return TableSource(spec, name=name, tile_px=tile_px, within=within)
            case _:
                from index_builder.sources.tile_sets.tile_set_opening import open_tile_set

                told = spec.model_copy(update={"kind": kind})
                return open_tile_set(told, name=name, tile_px=tile_px, within=within)
    except ImportError as problem:
        raise SourceError(
            f"sources of kind {kind} need the Python package {problem.name}",
            hint='install it with pip install "crossfix[index]"',
        ) from problem


def close_sources(sources: Sequence[TileSource]) -> None:
    """Closes them all."""
    for source in sources:
        source.close()


def name_sources(specs: Sequence[SourceSpec], taken: Sequence[str] = ()) -> list[str]:
    """The specs' names, made fit for URLs and files and different from each other.

    Args:
        taken: names that others have already.
    """
    names: list[str] = list(taken)
    for spec in specs:
        names.append(_unique(_plain(spec.name or _default_name(spec.location)), names))
    return names[len(taken) :]


def _default_name(location: str) -> str:
    """The server, the folder that a pattern looks in, or the file without its ending."""
    if "://" in location:
        return urlsplit(location).hostname or "web"
    path = Path(location)
    if is_pattern(location):
        fixed = [part for part in path.parts if not re.search(r"[*?\[]", part)]
        return fixed[-1] if fixed else "mosaic"
    if not path.is_dir():
        return path.stem
    return f"{path.absolute().parent.name}-{path.name}" if path.name in _USUAL else path.name


def _plain(stem: str) -> str:
    """Only what is safe in a URL and a file name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.") or "source"


def _unique(name: str, taken: Sequence[str]) -> str:
    if name not in taken:
        return name
    number = 2
    while f"{name}-{number}" in taken:
        number += 1
    return f"{name}-{number}"
