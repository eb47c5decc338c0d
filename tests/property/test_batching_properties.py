"""Random arrivals, failures, departures and deadlines: the batcher against a plain account of them.

The account keeps, per item, what was asked and every run it was part of; the clock is turned by
hand and runs end when the test says so.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from service.batching.micro_batcher import MicroBatcher
from service.errors import DeadlineExceeded, Overloaded

ARRIVE = st.tuples(
    st.just("arrive"),
    st.sampled_from(["ground", "drone"]),
    st.booleans() | st.just(False),  # a bad one breaks its batch
    st.sampled_from([0.5, 2.0, 8.0, 1000.0]),
)
STEPS = st.lists(
    ARRIVE
    | ARRIVE
    | st.tuples(st.just("leave"), st.integers(0, 40))
    | st.tuples(st.just("wait"), st.sampled_from([0.1, 0.5, 3.0]))
    | st.tuples(st.just("finish"), st.integers(0, 5)),
    max_size=40,
)


@dataclass
class Item:
    number: int
    key: str
    is_bad: bool
    deadline: float
    has_left: bool = False
    runs: list["Run"] = field(default_factory=list)
    task: asyncio.Task | None = None


@dataclass
class Run:
    items: list[Item]
    future: asyncio.Future
    is_over: bool = False

    def finish(self) -> None:
        self.is_over = True
        if any(item.is_bad for item in self.items):
            self.future.set_exception(ValueError("a bad item"))
        else:
            self.future.set_result([item.number for item in self.items])


class Account:
    """The batcher, everything that was asked of it and everything it started."""

    def __init__(self, max_batch: int, workers: int, queue_limit: int) -> None:
        self.now = 0.0
        self.items: list[Item] = []
        self.runs: list[Run] = []
        self.max_batch, self.workers, self.queue_limit = max_batch, workers, queue_limit
        self.depth = 0
        self.counts: Counter[str] = Counter()
        self.batcher: MicroBatcher[str, Item, int] = MicroBatcher(
            self.start,
            name="encode",
            max_batch=max_batch,
            workers=workers,
            queue_limit=queue_limit,
            observer=self,
            clock=lambda: self.now,
        )

    @property
    def running(self) -> list[Run]:
        return [run for run in self.runs if not run.is_over]

    def start(self, key: str, items: list[Item]) -> asyncio.Future:
        """Called by the batcher; checks everything that must hold for a run."""
        assert len(self.running) < self.workers
        assert 1 <= len(items) <= self.max_batch
        for item in items:
            assert item.key == key
            assert item.deadline > self.now, "ran after its deadline"
            assert not item.has_left, "ran after its caller left"
            if item.runs:
                (earlier,) = item.runs  # nothing runs a third time
                assert len(items) == 1
                assert len(earlier.items) > 1
                assert any(other.is_bad for other in earlier.items)
        if not items[0].runs:
            self.check_order(items)
        run = Run(items, asyncio.get_running_loop().create_future())
        self.runs.append(run)
        for item in items:
            item.runs.append(run)
        return run.future

    def check_order(self, items: list[Item]) -> None:
        numbers = [item.number for item in items]
        assert numbers == sorted(numbers)
        waiting = [
            item
            for item in self.items[: numbers[0]]
            if item.task is not None and not item.task.done() and not item.runs
        ]
        assert not [w for w in waiting if not w.has_left and w.deadline > self.now], "overtaken"

    def batch_started(self, size: int) -> None:
        self.counts["runs"] += size > 0

    def queue_changed(self, depth: int) -> None:
        assert 0 <= depth <= self.queue_limit + self.workers * self.max_batch
        self.depth = depth

    def expired(self) -> None:
        self.counts["expired"] += 1

    def cancelled(self) -> None:
        self.counts["cancelled"] += 1

    def arrive(self, key: str, is_bad: bool, within: float) -> None:
        item = Item(len(self.items), key, is_bad, self.now + within)
        self.items.append(item)
        item.task = asyncio.create_task(self.batcher.submit(key, item, deadline=item.deadline))

    def leave(self, number: int) -> None:
        if number < len(self.items) and not self.items[number].task.done():
            self.items[number].has_left = True
            self.items[number].task.cancel()

    def finish(self, number: int) -> None:
        if self.running:
            self.running[number % len(self.running)].finish()

    async def settle(self) -> None:
        for _ in range(6):
            await asyncio.sleep(0)
        assert not self.depth or len(self.running) == self.workers, "a worker idles"


def check_outcome(item: Item) -> None:
    assert item.task.done(), "lost"
    if item.task.cancelled():
        assert item.has_left
        return
    problem = item.task.exception()
    if problem is None:
        assert item.task.result().result == item.number
        assert not item.is_bad
    elif isinstance(problem, ValueError):
        assert item.is_bad
        assert len(item.runs[-1].items) == 1
    elif isinstance(problem, Overloaded):
        assert not item.runs
    else:
        assert isinstance(problem, DeadlineExceeded)
        # It waited in vain, or its batch failed and there was no time for another run.
        assert not item.runs or any(other.is_bad for other in item.runs[-1].items)


@settings(max_examples=150, deadline=None)
@given(
    steps=STEPS,
    max_batch=st.integers(1, 4),
    workers=st.integers(1, 3),
    queue_limit=st.integers(1, 6),
)
def test_nothing_is_lost_repeated_late_or_overtaken(
    steps: list[tuple], max_batch: int, workers: int, queue_limit: int
) -> None:
    async def scenario() -> None:
        account = Account(max_batch, workers, queue_limit)
        for step, *details in steps:
            if step == "wait":
                account.now += details[0]
            else:
                getattr(account, step)(*details)
            await account.settle()
        while account.running:
            account.running[0].finish()
            await account.settle()
        for item in account.items:
            check_outcome(item)
        assert account.depth == 0
        assert account.counts["runs"] == len(account.runs)
        assert account.batcher.expected_wait_s() == 0.0

    asyncio.run(scenario())
