"""Shards of this process that hang, are damaged, or are asked while everything ends."""

import shutil
import threading
import time
from concurrent.futures import wait
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from crossfix.errors import GalleryCorrupt, GalleryError
from crossfix.gallery import version_directory
from crossfix.sharded_gallery_fan_out import collect_answers
from crossfix.sharded_gallery_manifest import EpochManifest, read_epoch, shard_root
from service.galleries.daemon_pool import DaemonPool
from service.galleries.shards import local_opening, local_shards, patience, reopening
from service.galleries.shards.local_shards import LocalShards
from service.galleries.shards.shard import OpenShard
from service.galleries.shards.sharded import ShardedServed
from service.galleries.snapshot_loading import Snapshot, run_canary
from tests.sharded_world import SHARDS, ShardedWorld, make_sharded_world
from tests.tiny_encoder import DIM

PATIENCE_S = 30
HUNG = 1


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> ShardedWorld:
    return make_sharded_world(tmp_path_factory.mktemp("local-shards"), 2)


@pytest.fixture
def copied(world, tmp_path) -> tuple[Path, EpochManifest]:
    root = tmp_path / "gallery"
    shutil.copytree(world.root, root)
    return root, read_epoch(root)


def opened(world, *, timeout_s: float = 1.0) -> LocalShards:
    return LocalShards(world.root, read_epoch(world.root), strict=True, timeout_s=timeout_s)


@pytest.fixture
def gate(monkeypatch):
    """Searches in shard `HUNG` wait for it."""
    gate, search = threading.Event(), OpenShard.search

    def hang(self, *arguments):
        if getattr(self, "number", None) == HUNG:
            assert gate.wait(PATIENCE_S)
        return search(self, *arguments)

    def collect(asked, *, timeout_s):  # on a busy machine the others may take as long as they like
        wait([one for number, one in asked.items() if number != HUNG], PATIENCE_S)
        return collect_answers(asked, timeout_s=timeout_s)

    monkeypatch.setattr(OpenShard, "search", hang)
    monkeypatch.setattr(local_shards, "collect_answers", collect)
    yield gate
    gate.set()


def numbered(caller: LocalShards) -> LocalShards:
    for number, shard in caller._shards.items():
        shard.number = number
    return caller


def search(caller, **how):
    query = np.full((1, DIM), DIM**-0.5, np.float32)
    return caller.ask("search", dict.fromkeys(range(SHARDS), (query, 3, None)), **how)


def wait_until(is_so) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_a_shard_that_hangs_costs_one_late_answer_and_nothing_of_the_others(world, gate, caplog):
    caller = numbered(opened(world))
    with caplog.at_level("INFO", "service.event"):
        told = search(caller)
        assert told.failures == {HUNG: "no answer within 1.0 s"}
        assert caller.lost == told.failures
        for _ in range(5 * SHARDS):
            again = search(caller, timeout_s=PATIENCE_S)  # and yet nobody waits
            assert sorted(again.answers) == [n for n in range(SHARDS) if n != HUNG]
        gate.set()
        wait_until(lambda: not caller.lost)
    assert sorted(search(caller, timeout_s=PATIENCE_S).answers) == list(range(SHARDS))
    assert [record.message for record in caplog.records] == ["shard_lost", "shard_back"]
    caller.close()


