"""An asyncio stage with a bounded queue: the encoder's micro-batcher, and the decode/search pools.

No batch ever waits to fill: an idle worker starts at once, and while all workers are busy the
next batch forms by itself in the queue. Queued work whose deadline passed or whose caller left
is dropped before it costs anything.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from service.errors import DeadlineExceeded, Overloaded

KeyT = TypeVar("KeyT", bound=Hashable)
ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

EWMA_WEIGHT = 0.2  # of the newest batch in the moving average of batch times


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
    """A result and where its time went."""

    result: ResultT
    queue_s: float
    run_s: float


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

    Args:
        run: computes one batch, one result per item, in order.
        max_batch: items per batch at most.
        workers: batches running at once.
        queue_limit: waiting items at most; one more is refused.
        clock: monotonic seconds; deadlines are on this clock.
    """

    def __init__(
        self,
        run: Callable[[KeyT, list[ItemT]], Awaitable[Sequence[ResultT]]],
        *,
        name: str,
        max_batch: int = 1,
        workers: int = 1,
        queue_limit: int,
        observer: BatchObserver,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run = run
        self._name = name
        self._max_batch = max_batch
        self._idle_workers = self._workers = workers
        self._queue_limit = queue_limit
        self._observer = observer
        self._clock = clock
        self._queue: deque[_Entry[KeyT, ItemT, ResultT]] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._batch_s = 0.0

    async def submit(self, key: KeyT, item: ItemT, *, deadline: float) -> Served[ResultT]:
        """Queues one item and waits for its result.

        Raises:
            Overloaded: the queue is full, or the wait would outlast the deadline.
            DeadlineExceeded: the deadline passed while queued.
            Exception: whatever `run` raised for this item alone.
        """
        self._refuse_hopeless(deadline)
        entry: _Entry[KeyT, ItemT, ResultT] = _Entry(key, item, deadline, self._clock())
        self._queue.append(entry)
        self._observer.queue_changed(len(self._queue))
        # Not now but in the next turn of the loop: items that arrive together share a batch.
        asyncio.get_running_loop().call_soon(self._start_batches)
        try:
            return await entry.future
        except asyncio.CancelledError:
            self._forget(entry)
            raise

    def expected_wait_s(self) -> float:
        """What one more item would wait, from the moving average of batch times."""
        if self._idle_workers > 0 and not self._queue:
            return 0.0
        batches_ahead = math.ceil((len(self._queue) + 1) / self._max_batch)
        return batches_ahead * self._batch_s / self._workers

    def _refuse_hopeless(self, deadline: float) -> None:
        wait_s = self.expected_wait_s()
        if len(self._queue) >= self._queue_limit:
            raise Overloaded(
                f"{len(self._queue)} photos already wait for {self._name}",
                reason=f"{self._name}_queue_full",
                retry_after_s=wait_s,
            )
        if wait_s > 0 and self._clock() + wait_s > deadline:
            raise Overloaded(
                f"the wait for {self._name} would outlast the deadline",
                reason=f"{self._name}_wait_too_long",
                retry_after_s=wait_s,
            )

    def _forget(self, entry: _Entry[KeyT, ItemT, ResultT]) -> None:
        if entry in self._queue:
            self._queue.remove(entry)
            self._observer.cancelled()
            self._observer.queue_changed(len(self._queue))

    def _start_batches(self) -> None:
        while self._idle_workers > 0:
            batch = self._next_batch()
            if not batch:
                return
            self._idle_workers -= 1
            task = asyncio.get_running_loop().create_task(self._run_batch(batch))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def _next_batch(self) -> list[_Entry[KeyT, ItemT, ResultT]]:
        """The oldest live item and those of its key, in order; expired items are dropped."""
        now = self._clock()
        batch: list[_Entry[KeyT, ItemT, ResultT]] = []
        others: deque[_Entry[KeyT, ItemT, ResultT]] = deque()
        while self._queue and len(batch) < self._max_batch:
            entry = self._queue.popleft()
            if entry.deadline <= now:
                self._expire(entry)
            elif batch and entry.key != batch[0].key:
                others.append(entry)
            else:
                batch.append(entry)
        self._queue.extendleft(reversed(others))
        self._observer.queue_changed(len(self._queue))
        return batch

    def _expire(self, entry: _Entry[KeyT, ItemT, ResultT]) -> None:
        self._observer.expired()
        if not entry.future.done():
            entry.future.set_exception(
                DeadlineExceeded(
                    f"the photo waited for {self._name} past its deadline",
                    hint="try again later, or raise the deadline",
                )
            )

    async def _run_batch(self, batch: list[_Entry[KeyT, ItemT, ResultT]]) -> None:
        try:
            await self._attempt(batch)
        finally:
            self._idle_workers += 1
            self._start_batches()

    async def _attempt(self, batch: list[_Entry[KeyT, ItemT, ResultT]]) -> None:
        started = self._clock()
        self._observer.batch_started(len(batch))
        try:
            results = await self._run(batch[0].key, [entry.item for entry in batch])
        except Exception as problem:
            await self._attempt_singly(batch, problem)
            return
        run_s = self._clock() - started
        self._batch_s += (EWMA_WEIGHT if self._batch_s else 1.0) * (run_s - self._batch_s)
        for entry, result in zip(batch, results, strict=True):
            if not entry.future.done():
                entry.future.set_result(Served(result, started - entry.queued_at, run_s))

    async def _attempt_singly(
        self, batch: list[_Entry[KeyT, ItemT, ResultT]], problem: Exception
    ) -> None:
        """Gives each item of a failed batch its own chance, so that a bad one fails alone."""
        if len(batch) == 1:
            if not batch[0].future.done():
                batch[0].future.set_exception(problem)
            return
        for entry in batch:
            if not entry.future.done():
                await self._attempt([entry])
