"""What gauges, readiness and counters say of shards: at start, lost, failing, back, switched."""

import time

import httpx
import pytest

from crossfix.sharded_gallery import ShardedGallery
from service.galleries.shards import local_shards, patience
from service.galleries.shards.shard import OpenShard
from service.observing.metrics import Metrics
from tests.service_world import jpeg, serve
from tests.sharded_world import SHARDS, make_sharded_world

PATIENCE_S = 30
UNHURRIED = {"shard_timeout_s": 20.0, "deadline_s": 25.0}  # nobody is late on a busy machine


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_sharded_world(tmp_path_factory.mktemp("gauges"), 2, 3)


@pytest.fixture
def failing(monkeypatch):
    """First tiles' ids of the shards whose searches fail."""
    ids, search = set(), OpenShard.search

    def fail(self, *arguments):
        if self._gallery.tiles.ids[0] in ids:
            raise OSError("stale file handle")
        return search(self, *arguments)

    monkeypatch.setattr(OpenShard, "search", fail)
    monkeypatch.setattr(patience, "_LONGEST_PAUSE_S", 0.2)
    monkeypatch.setattr(local_shards, "_DOUBTED_LOOK_S", 0.02)
    return ids


def first_ids(world, number: int) -> list[str]:
    with ShardedGallery.open(world.root, epoch=world.epochs[number]) as gallery:
        return [gallery.shards[shard].tiles.ids[0] for shard in range(SHARDS)]


def gauges(base: str) -> dict[str, float]:
    lines = [line.split() for line in httpx.get(f"{base}/metrics").text.splitlines()]
    return {line[0]: float(line[1]) for line in lines if line[0].startswith("crossfix_")}


def ask(base: str) -> int:
    return httpx.post(
        f"{base}/localize", params={"view": "drone"}, content=jpeg(300),
        headers={"Content-Type": "image/jpeg"},
    ).status_code  # fmt: skip


def wait_until(is_so) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def check(base: str, *, answering: int, partial: int) -> None:
    told = gauges(base)
    assert told["crossfix_shards"] == SHARDS
    assert told["crossfix_shards_answering"] == answering
    assert told["crossfix_partial_answers_total"] == partial
    assert told["crossfix_ready"] == (answering > 0)
    ready = httpx.get(f"{base}/readyz")
    if not answering:
        assert ready.status_code == 503
        return
    body = ready.json()
    assert (body["shards_total"], body["shards_answering"]) == (SHARDS, answering)
    assert body["status"] == ("ready" if answering == SHARDS else "degraded")


def test_before_anything_is_loaded_no_shard_answers():
    text = Metrics().render().decode()
    for line in ("crossfix_shards 0.0", "crossfix_shards_answering 0.0", "crossfix_ready 0.0"):
        assert line in text


def test_every_state_of_the_shards_is_told(world, failing):
    world.point_to(3)
    with serve(world.settings(reload_interval_s=0.05, **UNHURRIED)) as base:
        check(base, answering=SHARDS, partial=0)
        ids = first_ids(world, 3)
        failing.add(ids[1])
        for _ in range(patience.FAILURES_IN_A_ROW + 2):
            assert ask(base) == 200
        partial = patience.FAILURES_IN_A_ROW + 2
        check(base, answering=SHARDS - 1, partial=partial)
        failing.update(ids)
        answers = [ask(base) for _ in range(patience.FAILURES_IN_A_ROW)]
        assert set(answers) == {503}
        check(base, answering=0, partial=partial)
        failing.clear()
        wait_until(lambda: gauges(base)["crossfix_shards_answering"] == SHARDS)
        check(base, answering=SHARDS, partial=partial)
        failing.add(ids[0])
        for _ in range(patience.FAILURES_IN_A_ROW):
            assert ask(base) == 200
        partial += patience.FAILURES_IN_A_ROW
        check(base, answering=SHARDS - 1, partial=partial)
        world.point_to(2)
        wait_until(lambda: httpx.get(f"{base}/readyz").json()["gallery_version"] == world.epochs[2])
        check(base, answering=SHARDS, partial=partial)
