"""The micro-batcher, driven by a hand-turned clock and a fake encoder that finishes on demand."""

import asyncio

import pytest

from service.errors import DeadlineExceeded, Overloaded
from tests.batcher_bench import Bench, learn_batch_time, run, settle


def test_an_idle_worker_starts_at_once() -> None:
    async def scenario() -> None:
        bench = Bench()
        task = bench.submit(1)
        await settle()
        assert bench.encoder.batches == [("ground", [1])]
        bench.clock.now += 0.5
        bench.encoder.release(0)
        served = await task
        assert (served.result, served.queue_s, served.run_s) == (2, 0.0, 0.5)

    run(scenario)


def test_items_arriving_together_share_a_batch() -> None:
    async def scenario() -> None:
        bench = Bench()
        tasks = [bench.submit(item) for item in (1, 2, 3)]
        await settle()
        assert bench.encoder.batches == [("ground", [1, 2, 3])]
        bench.encoder.release(0)
        assert [(await task).result for task in tasks] == [2, 4, 6]

    run(scenario)


def test_the_next_batch_forms_while_the_worker_is_busy_and_is_bounded() -> None:
    async def scenario() -> None:
        bench = Bench(max_batch=4, queue_limit=8)
        tasks = [bench.submit(0)]
        await settle()
        for item in range(1, 7):
            tasks.append(bench.submit(item))
            await settle()
        assert len(bench.encoder.batches) == 1
        bench.clock.now += 2
        bench.encoder.open = True
        bench.encoder.release(0)
        served = await asyncio.gather(*tasks)
        assert [s.result for s in served] == [0, 2, 4, 6, 8, 10, 12]
        assert bench.observer.sizes == [1, 4, 2]
        assert served[1].queue_s == 2
        assert max(bench.observer.depths) == 6
        assert bench.observer.depths[-1] == 0

    run(scenario)


def test_batches_never_mix_keys_and_keep_order_within_a_key() -> None:
    async def scenario() -> None:
        bench = Bench(max_batch=8, queue_limit=20)
        tasks = [bench.submit(0)]
        await settle()
        tasks += [
            bench.submit(i, key)
            for i, key in enumerate(["drone", "ground", "drone", "ground", "ground"], start=1)
        ]
        await settle()
        bench.encoder.open = True
        bench.encoder.release(0)
        await asyncio.gather(*tasks)
        assert bench.encoder.batches == [("ground", [0]), ("drone", [1, 3]), ("ground", [2, 4, 5])]

    run(scenario)


def test_workers_run_in_parallel() -> None:
    async def scenario() -> None:
        bench = Bench(max_batch=1, workers=2)
        tasks = [bench.submit(item) for item in (1, 2, 3)]
        await settle()
        assert [items for _, items in bench.encoder.batches] == [[1], [2]]
        bench.encoder.release(1)
        await settle()
        assert [items for _, items in bench.encoder.batches] == [[1], [2], [3]]
        bench.encoder.release(0)
        bench.encoder.release(2)
        assert [(await task).result for task in tasks] == [2, 4, 6]

    run(scenario)


def test_a_full_queue_refuses_and_the_queued_ones_still_finish() -> None:
    async def scenario() -> None:
        bench = Bench(queue_limit=2)
        running = bench.submit(0)
        await settle()
        queued = [bench.submit(1), bench.submit(2)]
        await settle()
        with pytest.raises(Overloaded) as refusal:
            await bench.batcher.submit("ground", 3, deadline=bench.clock.now + 60)
        assert refusal.value.reason == "encode_queue_full"
        bench.encoder.open = True
        bench.encoder.release(0)
        assert [(await task).result for task in (running, *queued)] == [0, 2, 4]

    run(scenario)


def test_a_wait_longer_than_the_deadline_is_refused_at_once() -> None:
    async def scenario() -> None:
        bench = Bench(max_batch=1)
        await learn_batch_time(bench, 2.0)
        bench.submit(1)
        await settle()
        assert bench.batcher.expected_wait_s() == 2.0
        with pytest.raises(Overloaded) as refusal:  # 2 s until a worker is free, 2 s of work
            await bench.batcher.submit("ground", 2, deadline=bench.clock.now + 3.9)
        assert refusal.value.reason == "encode_wait_too_long"
        assert refusal.value.retry_after_s == 2.0
        patient = bench.submit(3, within=4.1)
        await settle()
        assert not patient.done()

    run(scenario)


def test_a_slow_first_batch_never_locks_out_an_idle_worker() -> None:
    async def scenario() -> None:
        bench = Bench(max_batch=1)
        await learn_batch_time(bench, 1000.0)
        bench.encoder.open = True
        assert (await bench.submit(4, within=1.0)).result == 8

    run(scenario)


def test_expired_work_is_dropped_before_it_runs() -> None:
    async def scenario() -> None:
        bench = Bench()
        running = bench.submit(0)
        await settle()
        late, patient = bench.submit(1, within=5), bench.submit(2, within=50)
        await settle()
        bench.clock.now += 5
        bench.encoder.open = True
        bench.encoder.release(0)
        with pytest.raises(DeadlineExceeded):
            await late
        assert (await patient).result == 4
        await running
        assert [items for _, items in bench.encoder.batches] == [[0], [2]]
        assert bench.observer.counts == {"expired": 1}

    run(scenario)


def test_cancelled_work_is_dropped_before_it_runs() -> None:
    async def scenario() -> None:
        bench = Bench()
        running = bench.submit(0)
        await settle()
        gone, stays = bench.submit(1), bench.submit(2)
        await settle()
        gone.cancel()
        await settle()
        assert bench.observer.counts == {"cancelled": 1}
        assert bench.observer.depths[-1] == 1
        bench.encoder.open = True
        bench.encoder.release(0)
        assert (await stays).result == 4
        await running
        assert [items for _, items in bench.encoder.batches] == [[0], [2]]

    run(scenario)


def test_cancelling_running_work_harms_nobody_else() -> None:
    async def scenario() -> None:
        bench = Bench()
        gone, stays = bench.submit(1), bench.submit(2)
        await settle()
        gone.cancel()
        await settle()
        bench.encoder.release(0)
        assert (await stays).result == 4
        bench.encoder.open = True
        assert (await bench.submit(3)).result == 6

    run(scenario)


def test_one_bad_item_fails_alone() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.encoder.open = True
        tasks = [bench.submit(item) for item in (1, 13, 3)]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results[1], ValueError)
        assert [results[0].result, results[2].result] == [2, 6]
        assert bench.observer.sizes == [3, 1, 1, 1]
        assert (await bench.submit(5)).result == 10

    run(scenario)
