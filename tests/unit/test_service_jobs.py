"""Jobs with made-up builders: those that do not stop, say nonsense, or cannot run at all."""

import asyncio
import json
import sys
import time
from pathlib import Path

import pytest

from service.errors import JobNotFound, JobOver, JobRunning, NotReady
from service.observing.metrics import Metrics
from service.rebuild import jobs as jobs_module
from service.rebuild.builder import Builder, _lines
from service.rebuild.jobs import Jobs
from service.rebuild.orders import RebuildOrder
from service.rebuild.records import KEPT_RECORDS, Job, JobRecords, now
from service.settings import Settings

ORDER = RebuildOrder(update={})
EMBEDDING = json.dumps({"event": "embedding", "done": 1, "total": 4})
STUBBORN = f"""
import signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
print({EMBEDDING!r}, flush=True)
time.sleep(60)
"""
NONSENSE = """
import sys
print("no json"); print("[1]"); print("{"); print("x" * 3_000_000); print('{"event": 5}')
sys.stderr.write("y" * 3_000_000 + "\\n"); sys.stderr.write("last words\\n")
sys.stdout.write('{"event": "unchanged", "version": "v7"}\\n')
"""
LIVE = """
print('{"event": "step", "name": "current_replaced"}', flush=True)
import os, signal
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "gallery").mkdir()
    (tmp_path / "gallery" / "CURRENT.json").write_text('{"version": "v9"}')
    return Settings(
        encoder=tmp_path / "encoder", gallery=tmp_path / "gallery", rebuild_roots=(tmp_path,)
    )


def play(settings, monkeypatch, script, scenario, **options):
    """Runs a scenario with a builder that is a script; gives what it gives."""

    async def run():
        published = []

        async def on_published():
            published.append(True)

        jobs = Jobs(settings, metrics=Metrics(), on_published=on_published, **options)
        await jobs.start()
        try:
            return await scenario(jobs), published
        finally:
            await jobs.stop()

    monkeypatch.setattr(jobs_module, "builder_command", lambda *_: [sys.executable, "-c", script])
    return asyncio.run(run())


async def until(jobs, job, wanted):
    while not wanted(jobs.get(job.id)):
        await asyncio.sleep(0.01)
    return jobs.get(job.id)


def over(job):
    return job.ended is not None


def test_a_builder_that_does_not_listen_is_killed_after_a_patience(settings, monkeypatch):
    async def scenario(jobs):
        job = await jobs.submit(ORDER)
        await until(jobs, job, lambda one: one.state == "embedding")
        with pytest.raises(JobRunning):
            await jobs.submit(ORDER)
        jobs.cancel(job.id)
        jobs.cancel(job.id)
        ended = await until(jobs, job, over)
        with pytest.raises(JobOver):
            jobs.cancel(job.id)
        with pytest.raises(JobNotFound):
            jobs.get("none")
        return ended

    job, published = play(settings, monkeypatch, STUBBORN, scenario, cancel_patience_s=0.2)
    assert (job.state, job.error, published) == ("cancelled", None, [])
    assert JobRecords(settings.jobs_folder).read() == [job]


def test_nonsense_is_passed_over_and_the_log_is_bounded(settings, monkeypatch):
    async def scenario(jobs):
        return await until(jobs, await jobs.submit(ORDER), over)

    job, published = play(settings, monkeypatch, NONSENSE, scenario)
    assert (job.state, job.version, job.published, published) == ("succeeded", "v7", False, [])
    (log,) = settings.jobs_folder.glob("*.log")
    assert log.stat().st_size <= 1_000_000
    assert "last words" in log.read_text()


def test_what_went_live_before_the_builder_died_is_a_success(settings, monkeypatch):
    async def scenario(jobs):
        return await until(jobs, await jobs.submit(ORDER), over)

    job, published = play(settings, monkeypatch, LIVE, scenario)
    assert (job.state, job.version, job.published, published) == ("succeeded", "v9", True, [True])


def test_a_cancelled_job_that_never_started_a_builder(settings, monkeypatch):
    async def scenario(jobs):
        job = await jobs.submit(ORDER)
        jobs.cancel(job.id)
        return await until(jobs, job, over)

    job, _ = play(settings, monkeypatch, "raise SystemExit(3)", scenario)
    assert job.state == "cancelled"


def test_a_builder_that_fails_without_a_word(settings, monkeypatch):
    async def scenario(jobs):
        job = await until(jobs, await jobs.submit(ORDER), over)
        await jobs.stop()
        with pytest.raises(NotReady):
            await jobs.submit(ORDER)
        return job

    job, _ = play(settings, monkeypatch, "raise SystemExit(3)", scenario)
    assert (job.state, job.error.code) == ("failed", "builder_failed")
    assert "exit code 3" in job.error.message


def test_records_are_bounded_over_restarts(settings, monkeypatch):
    records = JobRecords(settings.jobs_folder)
    for number in range(KEPT_RECORDS + 5):
        name = f"20260101T{number:09d}Z-00000000"
        records.write(Job(id=name, state="embedding", created=now(), request={}))

    async def scenario(jobs):
        listed = jobs.newest_first()
        await until(jobs, await jobs.submit(ORDER), over)
        return listed

    listed, _ = play(settings, monkeypatch, "raise SystemExit(3)", scenario)
    assert len(listed) == KEPT_RECORDS
    assert {job.state for job in listed} == {"interrupted"}
    assert listed[0].id > listed[-1].id
    assert len(list(settings.jobs_folder.glob("*Z-*.json"))) in (KEPT_RECORDS, KEPT_RECORDS + 1)


PUBLISHES = """
print('{"event": "published", "version": "v10"}', flush=True)
"""
ODD_NUMBERS = """
import json, sys
for event in (
    {"done": 10**400, "total": 3}, {"done": 1, "total": 10**400}, {"done": -1, "total": 3},
    {"done": 1, "total": 4, "resumed": float("nan"), "tiles_per_s": float("inf"), "eta_s": -5},
):
    print(json.dumps({"event": "embedding", **event}))
