"""MBTiles: map tiles in an SQLite file (specification 1.3; rows counted from the south)."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from crossfix.errors import SourceError
from crossfix.geodesy import TileId
from index_builder.sources.confinement import ANYWHERE, Confinement
from index_builder.sources.grid.area import Area
from index_builder.sources.tile_sets.tile_store import (
    BATCH_TILES,
    TileNumbers,
    TileSetFacts,
    refuse_vector_tiles,
)


class MbtilesStore:
    """An MBTiles file as a `TileStore`; it is never written to.

    Raises:
        SourceError: not an MBTiles file, without tiles, or of vector tiles.
    """

    is_listed = True
    kind = "mbtiles"

    def __init__(self, path: Path, *, within: Confinement = ANYWHERE) -> None:
        self.place = f"MBTiles file {path}"
        self._path = path
        self._local = threading.local()
        self._handles: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        if not path.is_file():
            raise SourceError(f"{self.place} does not exist", hint="check the path")
        for ending in ("-wal", "-shm", "-journal"):  # SQLite follows links of these, too
            within.check(path.with_name(path.name + ending))
        try:
            with self._reported():
                rows = self._connection().execute("SELECT name, value FROM metadata").fetchall()
                metadata = {str(name): value for name, value in rows}
                self.zooms = self._find_zooms()
            if str(metadata.get("format", "")).lower() in ("pbf", "mvt"):
                raise refuse_vector_tiles(self.place)
            if not self.zooms:
                raise SourceError(f"{self.place} holds no tiles", hint="check how it was made")
        except SourceError:
            self.close()
            raise
        self.facts = TileSetFacts.of(metadata)

    def _connection(self) -> sqlite3.Connection:
        """This thread's own; immutable saves the locks, but would not see a write-ahead log."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            log = self._path.with_name(self._path.name + "-wal")
            mode = "mode=ro" if log.exists() else "mode=ro&immutable=1"
            connection = sqlite3.connect(
                f"{self._path.resolve().as_uri()}?{mode}", uri=True, check_same_thread=False
            )
            self._local.connection = connection
            with self._lock:
                self._handles.append(connection)
        return connection

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as problem:
            raise SourceError(
                f"{self.place} cannot be read: {problem}",
                hint="check it with: sqlite3 FILE 'PRAGMA integrity_check'",
            ) from problem

    def _find_zooms(self) -> tuple[int, ...]:
        """One index look-up per level; DISTINCT would read the whole index."""
        query = "SELECT min(zoom_level) FROM tiles WHERE zoom_level > ?"
        found: list[int] = []
        while (row := self._connection().execute(query, (found[-1] if found else -1,)).fetchone())[
            0
        ] is not None:
            found.append(int(row[0]))
        return tuple(found)

    def tiles(self, zoom: int, area: Area | None = None) -> Iterator[TileNumbers]:  # noqa: ARG002
        """Column by column from the west, south to north, which is the order of its index."""
        query = (
            "SELECT tile_column, tile_row FROM tiles WHERE zoom_level = ? "
            "ORDER BY tile_column, tile_row"
        )
        with self._reported():
            cursor = self._connection().execute(query, (zoom,))
            while rows := cursor.fetchmany(BATCH_TILES):
                batch = np.array(rows, np.int64)
                batch[:, 1] = 2**zoom - 1 - batch[:, 1]
                yield batch[(batch >= 0).all(axis=1) & (batch < 2**zoom).all(axis=1)]

    def get(self, tile: TileId) -> bytes | None:
        """The blob; errors as in `TileStore`."""
        query = (
            "SELECT tile_data FROM tiles WHERE zoom_level = ? AND tile_column = ? AND tile_row = ?"
        )
        row_from_south = 2**tile.zoom - 1 - tile.y
        with self._reported():
            found = self._connection().execute(query, (tile.zoom, tile.x, row_from_south))
            row = found.fetchone()
        return None if row is None or row[0] is None else bytes(row[0])

    def fingerprint(self) -> str:
        """The file's size and time."""
        state = self._path.stat()
        return f"{state.st_size}-{state.st_mtime_ns}"

    def close(self) -> None:
        """Closes every thread's connection."""
        with self._lock:
            for connection in self._handles:
                connection.close()
            self._handles.clear()
