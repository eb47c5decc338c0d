"""A sharded gallery behind the service's one protocol: equal to one piece, honest when in part."""

import gc
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from crossfix.errors import PriorOutsideGallery, TileNotFound
from crossfix.gallery import Disc, Gallery
from crossfix.gallery_manifest import BoundsModel
from crossfix.geodesy import LonLat, tile_at
from crossfix.prior import Region
from crossfix.sharded_gallery_manifest import read_epoch
from service.errors import ShardsLost
from service.galleries.box import Box
from service.galleries.one_piece import OnePiece
from service.galleries.shards.callers import Told, rectangles_of_a_shard
from service.galleries.shards.local_shards import LocalShards
from service.galleries.shards.merged_facts import merged_manifest
from service.galleries.shards.shard import OpenShard
from service.galleries.shards.sharded import ShardedServed
from tests.sharded_world import SHARDS, ShardedWorld, make_sharded_world

NUMBER = 2
LON = 8.0 + NUMBER
CORNER = Disc(LonLat(lon=LON, lat=50.0), 60.0)  # the tile in the south-west and no other


class FakeShards:
    """Opened shards, of which some do not answer."""

    def __init__(self, world: ShardedWorld) -> None:
        entries = read_epoch(world.root).shards
        self.shards = {
            number: OpenShard(
                Gallery.open(world.root / entry.directory, version=entry.version),
                rectangles=rectangles_of_a_shard(len(entries)),
            )
            for number, entry in enumerate(entries)
        }
        self.lost: dict[int, str] = {}
        self.asked: list[tuple[str, list[int]]] = []
        self.closed = threading.Event()

    @property
    def facts(self):
        return {number: shard.facts for number, shard in self.shards.items()}

    def ask(self, method, calls, *, timeout_s=None):  # noqa: ARG002
        self.asked.append((method, sorted(calls)))
        answers = {
            number: getattr(self.shards[number], method)(*arguments)
            for number, arguments in calls.items()
            if number not in self.lost
        }
        return Told(answers, {n: why for n, why in self.lost.items() if n in calls})

    def close(self):
        self.closed.set()


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> ShardedWorld:
    return make_sharded_world(tmp_path_factory.mktemp("shards"), NUMBER)


@pytest.fixture
def fake(world) -> FakeShards:
    return FakeShards(world)


@pytest.fixture
def served(world, fake) -> ShardedServed:
    return ShardedServed(read_epoch(world.root), fake)


@pytest.fixture(scope="module")
def whole(world) -> OnePiece:
    return OnePiece(Gallery.open(world.whole(NUMBER)))


def embedding(whole: OnePiece, row: int):
    vector = whole.gallery.vectors[row].astype(np.float32)[None]
    return vector / np.linalg.norm(vector)


def test_shards_answer_what_one_piece_answers(served, whole):
    for row in range(len(whole)):
        expected, found = whole.search(embedding(whole, row), 50), served.search(
            embedding(whole, row), 50
        )  # fmt: skip
        assert found.rows.tolist() == expected.rows.tolist()
        assert found.scores.tolist() == expected.scores.tolist()
        for name in ("ids", "date", "attribution", "licence"):
            column, whole_column = getattr(found.tiles, name), getattr(expected.tiles, name)
            assert [column[i] for i in found.at] == [whole_column[i] for i in expected.at]
        for name in ("lon", "lat", "west", "south", "east", "north", "size_m"):
            assert np.array_equal(
                getattr(found.tiles, name)[found.at], getattr(expected.tiles, name)[expected.at]
            )
        assert (found.reach.shards_total, found.reach.shards_missing) == (SHARDS, 0)
        assert found.reach.tiles_share == 1


def test_a_prior_asks_only_the_shards_it_touches(served, whole, fake):
    found = served.search(embedding(whole, 0), 50, prior=CORNER)
    expected = whole.search(embedding(whole, 0), 50, prior=CORNER)
    assert found.rows.tolist() == expected.rows.tolist()
    assert len(found.at) == 1
    ((_, asked),) = fake.asked
    assert 1 <= len(asked) == found.reach.shards_asked < SHARDS
    with pytest.raises(PriorOutsideGallery):
        served.search(embedding(whole, 0), 50, prior=Disc(LonLat(lon=0.0, lat=0.0), 100.0))