print("[" * 100_000)
"""


def test_once_published_a_job_cannot_be_cancelled_and_a_stop_does_not_wait(settings, monkeypatch):
    async def run():
        begun = asyncio.Event()

        async def on_published():
            begun.set()
            await asyncio.sleep(3600)

        jobs = Jobs(settings, metrics=Metrics(), on_published=on_published)
        await jobs.start()
        job = await jobs.submit(ORDER)
        await begun.wait()
        with pytest.raises(JobOver):
            jobs.cancel(job.id)
        await asyncio.wait_for(jobs.stop(), 30)
        return jobs.get(job.id)

    monkeypatch.setattr(
        jobs_module, "builder_command", lambda *_: [sys.executable, "-c", PUBLISHES]
    )
    job = asyncio.run(run())
    assert (job.state, job.version, job.error) == ("succeeded", "v10", None)


def test_a_stop_while_an_order_is_looked_at_starts_no_builder(settings, monkeypatch):
    async def scenario(jobs):
        asked = asyncio.create_task(jobs.submit(ORDER))
        await asyncio.sleep(0)
        await jobs.stop()
        with pytest.raises(NotReady):
            await asked
        return jobs.newest_first()

    known, _ = play(settings, monkeypatch, PUBLISHES, scenario)
    assert known == []


def test_odd_numbers_of_a_builder_are_left_out(settings, monkeypatch):
    async def scenario(jobs):
        return await until(jobs, await jobs.submit(ORDER), over)

    job, _ = play(settings, monkeypatch, ODD_NUMBERS, scenario)
    told = job.progress
    assert (told.done, told.total, told.resumed, told.tiles_per_s, told.eta_s) == (1, 4, 0, 0, None)
    assert job.error.code == "builder_failed"


def test_a_listener_that_fails_does_not_stop_the_reading(tmp_path, caplog):
    script = 'for _ in range(20_000): print(\'{"event": "x"}\')'

    async def run():
        builder = await Builder.start([sys.executable, "-c", script], {}, log=tmp_path / "log")
        return await asyncio.wait_for(builder.listen(lambda _: 1 / 0), 60)

    assert asyncio.run(run()) == 0
    assert [record.message for record in caplog.records] == ["builder_event_failed"]


def test_what_a_builder_leaves_running_ends_with_it(tmp_path):
    heard = []

    async def run():
        script = 'sleep 300 & echo \'{"event": "pid", "pid": \'$!\'}\''
        builder = await Builder.start(["/bin/sh", "-c", script], {}, log=tmp_path / "log")
        await builder.listen(heard.append)

    asyncio.run(run())
    ((pid,),) = [[event["pid"] for event in heard]]
    give_up = time.monotonic() + 30
    while not is_gone(pid):
        assert time.monotonic() < give_up
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    """Ended; whoever inherited it may not have asked for its end yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_of_a_line_that_is_too_long_no_part_is_taken_for_a_line():
    async def run():
        stream = asyncio.StreamReader(limit=100)

        async def feed():
            stream.feed_data(b"x" * 150)
            await asyncio.sleep(0.01)
            stream.feed_data(b"its end\nnext\n" + b"y" * 300 + b"\nlast")
            stream.feed_eof()

        feeding = asyncio.create_task(feed())
        lines = [line async for line in _lines(stream)]
        await feeding
        return lines

    assert asyncio.run(run()) == [b"next\n", b"last"]
