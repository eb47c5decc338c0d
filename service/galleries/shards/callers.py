"""How shards are reached: one protocol for those of this process and those of a cluster."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from crossfix.errors import GalleryError
from crossfix.gallery import Gallery
from crossfix.sharded_gallery import ShardedGallery, open_shard
from crossfix.sharded_gallery_fan_out import ask_each
from crossfix.sharded_gallery_manifest import EpochManifest
from service.galleries.coverage import RECTANGLES_AT_MOST
from service.galleries.shards.shard import OpenShard, ShardFacts
from service.logs.log import EVENTS

Calls = Mapping[int, tuple[Any, ...]]
_FEWEST_RECTANGLES = 8
_MAX_THREADS = 64
_LOOK_AGAIN_S = 10.0


@dataclass(frozen=True)
class Told:
    """What came back: answers by shard number, and a sentence for each shard that gave none."""

    answers: dict[int, Any]
    failures: dict[int, str]


class ShardCaller(Protocol):
    """An epoch's shards. Thread-safe; looks after lost ones by itself until it is closed."""

    @property
    def facts(self) -> Mapping[int, ShardFacts]:
        """Of every shard that was open at any time."""
        ...

    @property
    def lost(self) -> Mapping[int, str]:
        """Shards that cannot be asked now, and why."""
        ...

    def ask(self, method: str, calls: Calls, *, timeout_s: float | None = None) -> Told:
        """Calls a method of `OpenShard` on several shards at once; never raises.

        Args:
            calls: the method's arguments by shard number.
            timeout_s: for all together; None is the setting `shard_timeout_s`.
        """
        ...

    def close(self) -> None:
        """Lets go of the shards; may be called more than once."""
        ...


class LocalShards:
    """Shards opened in this process.

    Args:
        strict: a lost shard is an error.
        timeout_s: a shard that takes longer is lost to that call.

    Attributes:
        lost: see `ShardCaller`.

    Raises:
        GalleryNotFound, GalleryCorrupt, GalleryError: as `ShardedGallery.open`.
    """

    def __init__(
        self, root: Path, manifest: EpochManifest, *, strict: bool, timeout_s: float
    ) -> None:
        self._root, self._manifest, self._timeout_s = root, manifest, timeout_s
        with ShardedGallery.open(root, epoch=manifest.epoch, strict=strict) as opened:
            galleries, lost = opened.shards, opened.lost
        total = len(manifest.shards)
        self._pool = ThreadPoolExecutor(min(2 * total, _MAX_THREADS), "shard")
        self._rectangles = rectangles_of_a_shard(total)
        self._shards: dict[int, OpenShard] = {}
        self.lost: dict[int, str] = dict(lost)
        for number, gallery in galleries.items():
            self._adopt(number, gallery)
        self._watcher = Watcher(self._mend, name="lost-shards")

    @property
    def facts(self) -> dict[int, ShardFacts]:
        """Of the open shards."""
        return {number: shard.facts for number, shard in self._shards.items()}

    def ask(self, method: str, calls: Calls, *, timeout_s: float | None = None) -> Told:
        """One thread for each shard that is asked."""
        shards, lost = self._shards, self.lost
        bound = {
            number: partial(getattr(shards[number], method), *arguments)
            for number, arguments in calls.items()
            if number in shards
        }
        answers, failures = ask_each(self._pool, bound, timeout_s=timeout_s or self._timeout_s)
        missing = {number: lost.get(number, "it is lost") for number in calls.keys() - bound.keys()}
        return Told(answers, failures | missing)

    def close(self) -> None:
        """Ends the threads; what is being asked is answered."""
        self._watcher.close()
        self._pool.shutdown(wait=False)

    def _adopt(self, number: int, gallery: Gallery) -> None:
        """Whoever asks meanwhile sees the shards before or after."""
        self._shards = self._shards | {number: OpenShard(gallery, rectangles=self._rectangles)}
        self.lost = {other: why for other, why in self.lost.items() if other != number}

    def _mend(self) -> float | None:
        """Tries lost shards again: a disk may be back."""
        for number in sorted(self.lost):
            entry = self._manifest.shards[number]
            try:
                found = open_shard(self._root, self._manifest, entry, verify=True)
            except GalleryError as problem:
                found = str(problem)
            if isinstance(found, Gallery):
                self._adopt(number, found)
                EVENTS.info("shard_back", extra={"fields": {"shard": number}})
        return _LOOK_AGAIN_S if self.lost else None


class Watcher:
    """Calls a function from a thread of its own, for ever, when it wants to be or is woken.

    Args:
        look: returns after how many seconds it wants to be called again; None: when woken.
    """

    def __init__(self, look: Callable[[], float | None], *, name: str) -> None:
        self._look = look
        self._wake, self._ending = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Something may be wrong: looks at once."""
        self._wake.set()

    def close(self, *, patience_s: float = 0.0) -> None:
        """Ends the thread after what it is doing; waits for that so long at most."""
        self._ending.set()
        self._wake.set()
        if patience_s and threading.current_thread() is not self._thread:
            self._thread.join(patience_s)

    def _run(self) -> None:
        while not self._ending.is_set():
            pause_s: float | None = _LOOK_AGAIN_S
            try:
                pause_s = self._look()
            except Exception:
                EVENTS.exception("shard_watch_failed")
            self._wake.wait(pause_s)
            self._wake.clear()


def rectangles_of_a_shard(total: int) -> int:
    """Of its coverage, so that those of all shards together are about as many as of one piece."""
    return max(_FEWEST_RECTANGLES, RECTANGLES_AT_MOST // total)
