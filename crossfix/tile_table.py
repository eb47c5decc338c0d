"""The gallery's tiles, row i beside vector i, held in memory as columns."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from crossfix.errors import GalleryCorrupt
from crossfix.tile_texts import Column, Texts

Float64 = NDArray[np.float64]

SCHEMA = pa.schema(
    [
        ("tile_id", pa.string()),
        ("lon", pa.float64()),
        ("lat", pa.float64()),
        ("west", pa.float64()),
        ("south", pa.float64()),
        ("east", pa.float64()),
        ("north", pa.float64()),
        ("size_m", pa.float64()),
        ("resolution_m", pa.float64()),
        ("source", pa.string()),
        ("date", pa.string()),
        ("attribution", pa.string()),
        ("licence", pa.string()),
        ("pixels_hash", pa.string()),
    ]
)
PICTURE_SCHEMA = pa.schema([("tile_id", pa.string()), ("jpeg", pa.binary())])

_NUMBERS = ("lon", "lat", "west", "south", "east", "north", "size_m", "resolution_m")
_TEXTS = ("ids", "source", "date", "attribution", "licence", "pixels_hash")
_REPEATED = ("source", "date", "attribution", "licence")  # few values for all tiles
_SINCE_FORMAT_2 = ("attribution", "licence", "pixels_hash")


@dataclass(frozen=True)
class TileTable:
    """Columns of `tiles.parquet`; numbers are (N,) float64, degrees and metres.

    `lon`, `lat` are the tile's centre; `resolution_m` the ground size of a source pixel;
    `pixels_hash` tells whether a tile's imagery has changed. Text columns may be given as lists or
    Arrow columns; they become `Texts`.
    """

    ids: Sequence[str]
    lon: Float64
    lat: Float64
    west: Float64
    south: Float64
    east: Float64
    north: Float64
    size_m: Float64
    resolution_m: Float64
    source: Sequence[str]
    date: Sequence[str]
    attribution: Sequence[str]
    licence: Sequence[str]
    pixels_hash: Sequence[str]

    def __post_init__(self) -> None:
        for name in _TEXTS:
            object.__setattr__(self, name, Texts.of(getattr(self, name)))
        lengths = {len(getattr(self, one.name)) for one in fields(self)}
        if len(lengths) != 1:
            raise ValueError(f"columns of a tile table have {sorted(lengths)} rows")

    def __len__(self) -> int:
        return len(self.lon)

    @classmethod
    def read(cls, path: Path) -> "TileTable":
        """Reads `tiles.parquet`; `pixels_hash`, which only updates need, when it is first asked.

        Columns that galleries of format 1 lack are empty texts.

        Raises:
            GalleryCorrupt: not Parquet, or other columns than `SCHEMA`.
        """
        try:
            schema = pq.read_schema(path, memory_map=True)
            _check_columns(path, schema)
            repeated = [name for name in _REPEATED if name in schema.names]
            file = _Columns(pq.ParquetFile(path, memory_map=True, read_dictionary=repeated))
            numbers: dict[str, Any] = {name: file.read(name).to_numpy() for name in _NUMBERS}
            texts: dict[str, Any] = {name: Texts(file.loader(name), file.rows) for name in _TEXTS}
            for name in ("ids", *_REPEATED):  # answers are made in the service's event loop
                texts[name].column()
        except (pa.ArrowException, OSError) as problem:
            raise GalleryCorrupt(
                f"{path} cannot be read as Parquet", hint="build the gallery again"
            ) from problem
        pa.default_memory_pool().release_unused()
        return cls(**texts, **numbers)

    def to_arrow(self) -> pa.Table:
        """The table as written to disk."""
        columns = {"tile_id": self.ids, **{name: getattr(self, name) for name in _written()}}
        return pa.table(
            {name: pa.array(values, SCHEMA.field(name).type) for name, values in columns.items()},
            schema=SCHEMA,
        )


def _written() -> list[str]:
    return [name for name in SCHEMA.names if name != "tile_id"]


def _check_columns(path: Path, schema: pa.Schema) -> None:
    types = {field.name: field.type for field in schema}
    wanted = {field.name: field.type for field in SCHEMA}
    for name in _SINCE_FORMAT_2:
        types.setdefault(name, wanted[name])
    if types != wanted:
        raise GalleryCorrupt(
            f"{path} does not have the columns of a tile table",
            hint="it was written by another version; build again",
        )


class _Columns:
    """Columns of one open Parquet file, read one at a time: its reader is not thread-safe."""

    def __init__(self, file: pq.ParquetFile) -> None:
        self._file = file
        self._lock = threading.Lock()
        self.rows: int = file.metadata.num_rows

    def read(self, name: str) -> pa.ChunkedArray:
        with self._lock:
            return self._file.read(columns=[name]).column(0)

    def loader(self, name: str) -> Callable[[], Column]:
        column = "tile_id" if name == "ids" else name
        if column in self._file.schema_arrow.names:
            return lambda: self.read(column)
        return lambda: pa.DictionaryArray.from_arrays(pa.array(np.zeros(self.rows, np.int32)), [""])
