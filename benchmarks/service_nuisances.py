"""Clients as they come: bad files, slow ones, stalled ones, ones that leave, scrapes, new versions.

Each is a coroutine that goes on until it is cancelled; `Tally` counts what came back.
"""

import asyncio
import contextlib
import json
import shutil
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.service_client import request
from crossfix.gallery import current_version
from crossfix.gallery_manifest import CURRENT_FILE, MANIFEST_FILE, VERSIONS_DIRECTORY
from crossfix.manifest import write_json_atomic

SLOW_BYTES, SLOW_PAUSE_S = 8192, 0.4  # 20 kB/s
STALL_S = 20.0


@dataclass
class Tally:
    """What the nuisances were answered, by `<kind> <status>`."""

    answers: Counter[str] = field(default_factory=Counter)

    def count(self, *kinds: str) -> int:
        """Answers of these kinds."""
        return sum(
            number for name, number in self.answers.items() if name.split(" ", 1)[0] in kinds
        )


class Nuisances:
    """Everything but the steady clients.

    Args:
        path: of /localize with its parameters.
        gallery: two versions of it take turns.
    """

    def __init__(self, port: int, path: str, photo: bytes, gallery: Path) -> None:
        self._port, self._path, self._photo, self._gallery = port, path, photo, gallery
        self.tally = Tally()
        self.swaps = 0

    def all(self) -> list[Coroutine[Any, Any, None]]:
        """One of each, and two of the slow kinds."""
        return [
            self._bad_files(),
            self._slow(),
            self._slow(),
            self._stalled(),
            self._stalled(),
            self._leaving(),
            self._scrapes(),
            self._swaps(),
        ]

    async def _exchange(self, kind: str, pieces: list[bytes], pause_s: float) -> None:
        """Sends the pieces with pauses; counts the status, or `none`."""
        status = "none"
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(pause_s)
                if kind != "left":
                    line = await asyncio.wait_for(reader.readline(), STALL_S)
                    status = line.split(b" ")[1].decode() if line else "none"
                    await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), STALL_S)
            finally:
                writer.close()
        self.tally.answers[f"{kind} {status}"] += 1

    async def _bad_files(self) -> None:
        photo = self._photo
        bad = [photo[: len(photo) // 2], b"GIF89a" + photo, b"", photo[:2000] + bytes(1000)]
        while True:
            for body in bad:
                await self._exchange("bad", [request(self._path, body)], 0.0)
                await asyncio.sleep(0.5)

    async def _slow(self) -> None:
        message = request(self._path, self._photo)
        pieces = [
            message[start : start + SLOW_BYTES] for start in range(0, len(message), SLOW_BYTES)
        ]
        while True:
            await self._exchange("slow", pieces, SLOW_PAUSE_S)

    async def _stalled(self) -> None:
        message = request(self._path, self._photo)
        while True:
            await self._exchange("stalled", [message[: len(message) // 2]], STALL_S)

    async def _leaving(self) -> None:
        while True:
            await self._exchange("left", [request(self._path, self._photo)], 0.005)
            await asyncio.sleep(1.0)

    async def _scrapes(self) -> None:
        scrape = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        while True:
            await self._exchange("scrape", [scrape], 0.0)
            await asyncio.sleep(5.0)

    async def _swaps(self) -> None:
        names = sorted(path.name for path in (self._gallery / VERSIONS_DIRECTORY).iterdir())
        while True:
            for name in names:
                await asyncio.sleep(3.0)
                write_json_atomic(self._gallery / CURRENT_FILE, {"version": name})
                self.swaps += 1


def copy_with_two_versions(gallery: Path, target: Path) -> Path:
    """The live version of a gallery, twice under two names, so that there is something to swap."""
    version = current_version(gallery)
    for name in (version, f"{version}-again"):
        folder = target / VERSIONS_DIRECTORY / name
        shutil.copytree(gallery / VERSIONS_DIRECTORY / version, folder)
        manifest = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
        write_json_atomic(folder / MANIFEST_FILE, {**manifest, "version": name})
    write_json_atomic(target / CURRENT_FILE, {"version": version})
    return target
