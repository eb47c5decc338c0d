"""The gallery's tiles, row i beside vector i, held in memory as columns."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from crossfix.errors import GalleryCorrupt

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


@dataclass(frozen=True)
class TileTable:
    """Columns of `tiles.parquet`; numbers are (N,) float64, degrees and metres.

    `lon`, `lat` are the tile's centre; `resolution_m` the ground size of a source pixel;
    `pixels_hash` tells whether a tile's imagery has changed.
    """

    ids: list[str]
    lon: Float64
    lat: Float64
    west: Float64
    south: Float64
    east: Float64
    north: Float64
    size_m: Float64
    resolution_m: Float64
    source: list[str]
    date: list[str]
    attribution: list[str]
    licence: list[str]
    pixels_hash: list[str]

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def read(cls, path: Path) -> "TileTable":
        """Reads `tiles.parquet`.

        Raises:
            GalleryCorrupt: not Parquet, or other columns than `SCHEMA`.
        """
        try:
            table = pq.read_table(path)
        except (pa.ArrowException, OSError) as problem:
            raise GalleryCorrupt(
                f"{path} cannot be read as Parquet", hint="build the gallery again"
            ) from problem
        if not table.schema.equals(SCHEMA):
            raise GalleryCorrupt(
                f"{path} does not have the columns of a tile table",
                hint="it was written by another version; build again",
            )
        column = {name: table.column(name) for name in SCHEMA.names}
        numbers = {
            name: column[name].to_numpy().astype(np.float64)
            for name in ("lon", "lat", "west", "south", "east", "north", "size_m", "resolution_m")
        }
        return cls(
            ids=column["tile_id"].to_pylist(),
            source=column["source"].to_pylist(),
            date=column["date"].to_pylist(),
            attribution=column["attribution"].to_pylist(),
            licence=column["licence"].to_pylist(),
            pixels_hash=column["pixels_hash"].to_pylist(),
            **numbers,
        )

    def to_arrow(self) -> pa.Table:
        """The table as written to disk."""
        return pa.table(
            {
                "tile_id": self.ids,
                "lon": self.lon,
                "lat": self.lat,
                "west": self.west,
                "south": self.south,
                "east": self.east,
                "north": self.north,
                "size_m": self.size_m,
                "resolution_m": self.resolution_m,
                "source": self.source,
                "date": self.date,
                "attribution": self.attribution,
                "licence": self.licence,
                "pixels_hash": self.pixels_hash,
            },
            schema=SCHEMA,
        )
