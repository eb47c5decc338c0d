"""An asyncio stage with a bounded queue: micro-batches on a fixed number of workers.

No batch ever waits to fill: an idle worker starts at once, and while all workers are busy the
next batch forms by itself in the queue. Queued work whose deadline passed or whose caller left
is dropped before it costs anything. Who would wait too long is refused at once: see
:mod:`service.batching.waiting`.
"""

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from service.batching.waiting import STANDING_S, Forecast
from service.errors import DeadlineExceeded, NotReady, Overloaded

KeyT = TypeVar("KeyT", bound=Hashable)
ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class BatchObserver(Protocol):
    """Told what a batcher does; the service's metrics."""

    def batch_started(self, size: int) -> None:
        """A batch of this many items starts."""

    def queue_changed(self, depth: int) -> None:
        """The queue now holds this many items."""

    def expired(self) -> None:
        """A queued item's deadline passed before it ran."""

    def cancelled(self) -> None:
        """A queued item's caller left before it ran."""


@dataclass(frozen=True)
class Served(Generic[ResultT]):
    """A result and where its time went; times on the batcher's clock."""

    result: ResultT
    queued_at: float
    started_at: float
    ended_at: float

    @property
    def queue_s(self) -> float:
        """Seconds it waited for a worker."""
        return self.started_at - self.queued_at

    @property
    def run_s(self) -> float:
        """Seconds its batch ran."""
        return self.ended_at - self.started_at


