"""Actors of a refused epoch, and of shards that answer badly, against a made-up Ray."""

from types import SimpleNamespace

import pytest

from crossfix.errors import GalleryError
from crossfix.sharded_gallery_manifest import read_epoch
from service.galleries.shards import patience, ray_shards
from service.galleries.shards.ray_actor import Trouble
from service.galleries.shards.ray_shards import RayShards
from tests.made_up_ray import Died, everyone, fake_clock, fake_ray, opened
from tests.sharded_world import SHARDS, make_sharded_world


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_sharded_world(tmp_path_factory.mktemp("ray-shards"), 2)


@pytest.fixture
def clock(monkeypatch):
    return fake_clock(monkeypatch)


@pytest.fixture
def ray(monkeypatch):
    return fake_ray(monkeypatch)


def test_a_refused_epoch_leaves_no_lease_and_no_actor_that_waits_for_room(world, ray, clock):  # noqa: ARG001
    first = opened(world)
    ray.late = {3}
    copy = dict(ray.named)
    ray.named.clear()
    with pytest.raises(GalleryError, match="no node has taken it yet"):
        opened(world, strict=True)
    assert ray.killed == [3], "else it would wait for room for ever"
    assert [actor.leases for actor in ray.named.values()] == [set()] * (SHARDS - 1)
    assert all(len(actor.leases) == 1 for actor in copy.values()), "the old epoch's are left alone"
    assert first.lost == {}


def test_actors_that_were_made_before_one_could_not_be_are_let_go(world, ray, clock, monkeypatch):  # noqa: ARG001
    users = []
    monkeypatch.setattr(ray_shards, "let_go", lambda: users.append(-1))
    options = ray._options

    def refuse_the_third(**how):
        if len(ray.made) == 2:
            raise Died("the cluster is gone")
        return options(**how)

    monkeypatch.setattr(ray, "_options", refuse_the_third)
    with pytest.raises(Died):
        opened(world)
    assert ray.killed == [0, 1]
    assert users == [-1]


def test_epochs_have_actors_of_their_own_and_leases_are_one_epochs(tmp_path, ray, clock):  # noqa: ARG001
    world = make_sharded_world(tmp_path, 2, 3)
    settings = world.settings(engine="ray", ray_address="10.0.0.1:6379")
    old, new = (
        RayShards(settings, read_epoch(world.root, world.epochs[number]), strict=True)
        for number in (2, 3)
    )
    assert len(set(ray.made)) == 2 * SHARDS
    old.close()
    kept = [actor for actor in ray.named.values() if actor.leases]
    assert len(kept) == SHARDS
    assert everyone(new).failures == {}


def test_a_shard_whose_searches_always_fail_is_lost_until_a_probe_succeeds(
    world, ray, clock, caplog
):
    shards = opened(world)
    actor, good = ray.actor(2), ray.actor(2).answer
    probes = []

    def fail(name, arguments):
        probes.append(arguments[0]) if arguments and arguments[0] == "probe" else None
        is_search = name == "call" and arguments[0] in ("search", "probe")
        return Trouble("OSError: stale file handle") if is_search else good(name, arguments)

    actor.answer = fail
    with caplog.at_level("INFO", "service.event"):
        for turn in range(10):
            told = shards.ask("search", {2: ()})
            assert told.failures == {2: "OSError: stale file handle"}
            assert (2 in shards.lost) is (turn >= patience.FAILURES_IN_A_ROW - 1)
        for _ in range(600):
            shards.look_after()
            clock.s += ray_shards.LOST_LOOK_S
        assert shards.lost == {2: "OSError: stale file handle"}
        assert 8 < len(probes) < 16, "after pauses that double, up to a minute"
        actor.answer = good
        clock.s += 61
        shards.look_after()
    assert shards.lost == {}
    assert [record.message for record in caplog.records] == ["shard_lost", "shard_back"]


def test_a_shard_that_is_always_late_is_not_asked_by_every_photo(world, ray, clock):
    shards, asked = opened(world), []
    call = ray.actor(1).call.remote
    ray.actor(1).call = SimpleNamespace(remote=lambda *what: asked.append(what[0]) or call(*what))
    wait = ray.wait

    def late_calls(references, **how):
        ready, late = wait(references, **how)
        slow = [one for one in ready if one[1] == "call" and one[0].order.number == 1]
        return [one for one in ready if one not in slow], late + slow

    ray.wait = late_calls
    for _ in range(200):
        everyone(shards)
        shards.look_after()
        clock.s += 0.5
    assert asked.count("count_in") == 1
    assert 5 < asked.count("probe") < 12
    assert list(shards.lost) == [1]
    ray.wait = wait
    clock.s += 61
    shards.look_after()
    assert shards.lost == {}