def test_photos_that_hang_together_leave_the_other_shards_their_threads(world, gate):  # noqa: ARG001
    caller = numbered(opened(world))
    told = []
    asking = [
        threading.Thread(target=lambda: told.append(search(caller))) for _ in range(4 * SHARDS)
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(PATIENCE_S)
    assert [HUNG in one.failures for one in told] == [True] * 4 * SHARDS
    assert HUNG in caller.lost
    wait_until(lambda: list(caller.lost) == [HUNG])
    assert len(search(caller, timeout_s=PATIENCE_S).answers) == SHARDS - 1
    caller.close()


def test_a_late_map_tile_does_not_make_its_shard_lost(world, gate):  # noqa: ARG001
    caller = numbered(opened(world))
    assert list(search(caller, timeout_s=0.5).failures) == [HUNG]
    assert caller.lost == {}
    caller.close()


def test_asking_closed_shards_is_a_failure_and_no_exception(world):
    caller = opened(world)
    caller.close()
    caller.close()
    assert search(caller).failures == dict.fromkeys(range(SHARDS), "the gallery was closed")


def damage(root: Path, epoch: EpochManifest, name: str, number: int = HUNG) -> Path:
    shard = epoch.shards[number]
    path = version_directory(shard_root(root, shard), shard.version) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    whole = root / "whole"  # not beside it: nobody sees half of it, or one file more
    whole.write_bytes(content)
    whole.replace(path)
    return path


@pytest.mark.parametrize("name", ["vectors.f16", "tiles.parquet", "manifest.json"])
def test_a_damaged_byte_costs_its_shard_and_the_log_says_where(copied, caplog, name):
    root, epoch = copied
    damage(root, epoch, name)
    with pytest.raises(GalleryError):
        LocalShards(root, epoch, strict=True, timeout_s=5)
    with caplog.at_level("INFO", "service.event"):
        caller = LocalShards(root, epoch, strict=False, timeout_s=5)
    assert list(caller.lost) == [HUNG]
    (record,) = caplog.records
    assert (record.message, record.fields["shard"]) == ("shard_lost", HUNG)
    assert record.fields["reason"] == caller.lost[HUNG]
    assert str(root) in caller.lost[HUNG]
    caller.close()


def test_an_epoch_of_other_shards_is_refused(copied):
    root, epoch = copied
    for number in range(SHARDS):
        damage(root, epoch, "manifest.json", number)
    with pytest.raises(GalleryCorrupt, match="is not the shard"):
        LocalShards(root, epoch, strict=False, timeout_s=5)


def test_a_damaged_shard_is_read_again_when_its_files_have_changed(copied, monkeypatch):
    root, epoch = copied
    path = damage(root, epoch, "vectors.f16")
    monkeypatch.setattr(local_shards, "_LOOK_AGAIN_S", 0.01)
    read, looked, open_shard, is_due = [], [], local_opening.open_shard, reopening.Reopening.is_due
    monkeypatch.setattr(
        local_opening, "open_shard", lambda *a, **k: read.append(1) or open_shard(*a, **k)
    )
    monkeypatch.setattr(
        reopening.Reopening, "is_due", lambda self: looked.append(1) or is_due(self)
    )
    caller = LocalShards(root, epoch, strict=False, timeout_s=5)
    wait_until(lambda: len(looked) > 10)
    assert len(read) == SHARDS
    damage(root, epoch, "vectors.f16")
    wait_until(lambda: not caller.lost)
    assert path.stat().st_size
    assert len(read) == SHARDS + 1
    caller.close()


def test_pauses_before_a_shard_is_read_again_double_up_to_ten_minutes(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(reopening.time, "monotonic", lambda: now[0])
    plan, pauses = reopening.Reopening(tmp_path), []
    for _ in range(8):
        began = now[0]
        while not plan.is_due():
            now[0] += 1
        pauses.append(now[0] - began)
        plan.note_failure()
    assert pauses == [20, 40, 80, 160, 320, 600, 600, 600]


def test_a_slow_first_search_is_waited_for_by_the_canary(world, gate):
    caller = numbered(opened(world))
    served = ShardedServed(read_epoch(world.root), caller)
    snapshot = Snapshot(world.encoder, served, "v")
    with pytest.raises(GalleryError, match=r"1 of 4 shards .* did not answer the canary") as caught:
        run_canary(snapshot, timeout_s=0.5)
    assert not isinstance(caught.value, GalleryCorrupt)
    run_canary(snapshot, strict=False, timeout_s=0.5)
    threading.Timer(0.3, gate.set).start()
    run_canary(snapshot)
    assert caller.lost == {}
    caller.close()


@pytest.fixture
def failing(monkeypatch):
    """Shards whose searches fail; `probes` counts those for nothing in particular."""
    told = SimpleNamespace(shards=set(), probes=0, searches=0)
    search, probe = OpenShard.search, OpenShard.probe

    def fail(self, *arguments):
        told.searches += 1
        if self in told.shards:
            raise OSError("stale file handle")
        return search(self, *arguments)

    def count(self):
        told.probes += self in told.shards
        probe(self)

    monkeypatch.setattr(OpenShard, "search", fail)
    monkeypatch.setattr(OpenShard, "probe", count)
    monkeypatch.setattr(patience, "_LONGEST_PAUSE_S", 0.2)
    monkeypatch.setattr(local_shards, "_DOUBTED_LOOK_S", 0.02)
    return told


def test_a_shard_that_always_fails_is_lost_until_a_search_succeeds(world, failing, caplog):
    caller = opened(world, timeout_s=PATIENCE_S)
    served = ShardedServed(read_epoch(world.root), caller)
    failing.shards.add(caller._shards[HUNG])
    with caplog.at_level("INFO", "service.event"):
        for turn in range(20):
            found = served.search(np.full((1, DIM), DIM**-0.5, np.float32), 3)
            assert found.reach.shards_missing == 1
            assert (HUNG in served.lost_shards) is (turn >= patience.FAILURES_IN_A_ROW - 1)
        wait_until(lambda: failing.probes > 3)
        assert served.lost_shards == (HUNG,)
        failing.shards.clear()
        wait_until(lambda: not served.lost_shards)
    assert search(caller).failures == {}
    kept = [(one.message, one.fields.get("reason")) for one in caplog.records]
    assert kept == [
        ("shard_failed", "OSError: stale file handle"),
        ("shard_lost", "OSError: stale file handle"),
        ("shard_back", None),
    ]
    served.close()


def test_a_photo_that_a_shard_fails_on_does_not_cost_the_others_the_shard(world, failing):
    caller = opened(world, timeout_s=PATIENCE_S)
    shard = caller._shards[HUNG]
    for _ in range(3):
        failing.shards.add(shard)
        for _ in range(patience.FAILURES_IN_A_ROW - 1):
            assert HUNG in search(caller).failures
        failing.shards.clear()
        assert search(caller).failures == {}
    assert caller.lost == {}
    caller.close()


def test_shards_whose_disks_come_back_at_once_are_all_taken(world, monkeypatch):
    caller, together = opened(world), threading.Barrier(2)
    shards = dict(caller._shards)
    caller._pools = {number: caller._pools[number] for number in (0, 1)}
    caller._shards = {number: shards[number] for number in (0, 1)}
    caller.lost = {2: "its disk hangs", 3: "its disk hangs"}
    make = DaemonPool

    def make_together(*how):
        together.wait(PATIENCE_S)
        return make(*how)

    monkeypatch.setattr(local_shards, "DaemonPool", make_together)
    coming = [
        threading.Thread(target=caller._note_opened, args=(number, shards[number]))
        for number in caller.lost
    ]
    for thread in coming:
        thread.start()
    for thread in coming:
        thread.join(PATIENCE_S)
    assert caller.lost == {}
    told = caller.ask("count_in", dict.fromkeys(range(SHARDS), (None,)), timeout_s=PATIENCE_S)
    assert sorted(told.answers) == list(range(SHARDS))
    caller.close()


def test_a_probe_that_overtakes_the_doubt_does_not_leave_the_shard_lost(world):
    caller = opened(world, timeout_s=PATIENCE_S)
    lock, doubting = caller._lock, threading.current_thread()

    class LetsTheProbePass:
        def __enter__(self):
            lock.acquire()

        def __exit__(self, *_problem):
            lock.release()
            if threading.current_thread() is doubting:
                caller._watcher.wake()
                wait_until(lambda: not caller._doubted)

    caller._lock = LetsTheProbePass()
    caller._doubt(HUNG, "it was late")
    assert caller.lost == {}
    caller.close()


def test_a_shard_that_cannot_be_searched_is_not_opened(world, monkeypatch):
    def fail(*_arguments):
        raise OSError("stale file handle")

    monkeypatch.setattr(OpenShard, "search", fail)
    with pytest.raises(GalleryError, match="cannot be opened: stale file handle"):
        opened(world)


def test_pauses_of_a_shard_in_doubt_double_up_to_a_minute_and_are_forgiven(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(patience.time, "monotonic", lambda: now[0])
    probation, pauses = patience.Probation(), []
    for _ in range(9):
        probation.note_trouble()
        began = now[0]
        while not probation.is_over():
            now[0] += 1
        pauses.append(now[0] - began)
    assert pauses == [0, 1, 2, 4, 8, 16, 32, 60, 60]
    now[0] += 1000
    probation.note_trouble()
    assert probation.is_over()


def test_threads_that_hang_do_not_keep_the_process_and_closed_ones_end():
    gate = threading.Event()
    pool = DaemonPool(2, "k-pool")
    hung = [pool.submit(gate.wait) for _ in range(2)]
    queued = pool.submit(lambda: 1 / 0)
    mine = [thread for thread in threading.enumerate() if thread.name == "k-pool"]
    assert len(mine) == 2
    assert all(thread.daemon for thread in mine)
    pool.close()
    with pytest.raises(RuntimeError):
        pool.submit(gate.wait)
    gate.set()
    assert all(one.result(PATIENCE_S) for one in hung)
    with pytest.raises(ZeroDivisionError):
        queued.result(PATIENCE_S)
    for thread in mine:
        thread.join(PATIENCE_S)
    assert not any(thread.is_alive() for thread in mine)
