"""The micro-batcher where it gets tight: overload, failed batches, callers that leave, its end."""

import asyncio

import pytest

from service.batching.micro_batcher import MicroBatcher
from service.errors import DeadlineExceeded, NotReady, Overloaded
from tests.batcher_bench import Bench, learn_batch_time, run, settle


def test_an_item_whose_caller_leaves_as_its_turn_comes_does_not_run() -> None:
    async def scenario() -> None:
        bench = Bench(max_batch=1)
        bench.encoder.on_done = lambda: gone.cancel()  # just before the next batch is made up
        running = bench.submit(0)
        await settle()
        gone, stays = bench.submit(1), bench.submit(2)
        await settle()
        bench.encoder.open = True
        bench.encoder.release(0)
        await running
        assert (await stays).result == 4
        assert bench.observer.counts == {"cancelled": 1}
        assert [items for _, items in bench.encoder.batches] == [[0], [2]]

    run(scenario)


def test_items_of_a_failed_batch_run_on_every_free_worker_and_keep_their_deadlines() -> None:
    async def scenario() -> None:
        bench = Bench(max_batch=4, workers=2)
        bad, late, early, gone = (
            bench.submit(13),
            bench.submit(1, within=5),
            bench.submit(2),
            bench.submit(3),
        )
        await settle()
        bench.clock.now += 6
        gone.cancel()
        bench.encoder.release(0)
        await settle()
        assert [items for _, items in bench.encoder.batches[1:]] == [[13], [2]]
        bench.encoder.release(1)
        bench.encoder.release(2)
        assert (await early).result == 4
        with pytest.raises(ValueError, match="13"):
            await bad
        with pytest.raises(DeadlineExceeded):
            await late

    run(scenario)


def test_items_of_a_failed_batch_go_before_those_that_came_later() -> None:
    async def scenario() -> None:
        bench = Bench(max_batch=2)
        first = [bench.submit(13), bench.submit(1)]
        await settle()
        later = [bench.submit(2), bench.submit(3)]
        await settle()
        bench.encoder.open = True
        bench.encoder.release(0)
        await asyncio.gather(*first, *later, return_exceptions=True)
        assert [items for _, items in bench.encoder.batches] == [[13, 1], [13], [1], [2, 3]]

    run(scenario)


def test_the_first_run_is_learned_from_before_it_ends() -> None:
    async def scenario() -> None:
        bench = Bench(max_batch=1)
        bench.submit(1)
        await settle()
        assert bench.batcher.expected_wait_s() == 0.0
        bench.clock.now += 3
        bench.submit(2)
        await settle()
        assert bench.batcher.expected_wait_s() == 3.0  # the queued one, as long as the first by now
        with pytest.raises(Overloaded):
            await bench.batcher.submit("ground", 3, deadline=bench.clock.now + 5)

    run(scenario)


def test_the_wait_shrinks_while_the_run_before_it_goes_on_and_grows_when_it_is_overdue() -> None:
    async def scenario() -> None:
        bench = Bench(max_batch=1)
        await learn_batch_time(bench, 2.0)
        bench.submit(1)
        await settle()
        waits = []
        for _ in range(4):
            waits.append(bench.batcher.expected_wait_s())
            bench.clock.now += 1.0
        assert waits == [2.0, 1.0, 0.0, 1.0]

    run(scenario)


def test_full_batches_are_waited_for_and_a_half_full_one_is_joined() -> None:
    async def scenario() -> None:
        bench = Bench(max_batch=2, queue_limit=20)
        await learn_batch_time(bench, 1.0)
        bench.submit(0)
        await settle()
        for item in (1, 2, 3):
            bench.submit(item)
        await settle()
        assert bench.batcher.expected_wait_s("ground") == 2.0  # the running one and (1, 2)
        assert bench.batcher.expected_wait_s("drone") == 3.0

    run(scenario)


def test_a_queue_that_stays_is_kept_short_but_a_burst_may_fill_it() -> None:
    async def scenario() -> None:
        bench = Bench(max_batch=1, queue_limit=50)
        await learn_batch_time(bench, 0.15)
        burst = [bench.submit(item) for item in range(7)]
        await settle()
        assert not any(task.done() for task in burst)
        with pytest.raises(Overloaded):  # not even a burst may make anyone wait for long
            await bench.batcher.submit("ground", 1, deadline=bench.clock.now + 60)
        bench.clock.now += 1.5
        with pytest.raises(Overloaded) as refusal:
            await bench.batcher.submit("ground", 1, deadline=bench.clock.now + 60)
        assert refusal.value.reason == "encode_wait_too_long"
        bench.encoder.open = True
        bench.encoder.release(1)
        await asyncio.gather(*burst)
        calm = [bench.submit(item) for item in range(5)]
        assert [(await task).result for task in calm] == [2 * item for item in range(5)]

    run(scenario)


def test_closing_fails_what_waits_and_leaves_no_task_behind() -> None:
    async def scenario() -> None:
        bench = Bench(max_batch=1)
        tasks = [bench.submit(1), bench.submit(2)]
        await settle()
        bench.batcher.close()
        for task in tasks:
            with pytest.raises(NotReady):
                await task
        with pytest.raises(NotReady):
            await bench.batcher.submit("ground", 3, deadline=bench.clock.now + 60)
        await settle()
        assert bench.encoder.released_early == 1

    run(scenario)


def test_a_run_that_cannot_even_be_started_fails_its_items() -> None:
    async def scenario() -> None:
        bench = Bench()

        def refuse(*_: object) -> asyncio.Future[list[int]]:
            raise RuntimeError("no threads left")

        batcher: MicroBatcher[str, int, int] = MicroBatcher(
            refuse, name="encode", queue_limit=8, observer=bench.observer, clock=bench.clock
        )
        with pytest.raises(RuntimeError, match="no threads"):
            await batcher.submit("ground", 1, deadline=bench.clock.now + 60)

    run(scenario)


def test_items_of_another_key_keep_their_place_before_those_that_came_later() -> None:
    async def scenario() -> None:
        bench = Bench(max_batch=2, queue_limit=20)
        tasks = [bench.submit(0)]
        await settle()
        tasks += [
            bench.submit(item, key)
            for item, key in enumerate(["ground", "drone", "ground", "drone", "drone"], start=1)
        ]
        await settle()
        bench.encoder.open = True
        bench.encoder.release(0)
        await asyncio.gather(*tasks)
        assert [items for _, items in bench.encoder.batches] == [[0], [1, 3], [2, 4], [5]]

    run(scenario)
