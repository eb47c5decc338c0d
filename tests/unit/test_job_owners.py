"""Several services with one folder of records: nobody spoils another's running job."""

import asyncio
import os
import subprocess
import sys

import pytest

from service.errors import JobOver
from service.observing.metrics import Metrics
from service.rebuild import jobs as jobs_module
from service.rebuild.jobs import Jobs
from service.rebuild.orders import RebuildOrder
from service.rebuild.owners import SILENT_S, Owners
from service.rebuild.records import LOCK_ENDING, Job, JobRecords, now
from service.settings import Settings

ORDER = RebuildOrder(update={})
NAME = "20260101T000000000Z-00000000"
WAITS = """
import sys
print('{"event": "embedding", "done": 1, "total": 4}', flush=True)
sys.stdin.readline()
"""
DIES_HOLDING_A_LOCK = """
import os, sys
from pathlib import Path
from service.rebuild.owners import Owners
from service.rebuild.records import JobRecords
lock = Owners(JobRecords(Path(sys.argv[1]))).hold(sys.argv[2])
print("held", flush=True)
sys.stdin.readline()
os._exit(1)
"""


@pytest.fixture
def settings(tmp_path, monkeypatch):
    (tmp_path / "gallery").mkdir()
    monkeypatch.setattr(jobs_module, "builder_command", lambda *_: [sys.executable, "-c", WAITS])
    monkeypatch.setattr(jobs_module, "LOOK_EVERY_S", 0.02)
    return Settings(
        encoder=tmp_path / "encoder", gallery=tmp_path / "gallery", rebuild_roots=(tmp_path,)
    )


async def nothing():
    return None


def make(settings):
    return Jobs(settings, metrics=Metrics(), on_published=nothing, cancel_patience_s=0.1)


async def until(jobs, job, wanted):
    while job.id not in {one.id for one in jobs.newest_first()} or not wanted(jobs.get(job.id)):
        await asyncio.sleep(0.01)
    return jobs.get(job.id)


def test_a_second_service_leaves_the_first_ones_running_job_alone_and_sees_its_end(settings):
    async def run():
        first, second = make(settings), make(settings)
        await first.start()
        job = await first.submit(ORDER)
        await until(first, job, lambda one: one.state == "embedding")
        await second.start()
        assert not second.get(job.id).is_over
        await until(second, job, lambda one: one.progress.done == 1)
        with pytest.raises(JobOver, match="another service"):
            second.cancel(job.id)
        first.cancel(job.id)
        assert (await until(second, job, lambda one: one.is_over)).state == "cancelled"
        assert first.get(job.id) == second.get(job.id)
        later = await second.submit(ORDER)
        assert not (await until(first, later, lambda one: one.progress.done == 1)).is_over
        await second.stop()
        assert (await until(first, later, lambda one: one.is_over)).state == "interrupted"
        await first.stop()
        return first._metrics.render().decode() + second._metrics.render().decode()

    text = asyncio.run(asyncio.wait_for(run(), 60))
    assert text.count('crossfix_jobs_total{state="interrupted"} 1.0') == 1, "counted by its owner"
    assert text.count('crossfix_jobs_total{state="failed"} 0.0') == 2, "the first failure is a rise"
    assert list(settings.jobs_folder.glob(f"*{LOCK_ENDING}")) == []


def test_a_job_is_interrupted_once_the_process_that_ran_it_is_gone(settings):
    records = JobRecords(settings.jobs_folder)
    words = [sys.executable, "-c", DIES_HOLDING_A_LOCK, str(settings.jobs_folder), NAME]
    owner = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert owner.stdout.readline() == b"held\n"
    job = Job(id=NAME, state="embedding", created=now(), request={})
    records.write(job)

    async def run():
        jobs = [make(settings) for _ in range(3)]
        for one in jobs:
            await one.start()
            assert one.get(NAME).state == "embedding"
        await asyncio.sleep(0.2)
        assert {one.get(NAME).state for one in jobs} == {"embedding"}
        owner.communicate(b"\n")
        for one in jobs:
            assert (await until(one, job, lambda told: told.is_over)).state == "interrupted"
            await one.stop()
        return [one._metrics.render().decode() for one in jobs]

    counted = 'crossfix_jobs_total{state="interrupted"} 1.0'
    texts = asyncio.run(asyncio.wait_for(run(), 60))
    assert sum(counted in text for text in texts) == 1, "told by one of those that are left"
    assert records.read_one(NAME).error.code == "service_stopped"


def test_a_lock_that_another_machine_does_not_see_counts_by_its_signs_of_life(tmp_path):
    records, time_s = JobRecords(tmp_path), [0.0]
    lock = Owners(records, machine="one").hold(NAME)
    lock.handle.close()  # as if this file system kept locks on each machine
    other = Owners(records, machine="other", clock=lambda: time_s[0])
    for turn in range(1, 6):
        assert other.take_orphan(NAME) is None
        time_s[0] += SILENT_S - 1
        os.utime(lock.path, ns=(turn, turn))
    assert other.take_orphan(NAME) is None
    time_s[0] += SILENT_S + 1
    taken = other.take_orphan(NAME)
    assert taken is not None
    assert Owners(records, machine="third").take_orphan(NAME) is None, "held now"
    taken.release()


def test_the_same_machine_needs_no_patience_and_a_folder_that_cannot_be_written_no_lock(tmp_path):
    records = JobRecords(tmp_path)
    Owners(records, machine="one").hold(NAME).handle.close()
    taken = Owners(records, machine="one").take_orphan(NAME)
    assert taken is not None
    taken.release()
    (tmp_path / "file").write_text("")
    nowhere = Owners(JobRecords(tmp_path / "file" / "jobs"))
    assert nowhere.hold(NAME) is None
    assert nowhere.take_orphan(NAME) is None
