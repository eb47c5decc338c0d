"""The caller of Ray's actors against a made-up Ray: lost, hung, gone and back."""

import itertools
import shutil
import sys

import pytest

from crossfix.errors import GalleryCorrupt, GalleryError, InvalidParameter
from crossfix.sharded_gallery_manifest import read_epoch
from service.errors import ClusterUnavailable
from service.galleries.opening import find_candidate, open_candidate
from service.galleries.shards import ray_actor, ray_cluster, ray_keeper, ray_shards
from service.galleries.shards.ray_actor import ShardActor, Trouble
from service.galleries.shards.ray_shards import RayShards
from tests.made_up_ray import Died, Unavailable, everyone, fake_clock, fake_ray, opened
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


def test_every_shard_has_an_actor_that_all_front_doors_share(world, ray, clock):  # noqa: ARG001
    first, second = opened(world), opened(world)
    assert len(ray.made) == len(set(ray.made)) == SHARDS
    assert first.lost == {}
    assert everyone(first).answers == {n: (n, "count_in", (None,)) for n in range(SHARDS)}
    assert len(ray.actor(0).leases) == 2
    first.close()
    first.close()
    assert len(ray.actor(0).leases) == 1
    second.close()
    assert ray.actor(0).leases == set()


def test_a_copy_of_the_gallery_has_actors_that_open_the_copy(world, ray, clock, tmp_path):  # noqa: ARG001
    copy = shutil.copytree(world.root, tmp_path / "copy")
    epoch = read_epoch(world.root)
    for root in (world.root, copy):
        RayShards(world.settings(engine="ray", ray_address="h:1", gallery=root), epoch, strict=True)
    assert len(ray.made) == 2 * SHARDS
    assert {actor.order.root for actor in ray.named.values()} == {world.root, copy}


def test_a_shard_that_fails_is_left_out_until_it_has_answered(world, ray, clock):  # noqa: ARG001
    shards = opened(world)
    ray.actor(2).fate = Unavailable("the actor is away")
    told = everyone(shards)
    assert sorted(told.answers) == [0, 1, 3]
    assert told.failures == {2: "the actor is away"}
    assert shards._watcher.woken == 1
    ray.actor(2).fate = None
    assert everyone(shards).failures == {2: "the actor is away"}, "nobody waits for it"
    assert shards.look_after() == ray_shards.LOOK_S
    assert everyone(shards).failures == {}


def test_a_late_shard_is_lost_but_a_late_map_tile_is_not(world, ray, clock):  # noqa: ARG001
    shards = opened(world)
    ray.late = {1}
    told = shards.ask("paint", {0: (), 1: ()}, timeout_s=10.0)
    assert told.failures == {1: "no answer within 10 s"}
    assert shards.lost == {}
    assert everyone(shards).failures == {1: "no answer within 2 s"}
    assert list(shards.lost) == [1]


def test_a_shard_that_is_still_opening_is_a_trouble_and_not_an_answer(world, ray, clock):  # noqa: ARG001
    shards = opened(world)
    actor = ray.actor(3)
    actor.answer = lambda _name, _arguments: Trouble("it is still being opened")
    assert everyone(shards).failures == {3: "it is still being opened"}
    assert shards._watcher.woken == 1


def test_an_actor_that_ended_for_good_is_made_anew_with_growing_pauses(world, ray, clock):
    shards = opened(world)
    name = ray.made[1]

    def die():
        ray.named.pop(name, None)
        shards._keepers[1].actor.fate = Died("it died\nwith a trace")

    ray.next_fate[1] = Died("again")
    die()
    assert shards.look_after() == ray_shards.LOST_LOOK_S
    assert shards.lost == {1: "it died"}
    tries = []
    for _ in range(400):
        before = len(ray.made)
        shards.look_after()
        if len(ray.made) > before:
            tries.append(clock.s)
            die()
        clock.s += 0.5
    pauses = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert pauses[0] < 5 < pauses[-1] <= ray_keeper.LONGEST_PAUSE_S + 1
    ray.next_fate.clear()
    clock.s += 60
    shards.look_after()
    assert shards.lost == {}


def test_an_actor_that_hangs_is_restarted_once(world, ray, clock):
    shards = opened(world)
    ray.late = {0}
    for _ in range(100):
        shards.look_after()
        clock.s += 1
    assert ray.actor(0).restarts == 1
    assert shards.lost == {0: "its node does not answer"}


def test_a_shard_that_could_not_be_opened_is_told_to_try_again(world, ray, clock, caplog):
    ray.next_fate[2] = ("failed", "vectors.f16 is missing", False)
    with pytest.raises(GalleryError, match=r"1 of 4 shards of epoch .* shard 2: vectors\.f16"):
        opened(world, strict=True)
    shards = opened(world, strict=False)
    assert shards.lost == {2: "vectors.f16 is missing"}
    ray.actor(2).fate = None
    clock.s += 60
    with caplog.at_level("INFO", "service.event"):
        shards.look_after()
    assert shards.lost == {}
    assert [record.message for record in caplog.records] == ["shard_lost", "shard_back"]
    assert caplog.records[0].fields == {"shard": 2, "reason": "vectors.f16 is missing"}


def test_a_shard_that_no_node_takes_is_given_up_after_a_minute(world, ray, clock):
    ray.late = {3}
    with pytest.raises(GalleryError, match="1 of 4 shards"):
        opened(world, strict=True)
    assert clock.s > ray_shards.PLACED_WITHIN_S
    assert opened(world, strict=False).lost == {3: ray_shards.NOT_PLACED}
    ray.late = set(range(SHARDS))
    with pytest.raises(GalleryError, match="4 of 4 shards"):
        opened(world, strict=False)


