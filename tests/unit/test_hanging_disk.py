"""A disk that hangs while shards are opened: waited for so long, told, and no longer."""

import threading
import time
from concurrent.futures import wait

import httpx
import pytest

from crossfix.errors import GalleryError
from crossfix.sharded_gallery_manifest import read_epoch
from service.galleries import file_states, hanging_calls, opening, snapshot
from service.galleries.shards import local_opening, patience, reopening
from service.galleries.shards.local_shards import LocalShards
from tests.service_world import jpeg, serve
from tests.sharded_world import SHARDS, make_sharded_world

PATIENCE_S = 30
UNHURRIED = {"shard_timeout_s": 20.0, "deadline_s": 25.0}  # nobody is late on a busy machine
HUNG = 2


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_sharded_world(tmp_path_factory.mktemp("hanging"), 2, 3)


class Disk:
    """That of one shard: whoever touches it waits until it is back.

    Attributes:
        opening: the calls that open the shard, also from this disk.
    """

    def __init__(self, world) -> None:
        epoch = read_epoch(world.root, world.epochs[3])
        entry = epoch.shards[HUNG]
        self.place = f"{entry.directory}/versions/{entry.version}"
        self.back, self.touched, self.opening = threading.Event(), [], set()

    def touch(self, what, path) -> None:
        if str(path).endswith(self.place) and not self.back.is_set():
            self.touched.append(what)
            assert self.back.wait(PATIENCE_S)

    def wait(self, opening, timeout_s, when):
        """As `concurrent.futures.wait`; a busy machine may take its time with the other shards."""
        others = {one for one in opening if self.back.is_set() or one not in self.opening}
        if not others:
            return wait(opening, timeout_s, when)
        done, _ = wait(others, PATIENCE_S, when)
        return done, opening - done


@pytest.fixture
def disk(world, monkeypatch):
    disk = Disk(world)
    open_shard, begin = local_opening.open_shard, local_opening.Opener.begin
    read, states = opening._read_shard, file_states.file_states

    def hang_and_open(root, epoch, entry, **how):
        disk.touch("open", root / entry.directory / "versions" / entry.version)
        return open_shard(root, epoch, entry, **how)

    def begin_and_know(opener, number):
        future = begin(opener, number)
        if str(opener.folder(number)).endswith(disk.place):
            disk.opening.add(future)
        return future

    def hang_and_read(folder):
        disk.touch("read", folder)
        return read(folder)

    def hang_and_look(paths):
        for path in paths:
            disk.touch("look", path)
        return states(paths)

    monkeypatch.setattr(local_opening, "open_shard", hang_and_open)
    monkeypatch.setattr(local_opening, "wait", disk.wait)
    monkeypatch.setattr(local_opening.Opener, "begin", begin_and_know)
    monkeypatch.setattr(opening, "_read_shard", hang_and_read)
    monkeypatch.setattr(snapshot, "file_states", hang_and_look)
    monkeypatch.setattr(reopening, "file_states", hang_and_look)
    for module in (opening, snapshot, reopening):
        monkeypatch.setattr(module, "_LOOK_WITHIN_S", 0.1)
    monkeypatch.setattr(patience, "OPENED_WITHIN_S", 0.5)
    monkeypatch.setattr(patience, "OPEN_S_PER_TILE", 0.0)
    monkeypatch.setattr(patience, "STRAGGLER_S", 0.3)
    yield disk
    disk.back.set()
    wait_until(lambda: not hanging_calls._begun)


def wait_until(is_so) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def hanging_threads() -> int:
    return [one.name for one in threading.enumerate()].count("may-hang")


def test_a_start_goes_on_without_the_shard_and_takes_it_when_the_disk_is_back(world, disk, caplog):
    with caplog.at_level("INFO", "service.event"):
        caller = LocalShards(world.root, read_epoch(world.root), strict=False, timeout_s=PATIENCE_S)
        assert list(caller.lost) == [HUNG]
        assert "was not open after" in caller.lost[HUNG]
        told = caller.ask("count_in", dict.fromkeys(range(SHARDS), (None,)))
        assert sorted(told.answers) == [number for number in range(SHARDS) if number != HUNG]
        disk.back.set()
        wait_until(lambda: not caller.lost)
    assert len(caller.ask("count_in", dict.fromkeys(range(SHARDS), (None,))).answers) == SHARDS
    names = [record.message for record in caplog.records]
    assert [name for name in names if name != "shards_open_slowly"] == ["shard_lost", "shard_back"]
    caller.close()


def test_a_switch_is_refused_and_hangs_in_one_thread_however_often_it_is_tried(world, disk):
    epoch = read_epoch(world.root)
    for _ in range(3):
        with pytest.raises(GalleryError, match=r"shard 2: .* was not open after .* disk hang"):
            LocalShards(world.root, epoch, strict=True, timeout_s=PATIENCE_S)
    assert disk.touched == ["open"]
    wait_until(lambda: hanging_threads() == 1)  # those that opened the others have ended
    disk.back.set()
    LocalShards(world.root, epoch, strict=True, timeout_s=PATIENCE_S).close()


def test_the_old_epoch_serves_on_and_readiness_and_metrics_tell(world, disk):
    world.point_to(2)
    with serve(world.settings(reload_interval_s=0.05, **UNHURRIED)) as base:
        world.point_to(3)
        wait_until(lambda: ready(base)["last_reload_failure"])
        assert ready(base)["last_reload_failure"] == "gallery_error"
        assert (ready(base)["status"], ready(base)["gallery_version"]) == ("ready", world.epochs[2])
        metrics = httpx.get(f"{base}/metrics").text
        for line in ("crossfix_reload_failing 1.0", f"crossfix_shards_answering {SHARDS}.0",
                     'crossfix_reload_results_total{result="gallery_error"}'):  # fmt: skip
            assert line in metrics
        answer = httpx.post(
            f"{base}/localize", params={"view": "drone"}, content=jpeg(200),
            headers={"Content-Type": "image/jpeg"},
        )  # fmt: skip
        assert answer.json()["gallery"]["shards_answered"] == SHARDS
        wait_until(lambda: {"open", "read", "look"} <= set(disk.touched))
        wait_until(lambda: hanging_threads() <= 3)  # the next try's look at other shards' files
        disk.back.set()
        wait_until(lambda: ready(base)["gallery_version"] == world.epochs[3])
        assert ready(base)["last_reload_failure"] == ""


def ready(base: str) -> dict:
    return httpx.get(f"{base}/readyz").json()


def test_what_a_call_that_may_hang_answers_or_raises_comes_back():
    assert hanging_calls.call_within("one", lambda: 7, timeout_s=PATIENCE_S) == 7
    with pytest.raises(ZeroDivisionError):
        hanging_calls.call_within("two", lambda: 1 / 0, timeout_s=PATIENCE_S)
    gate = threading.Event()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            hanging_calls.call_within("three", gate.wait, timeout_s=0.01)
    gate.set()
    wait_until(lambda: "three" not in hanging_calls._begun)
