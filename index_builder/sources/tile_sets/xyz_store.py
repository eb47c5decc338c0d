"""Tiles as files: `z/x/y.png` or `z_x_y.png`, rows counted from the north (XYZ) or south (TMS)."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from crossfix.errors import SourceError
from crossfix.geodesy import TileId
from index_builder.sources.confinement import ANYWHERE, Confinement
from index_builder.sources.grid.area import Area
from index_builder.sources.tile_sets.tile_store import BATCH_TILES, TileNumbers, TileSetFacts

EXTENSIONS = ("png", "jpg", "jpeg", "webp")
_FLAT_NAME = re.compile(rf"(\d+)_(\d+)_(\d+)\.({'|'.join(EXTENSIONS)})")
_NESTED_NAME = re.compile(rf"(\d+)\.({'|'.join(EXTENSIONS)})")


class XyzStore:
    """A folder of tile files as a `TileStore`; the naming is told by what lies in it.

    Raises:
        SourceError: no folder, or it holds no tiles.
    """

    is_listed = True

    def __init__(
        self, folder: Path, *, from_south: bool = False, within: Confinement = ANYWHERE
    ) -> None:
        self.place = f"tile folder {folder}"
        self.kind = "tms" if from_south else "xyz"
        self._folder = folder
        self._from_south = from_south
        self._within = within
        naming = find_naming(folder)
        if naming is None:
            raise SourceError(
                f"{self.place} holds no tiles",
                hint="files are named z/x/y.png or z_x_y.png (or .jpg, .webp)",
            )
        self._is_flat = naming == "flat"
        self.zooms = self._find_zooms()
        self.facts = _read_facts(within.check(folder / "metadata.json"))

    def _find_zooms(self) -> tuple[int, ...]:
        if self._is_flat:
            return tuple(sorted({zoom for zoom, _, _ in self._scan_flat()}))
        folders = _numbered_folders(self._folder)
        return tuple(zoom for zoom in folders if any(True for _ in self._scan_nested(zoom)))

    def _scan_flat(self) -> Iterator[tuple[int, int, int]]:
        with os.scandir(self._folder) as entries:
            for entry in entries:
                named = _FLAT_NAME.fullmatch(entry.name)
                if named:
                    yield int(named[1]), int(named[2]), int(named[3])

    def _scan_nested(self, zoom: int) -> Iterator[TileNumbers]:
        """One array per column that holds tiles, west to east."""
        level = self._folder / str(zoom)
        for x in _numbered_folders(level):
            with os.scandir(level / str(x)) as entries:
                found = (_NESTED_NAME.fullmatch(entry.name) for entry in entries)
                rows = sorted({int(named[1]) for named in found if named})
            if rows:
                yield np.array([(x, y) for y in rows], np.int64)

    def tiles(self, zoom: int, area: Area | None = None) -> Iterator[TileNumbers]:  # noqa: ARG002
        """Column by column from the west; errors as in `TileStore`."""
        batches = self._sorted_flat(zoom) if self._is_flat else self._scan_nested(zoom)
        for batch in batches:
            inside = batch[(batch >= 0).all(axis=1) & (batch < 2**zoom).all(axis=1)]
            if self._from_south:
                inside[:, 1] = 2**zoom - 1 - inside[:, 1]
            yield inside

    def _sorted_flat(self, zoom: int) -> Iterator[TileNumbers]:
        # Eight bytes a tile: a folder of ten million files needs 80 MB.
        packed = np.fromiter(
            ((x << 32) | y for z, x, y in self._scan_flat() if z == zoom), np.int64
        )
        packed = np.unique(packed)
        for start in range(0, len(packed), BATCH_TILES):
            batch = packed[start : start + BATCH_TILES]
            yield np.stack([batch >> 32, batch & 0xFFFFFFFF], axis=1)

    def get(self, tile: TileId) -> bytes | None:
        """The file's bytes; errors as in `TileStore`."""
        y = 2**tile.zoom - 1 - tile.y if self._from_south else tile.y
        parts = (str(tile.zoom), str(tile.x), str(y))
        stem = "_".join(parts) if self._is_flat else "/".join(parts)
        return read_tile_file(self._folder, stem, within=self._within)

    def fingerprint(self) -> str:
        """Names, sizes and times of all files; their order on the disk does not matter."""
        total = 0
        for path, state in _walk(self._folder, self._within):
            line = f"{path}\0{state.st_size}\0{state.st_mtime_ns}"
            total += int.from_bytes(hashlib.sha256(line.encode()).digest()[:16], "big")
        return f"{total % 2**128:032x}"

    def close(self) -> None:
        """Nothing is held open."""


def find_naming(folder: Path) -> str | None:
    """`nested` for z/x/y, `flat` for z_x_y, None where neither is found.

    Raises:
        SourceError: not a readable folder.
    """
    try:
        for zoom in _numbered_folders(folder):
            for x in _numbered_folders(folder / str(zoom)):
                names = os.listdir(folder / str(zoom) / str(x))
                if any(_NESTED_NAME.fullmatch(name) for name in names):
                    return "nested"
        with os.scandir(folder) as entries:
            return "flat" if any(_FLAT_NAME.fullmatch(one.name) for one in entries) else None
    except OSError as problem:
        raise SourceError(
            f"tile folder {folder} cannot be read: {problem.strerror}", hint="check the path"
        ) from problem


def read_tile_file(folder: Path, stem: str, *, within: Confinement = ANYWHERE) -> bytes | None:
    """The tile's bytes under whichever ending it has.

    Raises:
        SourceError: the file is there and cannot be read, or lies outside.
    """
    for extension in EXTENSIONS:
        path = within.check(folder / f"{stem}.{extension}")
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as problem:
            raise SourceError(
                f"tile {path} cannot be read: {problem.strerror}", hint="check the file"
            ) from problem
    return None


def _numbered_folders(folder: Path) -> list[int]:
    """Subfolders named by a plain number, ascending."""
    if not folder.is_dir():
        raise NotADirectoryError(20, "not a folder", str(folder))
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_dir()]
    return sorted(int(name) for name in names if name.isdecimal() and str(int(name)) == name)


def _walk(folder: Path, within: Confinement) -> Iterator[tuple[str, os.stat_result]]:
    pending = [folder]
    while pending:
        with os.scandir(within.check(pending.pop())) as entries:
            for entry in entries:
                if entry.is_dir():
                    pending.append(Path(entry.path))
                elif entry.name.rpartition(".")[2] in EXTENSIONS:
                    yield os.path.relpath(entry.path, folder), entry.stat()


def _read_facts(path: Path) -> TileSetFacts:
    """From a `metadata.json` beside the tiles, as tools that unpack archives leave it."""
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return TileSetFacts()
    return TileSetFacts.of(metadata) if isinstance(metadata, dict) else TileSetFacts()
