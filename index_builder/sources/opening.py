"""Which kind of source a path is, and under which name its tiles go."""

import re
from collections.abc import Sequence
from pathlib import Path

from crossfix.errors import SourceError
from index_builder.sources.raster_source import RasterSource
from index_builder.sources.source import TileSource
from index_builder.sources.spec import SourceSpec
from index_builder.sources.table_source import TableSource


def open_sources(specs: Sequence[SourceSpec], *, tile_px: int) -> list[TileSource]:
    """Opens every source.

    Args:
        tile_px: the largest side in pixels anyone needs of a tile.

    Raises:
        SourceError: a path is missing, a directory, or of no readable kind.
    """
    names: list[str] = []
    for spec in specs:
        names.append(_unique(_plain(spec.name or Path(spec.location).stem), names))
    opened: list[TileSource] = []
    try:
        for spec, name in zip(specs, names, strict=True):
            opened.append(open_source(spec, name=name, tile_px=tile_px))
    except SourceError:
        close_sources(opened)
        raise
    return opened


def open_source(spec: SourceSpec, *, name: str, tile_px: int) -> TileSource:
    """Opens one source: `.csv` is a table, anything else a raster; errors as `open_sources`."""
    path = Path(spec.location)
    if path.is_dir():
        raise SourceError(
            f"source {path} is a directory", hint="give a raster file or a CSV table of tiles"
        )
    if not path.is_file():
        raise SourceError(f"source {path} does not exist", hint="check the path")
    if path.suffix.lower() == ".csv":
        return TableSource(spec, name=name, tile_px=tile_px)
    return RasterSource(spec, name=name, tile_px=tile_px)


def close_sources(sources: Sequence[TileSource]) -> None:
    """Closes them all."""
    for source in sources:
        source.close()


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
