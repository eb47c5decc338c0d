"""PMTiles: map tiles in one memory-mapped file (specification 3, through the package `pmtiles`)."""

import gzip
import json
import mmap
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pmtiles.tile import (
    Compression,
    MagicNumberNotFound,
    SpecVersionUnsupported,
    TileType,
    deserialize_directory,
    deserialize_header,
    find_tile,
    zxy_to_tileid,
)

from crossfix.errors import SourceError
from crossfix.geodesy import TileId
from index_builder.sources.grid.area import Area
from index_builder.sources.tile_sets.tile_store import (
    BATCH_TILES,
    TileNumbers,
    TileSetFacts,
    refuse_vector_tiles,
)

_HEADER_BYTES = 127
_MAX_DEPTH = 4  # of directories, by the specification
_DIRECTORIES = 64  # kept decoded
_DAMAGE = (
    MagicNumberNotFound,
    SpecVersionUnsupported,
    OSError,
    EOFError,
    ValueError,
    IndexError,
    KeyError,
    zlib.error,
)


class PmtilesStore:
    """A PMTiles file as a `TileStore`.

    Raises:
        SourceError: not a PMTiles file of version 3, compressed unusually, or of vector tiles.
    """

    is_listed = True
    kind = "pmtiles"

    def __init__(self, path: Path) -> None:
        self.place = f"PMTiles file {path}"
        self._path = path
        if not path.is_file():
            raise SourceError(f"{self.place} does not exist", hint="check the path")
        with self._reported(), path.open("rb") as handle:
            self._bytes = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
        # A cache of the object's own, so that it dies with it.
        self._directory = lru_cache(maxsize=_DIRECTORIES)(self._read_directory)
        try:
            with self._reported():
                header = deserialize_header(self._slice(0, _HEADER_BYTES))
                self._header: dict[str, Any] = dict(header)
                self._check()
                self.facts = TileSetFacts.of(self._read_metadata())
                levels = range(self._header["min_zoom"], self._header["max_zoom"] + 1)
                self.zooms = tuple(z for z in levels if any(True for _ in self._runs(z)))
            if not self.zooms:
                raise SourceError(f"{self.place} holds no tiles", hint="check how it was made")
        except SourceError:
            self.close()
            raise

    def _check(self) -> None:
        header = self._header
        end = header["tile_data_offset"] + header["tile_data_length"]
        if end > len(self._bytes):
            raise EOFError(f"it has {len(self._bytes)} of {end} bytes")
        if header["tile_type"] in (TileType.MVT, TileType.MLT):
            raise refuse_vector_tiles(self.place)
        unusual = header["tile_compression"] not in (
            Compression.UNKNOWN,
            Compression.NONE,
            Compression.GZIP,
        )
        if unusual or header["internal_compression"] != Compression.GZIP:
            raise SourceError(
                f"{self.place} is compressed in a way that is not supported "
                f"({header['internal_compression'].name}, {header['tile_compression'].name})",
                hint="write it with gzip for directories and nothing for tiles, as tools do",
            )

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except _DAMAGE as problem:
            raise SourceError(
                f"{self.place} is not a whole PMTiles file of version 3 "
                f"({type(problem).__name__}: {problem})",
                hint="check it with: pmtiles verify FILE",
            ) from problem

    def _slice(self, offset: int, length: int) -> bytes:
        found = self._bytes[offset : offset + length]
        if len(found) != length:
            raise EOFError(f"the file ends before byte {offset + length}")
        return found

    def _read_metadata(self) -> dict[str, Any]:
        packed = self._slice(self._header["metadata_offset"], self._header["metadata_length"])
        metadata = json.loads(gzip.decompress(packed)) if packed else {}
        return metadata if isinstance(metadata, dict) else {}

    def _read_directory(self, offset: int, length: int) -> list[Any]:
        return list(deserialize_directory(self._slice(offset, length)))

    def _runs(self, zoom: int) -> Iterator[tuple[int, int]]:
        """(first, count) of tile numbers along the zoom level's Hilbert curve."""
        first_id = (4**zoom - 1) // 3
        root = (self._header["root_offset"], self._header["root_length"])
        for start, count in self._walk(root, first_id, first_id + 4**zoom, _MAX_DEPTH):
            low, high = max(start, first_id), min(start + count, first_id + 4**zoom)
            if low < high:
                yield low - first_id, high - low

    def _walk(
        self, where: tuple[int, int], first_id: int, end_id: int, depth: int
    ) -> Iterator[tuple[int, int]]:
        if depth == 0:
            raise ValueError("directories are nested too deeply")
        entries = self._directory(*where)
        for index, entry in enumerate(entries):
            following = entries[index + 1].tile_id if index + 1 < len(entries) else end_id
            if entry.tile_id >= end_id:
                return
            if entry.run_length:
                yield entry.tile_id, entry.run_length
            elif following > first_id:
                leaf = (self._header["leaf_directory_offset"] + entry.offset, entry.length)
                yield from self._walk(leaf, first_id, end_id, depth - 1)

    def tiles(self, zoom: int, area: Area | None = None) -> Iterator[TileNumbers]:  # noqa: ARG002
        """In the file's own order, along the Hilbert curve; errors as in `TileStore`."""
        waiting: list[tuple[int, int]] = []
        held = 0
        with self._reported():
            for first, count in self._runs(zoom):
                for start in range(first, first + count, BATCH_TILES):
                    waiting.append((start, min(BATCH_TILES, first + count - start)))
                    held += waiting[-1][1]
                    if held >= BATCH_TILES:
                        yield _from_hilbert(waiting, zoom)
                        waiting, held = [], 0
            if waiting:
                yield _from_hilbert(waiting, zoom)

    def get(self, tile: TileId) -> bytes | None:
        """The tile's bytes; errors as in `TileStore`."""
        tile_id = zxy_to_tileid(tile.zoom, tile.x, tile.y)
        offset, length = self._header["root_offset"], self._header["root_length"]
        with self._reported():
            for _ in range(_MAX_DEPTH):
                entry = find_tile(self._directory(offset, length), tile_id)
                if entry is None:
                    return None
                if entry.run_length:
                    return self._read_tile(entry.offset, entry.length)
                offset = self._header["leaf_directory_offset"] + entry.offset
                length = entry.length
        return None

    def _read_tile(self, offset: int, length: int) -> bytes:
        data = self._slice(self._header["tile_data_offset"] + offset, length)
        packed = self._header["tile_compression"] == Compression.GZIP
        return gzip.decompress(data) if packed else data

    def fingerprint(self) -> str:
        """The file's size and time."""
        state = self._path.stat()
        return f"{state.st_size}-{state.st_mtime_ns}"

    def close(self) -> None:
        """Unmaps the file."""
        self._directory.cache_clear()
        self._bytes.close()


def _from_hilbert(runs: list[tuple[int, int]], zoom: int) -> TileNumbers:
    """Positions on the Hilbert curve to x, y; many at once what `tileid_to_zxy` does for one."""
    position = np.concatenate([np.arange(first, first + count) for first, count in runs])
    position = position.astype(np.int64)
    x, y = np.zeros_like(position), np.zeros_like(position)
    for level in range(zoom):
        side = np.int64(1) << level
        right, up = (position >> 1) & 1, (position ^ (position >> 1)) & 1
        mirrored = (up == 0) & (right == 1)
        x, y = np.where(mirrored, side - 1 - x, x), np.where(mirrored, side - 1 - y, y)
        x, y = np.where(up == 0, y, x), np.where(up == 0, x, y)
        x, y = x + side * right, y + side * up
        position >>= 2
    return np.stack([x, y], axis=1)
