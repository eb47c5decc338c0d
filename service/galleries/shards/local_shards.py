"""An epoch's shards opened in this process: asked, doubted, opened again."""

import threading
import time
import weakref
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

from crossfix.sharded_gallery_fan_out import begin_call, collect_answers
from crossfix.sharded_gallery_manifest import EpochManifest
from service.cores import available_cores
from service.galleries.daemon_pool import DaemonPool
from service.galleries.shards import patience
from service.galleries.shards.callers import Calls, Told, Watcher, tell_lost
from service.galleries.shards.local_opening import Found, Opener
from service.galleries.shards.patience import Probation
from service.galleries.shards.reopening import Reopening
from service.galleries.shards.shard import OpenShard, ShardFacts
from service.logs.log import EVENTS

_FEWEST_THREADS = 4  # of a shard: a map tile in one must not hold photos up
_LOOK_AGAIN_S, _DOUBTED_LOOK_S = 10.0, 0.5


class LocalShards:
    """A `ShardCaller`.

    A shard that answers too late, or fails several searches in a row, is asked no more until a
    search for nothing in particular has succeeded in time. Each has threads of its own: one that
    hangs, as a network disk does, takes none from the others.

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
        self._timeout_s = timeout_s
        self._is_closed = False
        self._opener = Opener(root, manifest)
        opened = self._opener.open_all(strict=strict)
        self._shards: dict[int, OpenShard] = {}
        self._pools: dict[int, DaemonPool] = {}
        self._lock = threading.Lock()
        self._failed: dict[int, int] = {}
        self._probations: dict[int, Probation] = {}
        self._doubted: set[int] = set()
        self._probed: set[int] = set()
        self._reopenings: dict[int, Reopening] = {}
        self._opening: set[int] = set()
        self.lost: dict[int, str] = {}
        self._watcher = Watcher(self._mend, name="lost-shards")
        for number, one in opened.found.items():
            if isinstance(one, OpenShard):
                self._adopt(number, one)
            else:
                self._set_lost(number, str(one))
                if number not in opened.waiting:
                    self._reopenings[number] = Reopening(self._opener.folder(number))
        for number, future in opened.waiting.items():
            self._await(number, future)
        self._watcher.wake()

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
        late = {number for number in failures if not asked[number].done()}
        if timeout_s is not None:
            for number in late:
                asked[number].cancel()
        else:
            for number in late:
                self._doubt(number, failures[number])
        if method == "search":
            self._count_failures(answers, {n: failures[n] for n in failures.keys() - late})
        return Told(answers, failures | {n: why for n, why in lost.items() if n in calls})

    def close(self) -> None:
        """Ends the threads; what is being asked is answered."""
        self._is_closed = True
        self._watcher.close()
        for pool in self._pools.values():
            pool.close()

    def _adopt(self, number: int, shard: OpenShard) -> None:
        """Whoever asks meanwhile sees the shards before or after."""
        threads = max(_FEWEST_THREADS, available_cores())  # as many as may search at once
        pool = DaemonPool(threads, f"shard-{number}")
        with self._lock:  # a disk that comes back brings several shards at once
            self._pools = self._pools | {number: pool}
            self._shards = self._shards | {number: shard}

    def _set_lost(self, number: int, why: str) -> None:
        with self._lock:
            is_news = self.lost.get(number) != why
            self.lost = {**self.lost, number: why}
        if is_news:
            tell_lost(number, why)

    def _set_found(self, number: int) -> None:
        with self._lock:
            self._doubted.discard(number)
            self.lost = {other: why for other, why in self.lost.items() if other != number}
        EVENTS.info("shard_back", extra={"fields": {"shard": number}})

    def _count_failures(self, answers: dict[int, Any], failures: dict[int, str]) -> None:
        for number in answers:
            self._failed[number] = 0
        for number, why in failures.items():
            self._failed[number] = self._failed.get(number, 0) + 1
            if self._failed[number] >= patience.FAILURES_IN_A_ROW:
                self._doubt(number, why)

    def _doubt(self, number: int, why: str) -> None:
        """It is asked no more until it has been probed."""
        with self._lock:
            if number in self._doubted or self._is_closed:
                return
            self._probations.setdefault(number, Probation()).note_trouble()
            # In one step: a probe that succeeded in between would leave it lost for ever.
            self._doubted.add(number)
            self.lost = {**self.lost, number: why}
        tell_lost(number, why)
        self._watcher.wake()

    def _mend(self) -> float | None:
        """Probes doubted shards, and opens again what could not be opened; waits for neither."""
        for number in sorted(self._doubted - self._probed):
            if self._probations[number].is_over():
                self._probe(number)
        for number in list(self._reopenings):
            if number in self._opening:
                continue
            reopening = self._reopenings.get(number)  # it may have come back this moment
            if reopening is not None and reopening.is_due():
                self._await(number, self._opener.begin(number))
        if self._doubted:
            return _DOUBTED_LOOK_S
        return _LOOK_AGAIN_S if self._reopenings else None

    def _probe(self, number: int) -> None:
        self._probed.add(number)
        began = time.monotonic()
        call = begin_call(self._pools[number], self._shards[number].probe)
        call.add_done_callback(lambda done: self._note_probed(number, began, done.result()))

    def _note_probed(self, number: int, began: float, told: tuple[Any, str]) -> None:
        if told[0] is None or time.monotonic() - began > self._timeout_s:
            self._probations[number].note_trouble()
        else:
            self._failed[number] = 0
            self._set_found(number)
        self._probed.discard(number)  # last: it must not be probed again before its pause

    def _await(self, number: int, future: Future[Found]) -> None:
        """Adopts the shard once it is open; a disk that hangs must not keep the others' memory."""
        self._opening.add(number)
        me = weakref.ref(self)

        def tell(done: Future[Found]) -> None:
            if (shards := me()) is not None:
                shards._note_opened(number, done.result())

        future.add_done_callback(tell)

    def _note_opened(self, number: int, found: Found) -> None:
        if isinstance(found, OpenShard):
            self._adopt(number, found)
            self._reopenings.pop(number, None)
            self._set_found(number)
        else:
            self._set_lost(number, str(found))
            if number in self._reopenings:
                self._reopenings[number].note_failure()
            else:
                self._reopenings[number] = Reopening(self._opener.folder(number))
        self._opening.discard(number)
        self._watcher.wake()