@dataclass(eq=False)
class _Entry(Generic[KeyT, ItemT, ResultT]):
    key: KeyT
    item: ItemT
    deadline: float
    queued_at: float
    future: "asyncio.Future[Served[ResultT]]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class MicroBatcher(Generic[KeyT, ItemT, ResultT]):
    """Runs items in batches of equal key on a fixed number of workers.

    A batch that fails is taken apart: its items go back to the head of the queue and each runs
    alone, on whichever worker is free, so that a bad one fails alone. Their deadlines still count.

    Args:
        run: starts one batch; its future holds one result per item, in order.
        max_batch: items per batch at most.
        workers: batches running at once.
        queue_limit: waiting items at most; one more is refused. Items of a failed batch come back
            even to a full queue.
        standing_s: how long anybody may wait in a queue that does not empty.
        clock: monotonic seconds; deadlines are on this clock.
    """

    def __init__(
        self,
        run: Callable[[KeyT, list[ItemT]], "asyncio.Future[Sequence[ResultT]]"],
        *,
        name: str,
        max_batch: int = 1,
        workers: int = 1,
        queue_limit: int,
        observer: BatchObserver,
        standing_s: float = STANDING_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run = run
        self._name = name
        self._max_batch = max_batch
        self._workers = workers
        self._queue_limit = queue_limit
        self._observer = observer
        self._clock = clock
        self._forecast = Forecast(workers, clock, standing_s=standing_s)
        self._queue: deque[_Entry[KeyT, ItemT, ResultT]] = deque()
        self._alone: deque[_Entry[KeyT, ItemT, ResultT]] = deque()
        self._waiting: Counter[KeyT] = Counter()  # how many of `_queue` have this key
        self._running: set[asyncio.Future[Sequence[ResultT]]] = set()
        self._is_closed = False

    async def submit(self, key: KeyT, item: ItemT, *, deadline: float) -> Served[ResultT]:
        """Queues one item and waits for its result.

        Raises:
            Overloaded: the queue is full, or the wait would be too long.
            DeadlineExceeded: the deadline passed while queued.
            NotReady: the batcher was closed.
            Exception: whatever `run` raised for this item alone.
        """
        self.require_room(key, deadline=deadline)
        entry: _Entry[KeyT, ItemT, ResultT] = _Entry(key, item, deadline, self._clock())
        self._queue.append(entry)
        self._waiting[key] += 1
        if self._max_batch == 1:
            self._start_batches()
        else:
            # In the next turn of the loop: items that arrive together share a batch.
            asyncio.get_running_loop().call_soon(self._start_batches)
            self._show_depth()
        try:
            return await entry.future
        except asyncio.CancelledError:
            self._forget(entry)
            raise

    def expected_wait_s(self, key: KeyT | None = None) -> float:
        """What one more item (of this key) would wait; 0 where it would start at once."""
        runs = len(self._alone)
        for other, count in self._waiting.items():
            runs += count // self._max_batch if other == key else self._batches(count)
        return self._forecast.wait_s(runs)

    def _batches(self, items: int) -> int:
        return math.ceil(items / self._max_batch)

    def require_room(self, key: KeyT | None = None, *, deadline: float) -> None:
        """Refuses a newcomer for whom there is no place or no time.

        Raises:
            Overloaded: the queue is full, or the wait would be too long.
            NotReady: the batcher was closed.
        """
        if self._is_closed:
            raise NotReady("the service is stopping", hint="ask another replica")
        wait_s, depth = self.expected_wait_s(key), self._depth()
        longest_s = self._forecast.longest_wait_s(deadline, is_calm=wait_s <= 0)
        if depth >= self._queue_limit:
            raise Overloaded(
                f"{depth} photos already wait for {self._name}",
                reason=f"{self._name}_queue_full",
                retry_after_s=wait_s,
            )
        if 0 < wait_s > longest_s:
            raise Overloaded(
                f"the wait for {self._name} would be too long",
                reason=f"{self._name}_wait_too_long",
                retry_after_s=wait_s,
            )

    def _depth(self) -> int:
        return len(self._queue) + len(self._alone)

    def _show_depth(self) -> None:
        self._observer.queue_changed(self._depth())

    def _forget(self, entry: _Entry[KeyT, ItemT, ResultT]) -> None:
        """Drops an item whose caller left, or gave up at its deadline."""
        if entry.future.done() and not entry.future.cancelled():
            entry.future.exception()  # asked for, or asyncio complains that nobody did
        if entry in self._alone:
            self._alone.remove(entry)
        elif entry in self._queue:
            self._queue.remove(entry)
            self._note_left_queue(entry)
        else:
            return  # it runs: nothing can stop it, and nobody waits for its result
        if entry.deadline <= self._clock():
            self._observer.expired()
        else:
            self._observer.cancelled()
        self._show_depth()

    def _note_left_queue(self, entry: _Entry[KeyT, ItemT, ResultT]) -> None:
        self._waiting[entry.key] -= 1
        if not self._waiting[entry.key]:
            del self._waiting[entry.key]  # keys hold snapshots, which must not outlive their use

    def _start_batches(self) -> None:
        while len(self._running) < self._workers and not self._is_closed:
            batch = self._next_batch()
            if not batch:
                break
            self._start(batch)
        self._show_depth()

    def _next_batch(self) -> list[_Entry[KeyT, ItemT, ResultT]]:
        """An item to be run alone, or the oldest and those of its key; expired ones are dropped."""
        now = self._clock()
        while self._alone:
            entry = self._alone.popleft()
            if self._is_wanted(entry, now):
                return [entry]
        batch: list[_Entry[KeyT, ItemT, ResultT]] = []
        others: deque[_Entry[KeyT, ItemT, ResultT]] = deque()
        while self._queue and len(batch) < self._max_batch:
            entry = self._queue.popleft()
            if batch and entry.key != batch[0].key:
                others.append(entry)
                continue
            self._note_left_queue(entry)
            if self._is_wanted(entry, now):
                batch.append(entry)
        self._queue.extendleft(reversed(others))
        return batch

    def _is_wanted(self, entry: _Entry[KeyT, ItemT, ResultT], now: float) -> bool:
        """Whether somebody still waits for it in time; else it is counted, and told."""
        if entry.deadline <= now:
            self._observer.expired()
            _fail(
                [entry],
                DeadlineExceeded(
                    f"the photo waited for {self._name} past its deadline",
                    hint="try again later, or raise the deadline",
                ),
            )
            return False
        if entry.future.done():  # its caller left in this very turn of the loop
            self._observer.cancelled()
            return False
        return True

    def _start(self, batch: list[_Entry[KeyT, ItemT, ResultT]]) -> None:
        self._observer.batch_started(len(batch))
        try:
            run = self._run(batch[0].key, [entry.item for entry in batch])
        except Exception as problem:
            _fail(batch, problem)
            return
        started_at = self._forecast.begin(run)
        self._running.add(run)
        run.add_done_callback(lambda done: self._finish(done, batch, started_at))

    def _finish(
        self,
        run: "asyncio.Future[Sequence[ResultT]]",
        batch: list[_Entry[KeyT, ItemT, ResultT]],
        started_at: float,
    ) -> None:
        self._running.discard(run)
        ended_at = self._forecast.end(run)
        problem = _stopped() if run.cancelled() else run.exception()
        if problem is None:
            for entry, result in zip(batch, run.result(), strict=True):
                if not entry.future.done():
                    served = Served(result, entry.queued_at, started_at, ended_at)
                    entry.future.set_result(served)
        elif len(batch) == 1 or self._is_closed:
            _fail(batch, problem)
        else:
            self._alone.extend(batch)
        self._start_batches()

    def close(self) -> None:
        """Fails what waits and lets go of what runs; nothing is started any more."""
        self._is_closed = True
        _fail([*self._alone, *self._queue], _stopped())
        self._alone.clear()
        self._queue.clear()
        self._waiting.clear()
        for run in list(self._running):
            run.cancel()


def _stopped() -> NotReady:
    return NotReady("the service is stopping", hint="ask another replica")


def _fail(entries: Sequence[_Entry[KeyT, ItemT, ResultT]], problem: BaseException) -> None:
    for entry in entries:
        if not entry.future.done():
            entry.future.set_exception(problem)