def test_lost_shards_make_a_partial_answer_that_says_how_much_is_missing(served, whole, fake):
    fake.lost = {1: "gone", 3: "gone, too"}
    found = served.search(embedding(whole, 0), 50)
    kept = [row for row in range(16) if row // 4 not in fake.lost]
    assert sorted(found.rows[0].tolist()) == kept
    assert (found.reach.shards_asked, found.reach.shards_answered) == (4, 2)
    assert found.reach.tiles_share == 0.5
    assert served.lost_shards == (1, 3)
    fake.lost = dict.fromkeys(range(SHARDS), "gone")
    with pytest.raises(ShardsLost, match="4 of 4 shards did not answer"):
        served.search(embedding(whole, 0), 50)


def test_under_a_prior_only_the_tiles_inside_it_count_as_looked_at(served, whole, fake):
    prior = Disc(LonLat(lon=LON + 0.0015, lat=50.0015), 200.0)
    inside = np.flatnonzero(prior.contains(whole.tiles.lon, whole.tiles.lat)) // 4
    asked = served.search(embedding(whole, 0), 50, prior=prior).reach.shards_asked
    assert asked == SHARDS
    assert fake.asked == [("search", [0, 1, 2, 3])], "whole answers need no count"
    for lost in range(SHARDS):
        fake.lost = {lost: "gone"}
        seen = int(np.count_nonzero(inside != lost))
        assert seen < 12
        reach = served.search(embedding(whole, 0), 50, prior=prior).reach
        assert reach.tiles_share == pytest.approx(seen / len(inside)), "runs of one tile are exact"


def test_all_tiles_of_a_shard_that_was_never_open_may_lie_inside_a_prior(world, fake, whole):
    prior = Disc(LonLat(lon=LON + 0.0015, lat=50.0015), 200.0)
    inside = np.flatnonzero(prior.contains(whole.tiles.lon, whole.tiles.lat)) // 4
    fake.lost = {1: "gone"}
    del fake.shards[1]
    reach = ShardedServed(read_epoch(world.root), fake).search(
        embedding(whole, 0), 50, prior=prior
    ).reach  # fmt: skip
    seen = int(np.count_nonzero(inside != 1))
    assert reach.tiles_share == pytest.approx(seen / (seen + 4))


def test_a_lost_shard_without_a_tile_in_the_prior_makes_no_answer_partial(served, whole, fake):
    lon, lat = float(whole.tiles.lon.mean()), float(whole.tiles.lat.mean())
    corners = ((-8e-4, -1e-5), (8e-4, -1e-5), (8e-4, 1e-5), (-8e-4, 1e-5))
    gap = Region((tuple(LonLat(lon + east, lat + north) for east, north in corners),))
    assert not gap.contains(whole.tiles.lon, whole.tiles.lat).any()
    fake.lost = dict.fromkeys(range(SHARDS), "gone")
    with pytest.raises(PriorOutsideGallery):
        served.search(embedding(whole, 0), 50, prior=gap)


def test_a_prior_in_a_lost_shard_is_not_told_to_be_outside_the_gallery(served, whole, fake):
    home = (
        served.row_of(
            whole.tiles.ids[int(whole.search(embedding(whole, 0), 1, prior=CORNER).rows[0, 0])]
        )
        // 4
    )
    fake.lost = {home: "gone"}
    with pytest.raises(ShardsLost):
        served.search(embedding(whole, 0), 50, prior=CORNER)


def test_pictures_are_read_where_the_tile_is(served, whole, fake):
    for row, tile_id in enumerate(whole.tiles.ids):
        assert served.row_of(tile_id) == row
        assert served.picture(row) == whole.picture(row)
    with pytest.raises(TileNotFound):
        served.row_of("nowhere")
    fake.lost = {2: "gone"}
    with pytest.raises(ShardsLost):
        served.row_of("nowhere")
    with pytest.raises(ShardsLost, match="read the picture"):
        served.picture(8)


def test_the_shard_of_an_answered_tile_is_known_without_asking_all(served, whole, fake):
    found = served.search(embedding(whole, 5), 3)
    fake.asked.clear()
    assert served.row_of(found.tiles.ids[int(found.at[0])]) == found.rows[0, 0]
    assert fake.asked == []


@pytest.mark.parametrize("limit", [1, 5, 16, 100])
@pytest.mark.parametrize(
    "box", [None, Box(LON - 0.001, 49.999, LON + 0.002, 50.001), Box(0.0, 0.0, 1.0, 1.0)]
)
def test_the_tiles_in_a_box_are_those_of_one_piece(served, whole, box, limit):
    expected, found = whole.in_box(box, limit), served.in_box(box, limit)
    assert found.count == expected.count
    assert [found.tiles.ids[i] for i in found.at] == [expected.tiles.ids[i] for i in expected.at]


def test_a_box_says_which_shards_are_missing(served, fake):
    fake.lost = {0: "gone"}
    found = served.in_box(None, 100)
    assert (found.count, found.reach.shards_missing) == (12, 1)


def test_the_map_shows_what_one_piece_shows_and_knows_what_is_missing(served, whole, fake):
    tile = tile_at(LonLat(lon=LON + 0.002, lat=50.0015), 17)
    expected, found = whole.paint(tile), served.paint(tile)
    assert found.is_complete
    difference = np.abs(np.asarray(expected.canvas, int) - np.asarray(found.canvas, int))
    assert np.mean(difference.max(axis=-1) > 8) < 0.1, "only seams differ"
    fake.lost = {0: "gone", 1: "gone", 2: "gone", 3: "gone"}
    assert not served.paint(tile).is_complete


def test_facts_are_those_of_the_whole(served, whole):
    mine, theirs = served.manifest, whole.manifest
    for name in ("tile_count", "embedding_dim", "tile_sizes_m", "sources", "embedding_space_id"):
        assert getattr(mine, name) == getattr(theirs, name)
    assert mine.version == served.epoch.epoch
    assert len(mine.files) == 3 * SHARDS
    assert len(served.coverage["coordinates"]) >= 1


@pytest.mark.parametrize(
    ("wests_easts", "around"),
    [
        ([(8.0, 9.0), (10.0, 11.0)], (8.0, 11.0)),
        ([(170.0, -170.0), (-10.0, 10.0)], (-10.0, -170.0)),
        ([(178.0, 179.9), (-179.9, -178.0)], (178.0, -178.0)),
    ],
)
def test_the_bounds_hold_every_shard_also_across_the_antimeridian(
    served, fake, wests_easts, around
):
    shards = [
        shard.model_copy(update={"bounds": BoundsModel(west=west, south=1, east=east, north=2)})
        for shard, (west, east) in zip(served.epoch.shards, wests_easts, strict=False)
    ]
    epoch = served.epoch.model_copy(update={"shards": shards})
    bounds = merged_manifest(epoch, fake.facts).bounds
    assert (bounds.west, bounds.east) == around
    assert (bounds.south, bounds.north) == (1, 2)


def test_the_shards_are_let_go_once_the_last_request_is_done(world, fake):
    served = ShardedServed(read_epoch(world.root), fake)
    request = SimpleNamespace(gallery=served)
    del served
    gc.collect()
    assert not fake.closed.is_set()
    del request
    gc.collect()
    assert fake.closed.wait(5)


def test_a_shard_opened_in_this_process_comes_back_by_itself(world, tmp_path, monkeypatch):
    monkeypatch.setattr("service.galleries.shards.local_shards._LOOK_AGAIN_S", 0.05)
    epoch = read_epoch(world.root)
    folder = world.root / epoch.shards[1].directory
    away = folder.rename(tmp_path / "away")
    try:
        caller = LocalShards(world.root, epoch, strict=False, timeout_s=5)
        assert list(caller.lost) == [1]
    finally:
        away.rename(folder)
    served = ShardedServed(epoch, caller)
    give_up = time.monotonic() + 20
    while served.lost_shards:
        assert time.monotonic() < give_up
        time.sleep(0.02)
    assert len(served.in_box(None, 100).at) == 16
    served.close()
