"""Ready-made tiles: a table naming image files and their places."""

import hashlib
import math
import os
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crossfix.gallery_manifest import SourceInfo
from crossfix.geodesy import Bounds
from index_builder.sources.confinement import ANYWHERE, Confinement
from index_builder.sources.grid.area import Area
from index_builder.sources.source import TilePlan, UInt8
from index_builder.sources.spec import SourceSpec
from index_builder.sources.tables.table_columns import read_columns
from index_builder.sources.tables.table_image import read_square
from index_builder.sources.tables.table_places import TilePlaces, place_tiles

_GROUP_ROWS = 16  # images a reader takes at a time
_CHUNK_ROWS = 4096
_STEM_LETTERS = 40
_ODD = re.compile(r"[^A-Za-z0-9._-]+")
_CREDITS = ("date", "attribution", "licence")


def find_images(table: Path, files: Any) -> Path:  # noqa: ANN401 - a pyarrow array
    """The folder files count from: the table's, or the one beside it that has its name."""
    namesake = table.with_suffix("")
    beside = (table.parent / files[0].as_py()).exists()
    return namesake if not beside and namesake.is_dir() else table.parent


class TableSource:
    """A table of tiles as a `TileSource`.

    Files are absolute, or count from the table's folder (see :func:`find_images`), whatever the
    working directory. A tile lies round its `lat`, `lon` with a side of `size_m`, or within its
    `west`, `south`, `east`, `north`; of an image that is not square on the ground the centred
    square is taken. Columns `date`, `attribution` and `licence` go before the source's own.

    Raises:
        SourceError: the table cannot be read, or a row's place or size makes no sense.
    """

    def __init__(
        self,
        spec: SourceSpec,
        *,
        name: str,
        tile_px: int,  # noqa: ARG002
        within: Confinement = ANYWHERE,
    ) -> None:
        self._path = Path(spec.location)
        self._spec = spec
        self._within = within
        self._name = name
        self._table = read_columns(self._path, ("file",))
        self._files = self._table.texts("file")
        self._images = find_images(self._path, self._files)
        self._credits = {
            column: pc.dictionary_encode(self._table.texts(column)) for column in _CREDITS
        }
        self._repeats = _count_repeats(self._files)
        self._places: dict[float | None, TilePlaces] = {}

    @property
    def has_own_sizes(self) -> bool:
        """Its tiles are images of their own."""
        return True

    def describe(self) -> SourceInfo:
        """Name and licence; what differs between rows is left empty. Places are WGS84."""
        return SourceInfo(
            name=self._name,
            attribution=self._only("attribution"),
            licence=self._only("licence"),
            date=self._only("date"),
            crs="EPSG:4326",
            kind="table",
            fingerprint=self.fingerprint(),
        )

    def _only(self, column: str) -> str:
        values = {
            text or getattr(self._spec, column)
            for text in pc.unique(self._credits[column]).to_pylist()
        }
        return str(values.pop()) if len(values) == 1 else ""

    def fingerprint(self) -> str:
        """Content of the table, sizes and times of its images."""
        digest = hashlib.sha256(self._path.read_bytes())
        for row in range(len(self._files)):
            try:
                state = self._file(row).stat()
                digest.update(f"{state.st_size} {state.st_mtime_ns}\n".encode())
            except OSError:
                digest.update(b"missing\n")
        return digest.hexdigest()[:16]

    def plan(
        self,
        tile_size_m: float | None,
        overlap: float,  # noqa: ARG002
        area: Area | None = None,
    ) -> Iterator[TilePlan]:
        """One tile per row, where the table puts it.

        Args:
            tile_size_m: of rows that name neither `size_m` nor bounds.

        Raises:
            SourceError: a row has no usable place or size.
        """
        places = self._places_of(tile_size_m)
        for start in range(0, len(self._table), _CHUNK_ROWS):
            rows = np.arange(start, min(start + _CHUNK_ROWS, len(self._table)))
            if area is not None:
                rows = rows[places.touching(area, rows)]
            yield from self._plan_rows(rows, places)

    def _places_of(self, tile_size_m: float | None) -> TilePlaces:
        if tile_size_m not in self._places:
            self._places[tile_size_m] = place_tiles(self._table, tile_size_m)
        return self._places[tile_size_m]

    def _plan_rows(self, rows: NDArray[np.int64], places: TilePlaces) -> Iterator[TilePlan]:
        files = self._files.take(pa.array(rows)).to_pylist()
        credits = (
            [text or getattr(self._spec, name) for text in column.take(pa.array(rows)).to_pylist()]
            for name, column in self._credits.items()
        )
        numbers = (side[rows].tolist() for side in (places.lon, places.lat, places.size_m))
        columns = zip(rows.tolist(), files, *numbers, places.bounds[rows].tolist(), *credits,
                      strict=True)  # fmt: skip
        for row, file, lon, lat, size_m, bounds, date, attribution, licence in columns:
            yield TilePlan(
                tile_id=self._tile_id(row, file),
                lon=lon,
                lat=lat,
                bounds=Bounds(*bounds),
                size_m=size_m,
                resolution_m=None,
                date=date,
                attribution=attribution,
                licence=licence,
                group=row // _GROUP_ROWS,
                place=row,
            )

    def _tile_id(self, row: int, file: str) -> str:
        """By the file, so that rows put in or taken out leave the others' ids alone."""
        repeat = "" if self._repeats is None else f"\0{self._repeats[row]}"
        digest = hashlib.blake2b(f"{file}{repeat}".encode(), digest_size=5).hexdigest()
        stem = _ODD.sub("-", os.path.splitext(os.path.basename(file))[0])
        return f"{self._name}-{stem[:_STEM_LETTERS].strip('-.') or 'image'}-{digest}"

    def read(self, plan: TilePlan) -> UInt8 | None:
        """The centred square of the image, upright; None where more than half is transparent.

        Raises:
            SourceError: missing or unreadable, naming the file.
        """
        aspect = float(self._aspects[plan.place])
        return read_square(
            self._file(plan.place), ground_aspect=None if math.isnan(aspect) else aspect
        )

    @cached_property
    def _aspects(self) -> NDArray[np.float64]:
        """Shapes of the footprints, which do not depend on the size asked for."""
        return place_tiles(self._table, 1.0).ground_aspect

    def _file(self, row: int) -> Path:
        return self._within.check(self._images / str(self._files[row].as_py()))

    def close(self) -> None:
        """Nothing is held open."""


def _count_repeats(files: Any) -> NDArray[np.int64] | None:  # noqa: ANN401
    """How often each row's file was named before; None where every file is named once."""
    if pc.count_distinct(files).as_py() == len(files):
        return None
    codes = np.asarray(pc.dictionary_encode(files).indices, np.int64)
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    lengths = np.diff([*starts, len(codes)])
    repeats = np.empty(len(codes), np.int64)
    repeats[order] = np.arange(len(codes)) - np.repeat(starts, lengths)
    return repeats
