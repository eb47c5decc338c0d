"""A micro-batcher with a hand-turned clock and a fake encoder that finishes on demand."""

import asyncio
from collections import Counter

from service.batching.micro_batcher import MicroBatcher


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Observer:
    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.depths: list[int] = []
        self.counts: Counter[str] = Counter()

    def batch_started(self, size: int) -> None:
        self.sizes.append(size)

    def queue_changed(self, depth: int) -> None:
        self.depths.append(depth)

    def expired(self) -> None:
        self.counts["expired"] += 1

    def cancelled(self) -> None:
        self.counts["cancelled"] += 1


class FakeEncoder:
    """Doubles numbers; each batch waits until the test releases it; 13 breaks its batch."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, list[int]]] = []
        self.gates: list[asyncio.Event] = []
        self.open = False
        self.released_early = 0
        self.on_done = lambda: None

    def __call__(self, key: str, items: list[int]) -> asyncio.Task[list[int]]:
        self.batches.append((key, items))
        gate = asyncio.Event()
        self.gates.append(gate)
        task = asyncio.create_task(self._encode(items, gate))
        task.add_done_callback(lambda _: self.on_done())
        return task

    async def _encode(self, items: list[int], gate: asyncio.Event) -> list[int]:
        try:
            if not self.open:
                await gate.wait()
        except asyncio.CancelledError:
            self.released_early += 1
            raise
        if 13 in items:
            raise ValueError("13 cannot be encoded")
        return [2 * item for item in items]

    def release(self, index: int) -> None:
        self.gates[index].set()


class Bench:
    def __init__(self, *, max_batch: int = 4, workers: int = 1, queue_limit: int = 8) -> None:
        self.clock, self.observer, self.encoder = Clock(), Observer(), FakeEncoder()
        self.tasks: list[asyncio.Task] = []
        BENCHES.append(self)
        self.batcher: MicroBatcher[str, int, int] = MicroBatcher(
            self.encoder,
            name="encode",
            max_batch=max_batch,
            workers=workers,
            queue_limit=queue_limit,
            observer=self.observer,
            clock=self.clock,
        )

    def submit(self, item: int, key: str = "ground", within: float = 60.0) -> asyncio.Task:
        task = asyncio.create_task(self.batcher.submit(key, item, deadline=self.clock.now + within))
        self.tasks.append(task)
        return task


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


BENCHES: list[Bench] = []


def run(scenario) -> None:
    """Runs it to its end, and everything it left behind: a task nobody holds is collected."""

    async def whole() -> None:
        try:
            await asyncio.wait_for(scenario(), timeout=10)
        finally:
            for bench in BENCHES:
                bench.batcher.close()
                await asyncio.gather(*bench.tasks, return_exceptions=True)
            BENCHES.clear()

    asyncio.run(whole())


async def learn_batch_time(bench: Bench, seconds: float) -> None:
    task = bench.submit(1)
    await settle()
    bench.clock.now += seconds
    bench.encoder.release(len(bench.encoder.gates) - 1)
    await task
