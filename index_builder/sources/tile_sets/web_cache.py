"""Fetched tiles on the disk: an ordinary `z/x/y.png` folder, which can be a source of its own."""

import hashlib
import json
import os
import secrets
import tempfile
from pathlib import Path

from crossfix.errors import SourceError
from crossfix.geodesy import TileId
from crossfix.manifest import write_json_atomic
from index_builder.sources.tile_sets.tile_image import extension_of
from index_builder.sources.tile_sets.xyz_store import read_tile_file

_LABEL = "tile-cache.json"
_ABSENT = "absent"  # ending of an empty file: the server said that it has no such tile


class WebCache:
    """Tiles of one server. Safe from several threads and processes.

    Nothing in it goes out of date by itself: delete the folder to fetch everything again.

    Raises:
        SourceError: the folder holds another server's tiles, or cannot be written.
    """

    def __init__(self, folder: Path, address: str) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.identity = self._read_label(hashlib.sha256(address.encode()).hexdigest())
        except OSError as problem:
            raise self._unwritable(problem) from problem

    def _read_label(self, server: str) -> str:
        """Which folder this is: another one after a deletion. The address may hold a key."""
        path = self._folder / _LABEL
        if not path.exists():
            if any(not one.name.startswith(".") for one in self._folder.iterdir()):
                raise SourceError(
                    f"folder {self._folder} is no tile cache and not empty",
                    hint="give an empty or a new folder as cache",
                )
            write_json_atomic(path, {"server": server, "identity": secrets.token_hex(8)})
        try:
            label = json.loads(path.read_text(encoding="utf-8"))
            known, identity = label["server"], str(label["identity"])
        except (ValueError, KeyError, TypeError) as problem:
            raise SourceError(
                f"{path} is damaged", hint="delete the folder to fetch its tiles again"
            ) from problem
        if known != server:
            raise SourceError(
                f"folder {self._folder} holds tiles of another address",
                hint="give each address a cache of its own",
            )
        return identity

    def has_absent(self, tile: TileId) -> bool:
        """Whether the server said before that it has no such tile."""
        return (self._folder / f"{_stem(tile)}.{_ABSENT}").exists()

    def get(self, tile: TileId) -> bytes | None:
        """The kept bytes; errors as in `read_tile_file`."""
        return read_tile_file(self._folder, _stem(tile))

    def put(self, tile: TileId, data: bytes | None) -> None:
        """Keeps a tile, or that there is none; readers never see half of it.

        Raises:
            SourceError: the disk is full or not writable.
        """
        ending = _ABSENT if data is None else extension_of(data)
        path = self._folder / f"{_stem(tile)}.{ending}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=".new-", dir=path.parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data or b"")
                os.replace(temporary, path)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
        except OSError as problem:
            raise self._unwritable(problem) from problem

    def _unwritable(self, problem: OSError) -> SourceError:
        return SourceError(
            f"tile cache {self._folder} cannot be written: {problem.strerror}",
            hint="make room, or give another folder as cache",
        )


def default_cache_folder(name: str, address: str) -> Path:
    """In the user's cache directory, one for every address."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    digest = hashlib.sha256(address.encode()).hexdigest()[:8]
    return Path(root) / "crossfix" / f"{name}-{digest}-tiles"


def _stem(tile: TileId) -> str:
    return f"{tile.zoom}/{tile.x}/{tile.y}"
