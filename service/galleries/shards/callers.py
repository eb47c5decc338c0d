"""How shards are reached: one protocol for those of this process and those of a cluster."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from crossfix.errors import GalleryCorrupt, GalleryError
from crossfix.gallery import Gallery, version_directory
from crossfix.sharded_gallery import open_shard, shards_lost
from crossfix.sharded_gallery_fan_out import begin_call, collect_answers
from crossfix.sharded_gallery_manifest import EpochManifest, shard_root
from service.cores import available_cores
from service.galleries.coverage import RECTANGLES_AT_MOST
from service.galleries.daemon_pool import DaemonPool
from service.galleries.shards.reopening import Reopening
from service.galleries.shards.shard import OpenShard, ShardFacts
from service.logs.log import EVENTS

Calls = Mapping[int, tuple[Any, ...]]
_FEWEST_RECTANGLES = 8
_MAX_THREADS = 64
_FEWEST_THREADS = 4  # of a shard: a map tile in one must not hold photos up
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

    A shard that answers too late is asked no more until that very answer has come. Each has threads
    of its own: one that hangs, as a network disk does, takes none from the others.

    Args:
        strict: a lost shard is an error.
        timeout_s: a shard that takes longer is lost.

    Attributes:
        lost: see `ShardCaller`.

    Raises:
        GalleryNotFound, GalleryError: no shard can be opened; with `strict`, one cannot.
        GalleryCorrupt: such a shard is not the one the epoch names.
    """

    def __init__(
        self, root: Path, manifest: EpochManifest, *, strict: bool, timeout_s: float
    ) -> None:
        self._root, self._manifest, self._timeout_s = root, manifest, timeout_s
        total = len(manifest.shards)
        self._rectangles = rectangles_of_a_shard(total)
        found = self._open_all(strict=strict)
        self._shards: dict[int, OpenShard] = {}
        self._pools: dict[int, DaemonPool] = {}
        self._late: dict[int, Future[Any]] = {}
        self._lock = threading.Lock()
        self.lost: dict[int, str] = {}
        for number, one in found.items():
            if isinstance(one, OpenShard):
                self._adopt(number, one)
            else:
                self._set_lost(number, str(one))
        self._reopenings = {number: Reopening(self._folder(number)) for number in self.lost}
        self._watcher = Watcher(self._mend, name="lost-shards")

    @property
    def facts(self) -> dict[int, ShardFacts]:
        """Of the shards that were opened."""
        return {number: shard.facts for number, shard in self._shards.items()}

    def ask(self, method: str, calls: Calls, *, timeout_s: float | None = None) -> Told:
        """One thread for each shard that is asked."""
        lost = self.lost
        asked = {
            number: begin_call(
                self._pools[number], partial(getattr(self._shards[number], method), *arguments)
            )
            for number, arguments in calls.items()
            if number not in lost
        }
        answers, failures = collect_answers(asked, timeout_s=timeout_s or self._timeout_s)
        for number, why in failures.items():
            if timeout_s is not None:
                asked[number].cancel()
            elif not asked[number].done():
                self._note_late(number, asked[number], why)
        return Told(answers, failures | {n: why for n, why in lost.items() if n in calls})

    def close(self) -> None:
        """Ends the threads; what is being asked is answered."""
        self._watcher.close()
        for pool in self._pools.values():
            pool.close()

    def _open_all(self, *, strict: bool) -> dict[int, OpenShard | GalleryError]:
        """Of all shards, at once; raises where that is not enough to serve."""
        total = len(self._manifest.shards)
        with ThreadPoolExecutor(min(total, _MAX_THREADS)) as pool:
            found = dict(enumerate(pool.map(self._open, range(total))))
        lost = {n: one for n, one in found.items() if isinstance(one, GalleryError)}
        if lost and (strict or len(lost) == total):
            corrupt = (one for one in lost.values() if isinstance(one, GalleryCorrupt))
            problem = shards_lost({n: str(one) for n, one in lost.items()}, total)
            raise next(corrupt, problem)
        return found

    def _open(self, number: int) -> OpenShard | GalleryError:
        entry = self._manifest.shards[number]
        try:
            found = open_shard(self._root, self._manifest, entry, verify=True)
            if isinstance(found, Gallery):
                return OpenShard(found, rectangles=self._rectangles)
        except GalleryError as problem:
            return problem
        except (OSError, ValueError) as problem:
            return GalleryError(f"{self._folder(number)} cannot be opened: {problem}")
        return GalleryError(found)

    def _folder(self, number: int) -> Path:
        entry = self._manifest.shards[number]
        return version_directory(shard_root(self._root, entry), entry.version)

    def _adopt(self, number: int, shard: OpenShard) -> None:
        """Whoever asks meanwhile sees the shards before or after."""
        threads = max(_FEWEST_THREADS, available_cores())  # as many as may search at once
        self._pools = self._pools | {number: DaemonPool(threads, f"shard-{number}")}
        self._shards = self._shards | {number: shard}
        self._set_found(number)

    def _set_lost(self, number: int, why: str) -> None:
        with self._lock:
            is_news = self.lost.get(number) != why
            self.lost = {**self.lost, number: why}
        if is_news:
            EVENTS.error("shard_lost", extra={"fields": {"shard": number, "reason": why}})

    def _set_found(self, number: int) -> None:
        with self._lock:
            self.lost = {other: why for other, why in self.lost.items() if other != number}

    def _note_late(self, number: int, call: Future[Any], why: str) -> None:
        with self._lock:
            if number in self._late:
                return
            self._late[number] = call
        self._set_lost(number, why)
        call.add_done_callback(lambda _call: self._note_back(number))

    def _note_back(self, number: int) -> None:
        """The late answer has come."""
        with self._lock:
            del self._late[number]
        self._set_found(number)
        EVENTS.info("shard_back", extra={"fields": {"shard": number}})

    def _mend(self) -> float | None:
        """Tries shards again that could not be opened: a disk may be back."""
        for number, reopening in list(self._reopenings.items()):
            if not reopening.is_due():
                continue
            found = self._open(number)
            if isinstance(found, OpenShard):
                self._adopt(number, found)
                del self._reopenings[number]
                EVENTS.info("shard_back", extra={"fields": {"shard": number}})
            else:
                reopening.note_failure()
                self._set_lost(number, str(found))
        return _LOOK_AGAIN_S if self._reopenings else None


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
