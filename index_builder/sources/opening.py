"""Which kind of source a path is, and under which name its tiles go."""

import re
from collections.abc import Sequence
from pathlib import Path

from crossfix.errors import SourceError
from index_builder.sources.raster_source import RasterSource
from index_builder.sources.source import SourceOptions, TileSource
from index_builder.sources.table_source import TableSource


def open_sources(paths: Sequence[Path], options: SourceOptions) -> list[TileSource]:
    """Opens every path: `.csv` is a table of tiles, anything else a raster.

    Raises:
        SourceError: a path is missing, a directory, or of no readable kind.
    """
    names: list[str] = []
    for path in paths:
        names.append(_unique(_plain(path.stem), names))
    opened: list[TileSource] = []
    try:
        for path, name in zip(paths, names, strict=True):
            opened.append(open_source(path, options, name=name))
    except SourceError:
        close_sources(opened)
        raise
    return opened


def open_source(path: Path, options: SourceOptions, *, name: str) -> TileSource:
    """Opens one path; same errors as :func:`open_sources`."""
    if path.is_dir():
        raise SourceError(
            f"source {path} is a directory", hint="give a raster file or a CSV table of tiles"
        )
    if not path.is_file():
        raise SourceError(f"source {path} does not exist", hint="check the path")
    if path.suffix.lower() == ".csv":
        return TableSource(path, options, name=name)
    return RasterSource(path, options, name=name)


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
