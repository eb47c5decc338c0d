"""Photos kept with their answers, where an operator has asked for it; never in an answer's way."""

import contextlib
import os
import queue
import re
import stat
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from crossfix.errors import UnsupportedImageFormat
from crossfix.images_formats import sniff
from service.errors import SettingsUnsafe
from service.logs.log import EVENTS
from service.observing.metrics import Metrics

MAX_WAITING = 64
MAX_WAITING_BYTES = 200_000_000
COMPLAIN_EVERY_S = 60.0
CLOSE_S = 10.0
_ENDINGS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "TIFF": "tif", "HEIF": "heic"}
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9-]")


def refuse_open_folder(folder: Path) -> None:
    """One that others may look into would tell them who was where when; it is not ours to close.

    Raises:
        SettingsUnsafe: the folder exists, and not only its owner may enter or list it.
    """
    with contextlib.suppress(OSError):  # what is missing is made; the rest is told when writing
        if stat.S_IMODE(folder.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
            raise SettingsUnsafe(
                f"keep_images: others on this machine may look into {folder}",
                hint=f"chmod 700 {folder}, or name a folder in it that does not exist yet",
            )


@dataclass(frozen=True)
class _Kept:
    data: bytes
    answer_json: str
    stem: str


class KeptImages:
    """Writes photos and answers into a folder, in a thread of its own.

    `<UTC time>-<number>-<request id>.jpg` and the same with `.json`; readable by the service's
    user only. Photos that come faster than they can be written, or that a full disk refuses, are
    counted and left out. Beyond `max_bytes` the oldest go.

    Args:
        folder: made when missing; files of other names in it are left alone.

    Raises:
        SettingsUnsafe: others may look into the folder.
    """

    def __init__(self, folder: Path, *, max_bytes: int, metrics: Metrics) -> None:
        refuse_open_folder(folder)
        self._folder, self._max_bytes, self._metrics = folder, max_bytes, metrics
        self._queue: queue.Queue[_Kept | None] = queue.Queue(MAX_WAITING)
        self._lock = threading.Lock()
        self._waiting_bytes = 0
        self._count = 0
        self._complained_at = -COMPLAIN_EVERY_S
        self._sizes: dict[str, int] | None = None  # stem -> bytes, oldest first
        self._thread = threading.Thread(target=self._run, name="keep_images", daemon=True)
        self._thread.start()

    def keep(self, data: bytes, answer_json: str, request_id: str) -> None:
        """Queues a photo; never raises, never waits."""
        with self._lock:
            fits = self._waiting_bytes + len(data) <= MAX_WAITING_BYTES
            self._count += 1
            stem = _stem(self._count, request_id)
        if fits:
            with contextlib.suppress(queue.Full):
                self._queue.put_nowait(_Kept(data, answer_json, stem))
                self._grow(len(data))
                return
        self._metrics.images_not_kept.inc()

    def close(self) -> None:
        """Writes what waits, then ends the thread; a disk that hangs is left after `CLOSE_S`."""
        until = time.monotonic() + CLOSE_S
        with contextlib.suppress(queue.Full):  # the thread is a daemon: it ends with the process
            self._queue.put(None, timeout=CLOSE_S)
        self._thread.join(timeout=max(0.0, until - time.monotonic()))

    def _grow(self, by: int) -> None:
        with self._lock:
            self._waiting_bytes += by

    def _run(self) -> None:
        while (kept := self._queue.get()) is not None:
            try:
                self._write(kept)
                self._metrics.images_kept.inc()
            except Exception as problem:  # a full disk, a lost folder: the thread must live on
                self._metrics.images_not_kept.inc()
                self._complain(problem)
            self._grow(-len(kept.data))

    def _complain(self, problem: Exception) -> None:
        if time.monotonic() - self._complained_at < COMPLAIN_EVERY_S:
            return
        self._complained_at = time.monotonic()
        reason = problem.strerror if isinstance(problem, OSError) else type(problem).__name__
        EVENTS.error("image_not_kept", extra={"fields": {"reason": reason}})

    def _write(self, kept: _Kept) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        sizes = self._known_sizes()
        answer = kept.answer_json.encode()
        self._make_room(sizes, len(kept.data) + len(answer))
        paths = [self._folder / f"{kept.stem}.{end}" for end in (_ending(kept.data), "json")]
        try:
            for path, data in zip(paths, (kept.data, answer), strict=True):
                _write_private(path, data)
        except OSError:
            for path in paths:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            raise
        sizes[kept.stem] = len(kept.data) + len(answer)

    def _known_sizes(self) -> dict[str, int]:
        """What the folder holds of earlier runs is read once."""
        if self._sizes is None:
            self._sizes = {}
            endings = {*_ENDINGS.values(), "bin", "json"}
            for path in sorted(self._folder.iterdir()):
                if _OURS.fullmatch(path.stem) and path.suffix[1:] in endings:
                    size = path.stat().st_size
                    self._sizes[path.stem] = self._sizes.get(path.stem, 0) + size
        return self._sizes

    def _make_room(self, sizes: dict[str, int], wanted: int) -> None:
        held = sum(sizes.values())
        while sizes and held + wanted > self._max_bytes:
            oldest = next(iter(sizes))
            for path in self._folder.glob(f"{oldest}.*"):
                path.unlink(missing_ok=True)
            held -= sizes.pop(oldest)
        if held + wanted > self._max_bytes:
            raise OSError(0, "the photo is larger than all that may be kept")


_OURS = re.compile(r"\d{8}T\d{6}\.?\d{0,6}Z-\d{6}-[A-Za-z0-9-]{1,64}")


def _stem(count: int, request_id: str) -> str:
    """Sorts by time; the request id may come from outside, so only plain characters stay."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"{now}-{count % 1_000_000:06d}-{_NOT_PLAIN.sub('-', request_id)[:64] or 'none'}"


def _ending(data: bytes) -> str:
    try:
        return _ENDINGS[sniff(data)]
    except UnsupportedImageFormat:
        return "bin"


def _write_private(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(data)