def test_another_shard_than_the_epochs_is_never_served(world, ray, clock):
    ray.next_fate[1] = ("failed", "its manifest has another checksum", True)
    with pytest.raises(GalleryCorrupt, match="shard 1 on host: its manifest"):
        opened(world, strict=True)
    assert all(not actor.leases for actor in ray.named.values())
    shards = opened(world, strict=False)
    assert everyone(shards).failures == {1: "its manifest has another checksum"}
    asked, answer = [], ray.actor(1).answer
    ray.actor(1).answer = lambda name, arguments: asked.append(name) or answer(name, arguments)
    for _ in range(3):
        clock.s += 60
        shards.look_after()
    assert asked.count("look") == 3
    assert ray.actor(1).told_to_open > 1, "the right files may be there by now"
    ray.actor(1).fate = None
    shards.look_after()
    assert shards.lost == {}


def test_no_shard_of_an_epoch_is_the_epochs(world, ray, clock):  # noqa: ARG001
    for number in range(SHARDS):
        ray.next_fate[number] = ("failed", "its manifest has another checksum", True)
    with pytest.raises(GalleryCorrupt):
        opened(world, strict=False)


def test_a_shard_that_opens_for_ever_holds_the_start_up_for_a_minute(world, ray, clock):
    ray.next_fate[1] = ("opening", "", False)
    shards = opened(world, strict=False)
    assert clock.s == pytest.approx(ray_shards.PLACED_WITHIN_S, abs=2)
    assert shards.lost == {1: "it is being opened"}
    ray.actor(1).fate = None
    shards.look_after()
    assert shards.lost == {}


def test_a_switch_to_a_shard_that_opens_for_ever_is_given_up(world, ray, clock):
    ray.next_fate[1] = ("opening", "", False)
    with pytest.raises(GalleryError, match=r"1 of 4 shards .* shard 1: it is being opened"):
        opened(world, strict=True)
    assert 600 < clock.s < 700
    ray.next_fate = dict.fromkeys(range(SHARDS), ("opening", "", False))
    ray.named.clear()
    with pytest.raises(GalleryError, match="4 of 4 shards"):
        opened(world, strict=False)


def test_an_actor_that_goes_silent_while_it_opens_is_given_up(world, ray, clock):
    ray.next_fate[3] = ("opening", "", False)
    wait = ray.wait

    def wait_and_see(asked, **how):
        if clock.s > 5:
            ray.late = {3}
        return wait(asked, **how)

    ray.wait = wait_and_see
    with pytest.raises(GalleryError, match="shard 3: its node does not answer"):
        opened(world, strict=True)
    assert clock.s < 2 * ray_shards.PLACED_WITHIN_S


def test_the_actors_body_opens_answers_and_keeps_leases(world, monkeypatch):
    monkeypatch.setattr(ray_actor, "_node_id", lambda: "n1")
    monkeypatch.setattr(ShardActor, "_end_when_unused", lambda _self: None)
    epoch = read_epoch(world.root)
    order = ray_actor.ShardOrder(world.root, epoch, 1, ray_actor.crossfix.__version__)
    actor = ShardActor(order)
    while (state := actor.look("door")).state == "opening":
        pass
    assert (state.state, state.problem, state.node_id) == ("ready", "", "n1")
    assert actor.facts().manifest.tile_count == epoch.shards[1].tile_count
    assert actor.call("count_in", (None,)) == 4
    assert isinstance(actor.call("picture", (99,)), Trouble)
    actor.release("door")
    assert actor._leases == {}
    actor.look("door")
    assert actor._leases == {}, "a look that came late takes no lease that was given back"
    other = ShardActor(ray_actor.ShardOrder(world.root, epoch, 1, "0.0.0"))
    while (state := other.look("door")).state == "opening":
        pass
    assert (state.state, state.is_corrupt) == ("failed", True)
    assert "not 0.0.0" in state.problem
    assert isinstance(other.call("count_in", (None,)), Trouble)
    opens = []
    while other._reopening is None:
        pass
    monkeypatch.setattr(other, "_open", lambda: opens.append(1))
    other.open_again()
    assert (other.look("door").state, opens) == ("failed", []), "no file of it has changed"
    monkeypatch.setattr(other._reopening, "is_due", lambda: True)
    other.open_again()
    assert (other.look("door").state, other.look("door").is_corrupt) == ("opening", False)


def test_without_ray_the_engine_says_what_to_install(world, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    settings = world.settings(engine="ray")
    candidate = find_candidate(settings, world.epochs[2])
    with pytest.raises(InvalidParameter, match="not installed") as caught:
        open_candidate(settings, candidate, strict=True)
    assert "pip install" in caught.value.hint


def test_no_cluster_at_the_address_is_told_at_once(world):
    pytest.importorskip("ray", reason="pip install 'crossfix[ray]'")
    settings = world.settings(engine="ray", ray_address="127.0.0.1:1")
    with pytest.raises(ClusterUnavailable, match=r"127\.0\.0\.1:1 cannot be used"):
        open_candidate(settings, find_candidate(settings, world.epochs[2]), strict=True)
    assert ray_cluster._shared.users == 0


def test_a_gallery_of_one_piece_has_no_shards_for_the_engine(world):
    settings = world.settings(engine="ray", gallery=world.whole(2))
    with pytest.raises(GalleryError, match="is of one piece") as caught:
        find_candidate(settings, "v2")
    assert "--shards" in caught.value.hint
