"""The service over a sharded gallery in its own process: whole, in part, epoch to epoch."""

import shutil
import time
from types import SimpleNamespace

import httpx
import numpy as np
import pytest

from crossfix.estimate import Calibration
from crossfix.sharded_gallery_manifest import current_epoch, read_epoch
from service.errors import SettingsUnsafe
from service.galleries.served import Hits, Reach
from service.galleries.snapshot import load_snapshot
from service.localizer import PART_IS_MISSING, estimate_place
from service.start_checks import refuse_unsafe_start
from tests.service_world import jpeg, serve, tile_table
from tests.sharded_world import SHARDS, ShardedWorld, make_sharded_world

JPEG = {"Content-Type": "image/jpeg"}
OFTEN_DIFFERENT = ("stage_ms", "request_id", "gallery")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> ShardedWorld:
    return make_sharded_world(tmp_path_factory.mktemp("sharded-service"), 2, 3)


@pytest.fixture(scope="module")
def base(world):
    with serve(world.settings(reload_interval_s=3600)) as url:
        yield url


@pytest.fixture(scope="module")
def whole_base(world):
    with serve(world.settings(gallery=world.whole(3), reload_interval_s=3600)) as url:
        yield url


@pytest.fixture
def without_shard_1(world, tmp_path):
    """A service that began while a shard's disk was away."""
    root = tmp_path / "gallery"
    shutil.copytree(world.root, root)
    shutil.rmtree(root / "shards" / "001")
    with serve(world.settings(gallery=root, reload_interval_s=3600)) as url:
        yield url


def localize(base: str, seed: int, **parameters) -> dict:
    parameters = {"view": "drone", "k": 12, **parameters}
    answer = httpx.post(f"{base}/localize", params=parameters, content=jpeg(seed), headers=JPEG)
    assert answer.status_code == 200, answer.text
    return answer.json()


def content_of(answer: dict) -> dict:
    """What does not depend on the version's name and on the clock."""
    kept = {name: value for name, value in answer.items() if name not in OFTEN_DIFFERENT}
    for match in kept["matches"]:
        match["picture_url"] = match["picture_url"].partition("?")[0]
    return kept


@pytest.mark.parametrize("seed", range(300, 316, 5))
@pytest.mark.parametrize("prior", [{}, {"lat": 50.0, "lon": 11.0, "radius_m": 130.0}])
def test_photos_are_answered_as_by_the_gallery_in_one_piece(base, whole_base, seed, prior):
    mine, theirs = localize(base, seed, **prior), localize(whole_base, seed, **prior)
    assert content_of(mine) == content_of(theirs)
    told = mine["gallery"]
    assert told["shards_total"] == SHARDS
    assert told["shards_answered"] == told["shards_asked"]
    assert (told["shards_asked"] == SHARDS) == (not prior)
    whole = theirs["gallery"]
    assert [whole[f"shards_{name}"] for name in ("total", "asked", "answered")] == [1, 1, 1]


def test_pictures_footprints_and_coverage_are_there(base, whole_base):
    for match in localize(base, 301)["matches"]:
        path = match["picture_url"]
        mine, theirs = httpx.get(base + path), httpx.get(whole_base + path.partition("?")[0])
        assert (mine.status_code, mine.content) == (200, theirs.content)
        assert "immutable" in mine.headers["cache-control"]
    for query in ("", "?bbox=10.999,49.999,11.002,50.001", "?limit=5"):
        mine, theirs = (
            httpx.get(f"{url}/gallery/tiles{query}").json() for url in (base, whole_base)
        )
        ids = [[one["id"] for one in told["features"]] for told in (mine, theirs)]
        assert ids[0] == ids[1]
        assert mine["shards_missing"] == 0
    assert httpx.get(f"{base}/tiles/none").status_code == 404
    tile = httpx.get(f"{base}/map/15/17385/11114")
    assert (tile.status_code, tile.headers["content-type"]) == (200, "image/png")


def test_the_gallery_tells_its_shards_and_epochs(base, world):
    told = httpx.get(f"{base}/gallery").json()
    assert told["version"] == told["version_on_disk"] == world.epochs[3]
    assert (told["tiles"], told["shards_total"], told["shards_lost"]) == (16, SHARDS, [])
    assert [one["version"] for one in told["versions"]] == [world.epochs[3], world.epochs[2]]
    assert [one["live"] for one in told["versions"]] == [True, False]
    assert all(one["usable"] for one in told["versions"])
    assert told["sources"][0]["name"] == "made up"
    assert told["size_bytes"] > 1000
    ready = httpx.get(f"{base}/readyz").json()
    assert (ready["status"], ready["shards_total"], ready["shards_answering"]) == ("ready", 4, 4)


def test_a_lost_shard_is_told_in_every_answer(without_shard_1, whole_base):
    base = without_shard_1
    answer, whole = localize(base, 300), localize(whole_base, 300)
    told = answer["gallery"]
    assert (told["shards_total"], told["shards_asked"], told["shards_answered"]) == (4, 4, 3)
    assert any(
        "1 of 4 parts of the gallery did not answer, so 25 %" in w for w in answer["warnings"]
    )
    narrow = localize(base, 300, lat=50.0015, lon=11.0015, radius_m=200.0)["warnings"]
    assert any("parts of the gallery did not answer, so about " in w for w in narrow)
    assert any("% of the tiles in the given area were not" in w for w in narrow)
    kept = [one["tile_id"] for one in whole["matches"]]
    assert [one["tile_id"] for one in answer["matches"] if one["tile_id"] in kept] == [
        tile for tile in kept if tile in {one["tile_id"] for one in answer["matches"]}
    ]
    assert len(answer["matches"]) == 12
    ready = httpx.get(f"{base}/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert ready.json()["shards_answering"] == 3
    assert httpx.get(f"{base}/gallery").json()["shards_lost"] == [1]
    partial = httpx.get(f"{base}/gallery/tiles")
    assert (partial.json()["tiles_in_box"], partial.json()["shards_missing"]) == (12, 1)
    assert partial.headers["cache-control"] == "no-store"
    metrics = httpx.get(f"{base}/metrics").text
    for line in ("crossfix_shards 4.0", "crossfix_shards_answering 3.0",
                 "crossfix_partial_answers_total 2.0"):  # fmt: skip
        assert line in metrics
    missing = httpx.get(f"{base}/tiles/none")
    assert (missing.status_code, missing.json()["error"]["code"]) == (503, "shards_lost")
    assert missing.headers["retry-after"] == "5"


def test_a_partial_answer_is_told_in_geojson_too(without_shard_1, whole_base):
    for base, is_partial in ((without_shard_1, True), (whole_base, False)):
        batch = httpx.post(
            f"{base}/localize/batch",
            params={"view": "drone", "k": 1},
            files=[
                ("image", ("a.jpg", jpeg(300), "image/jpeg")),
                ("image", ("b.jpg", b"no photo", "image/jpeg")),
            ],
            headers={"Accept": "application/geo+json"},
        ).json()
        first, second = batch["results"]
        assert any(w.startswith("partial answer") for w in first["warnings"]) is is_partial
        assert first["gallery"]["shards_asked"] - first["gallery"]["shards_answered"] == is_partial
        assert "gallery" not in second
        single = httpx.post(
            f"{base}/localize",
            params={"view": "drone", "k": 1},
            content=jpeg(300),
            headers={**JPEG, "Accept": "application/geo+json"},
        ).json()
        for features in (batch["features"], single["features"]):
            (point,) = [one for one in features if one["properties"]["role"] == "estimate"]
            assert point["properties"]["partial"] is is_partial


def test_a_new_epoch_and_an_activated_one_replace_all_shards(world, tmp_path):
    root = tmp_path / "gallery"
    shutil.copytree(world.root, root)
    old, new = world.epochs[2], world.epochs[3]
    with serve(world.settings(gallery=root, reload_interval_s=3600)) as base:
        back = httpx.post(f"{base}/gallery/activate", json={})
        assert back.status_code == 200, back.text
        assert (back.json()["old_version"], back.json()["version"]) == (new, old)
        assert current_epoch(root) == old
        assert localize(base, 200)["matches"][0]["tile_id"].startswith("v2/")
        assert httpx.post(f"{base}/gallery/activate", json={"version": "x"}).status_code == 404
        broken = read_epoch(root, new).shards[2]
        vectors = root / broken.directory / "versions" / broken.version / "vectors.f16"
        vectors.write_bytes(b"short")
        refused = httpx.post(f"{base}/gallery/activate", json={"version": new})
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "version_unusable")
        assert current_epoch(root) == old
        assert localize(base, 200)["gallery"]["version"] == old


def test_the_watcher_takes_a_new_epoch_over(world, tmp_path):
    shutil.copytree(world.folder, tmp_path / "copy")
    world = ShardedWorld(tmp_path / "copy", world.encoder, dict(world.epochs))
    settings = world.settings(reload_interval_s=0.05)
    with serve(settings) as base:
        world.point_to(2)
        give_up = time.monotonic() + 20
        while httpx.get(f"{base}/readyz").json()["gallery_version"] != world.epochs[2]:
            assert time.monotonic() < give_up
            time.sleep(0.02)


def test_a_service_that_may_rebuild_refuses_a_sharded_gallery(world, tmp_path):
    settings = world.settings(rebuild_roots=str(tmp_path))
    with pytest.raises(SettingsUnsafe, match="sharded"):
        refuse_unsafe_start(settings, None)


def test_the_snapshot_of_a_partly_lost_epoch_is_loaded_at_the_start_only(world, tmp_path):
    root = tmp_path / "gallery"
    shutil.copytree(world.root, root)
    shutil.rmtree(root / "shards" / "003")
    snapshot = load_snapshot(world.settings(gallery=root))
    assert snapshot.gallery.lost_shards == (3,)
    snapshot.gallery.close()


@pytest.mark.parametrize(
    ("share", "refused"), [(1.0, False), (0.9, False), (0.25, True)], ids=["whole", "most", "rest"]
)
def test_confidence_and_refusal_know_what_was_not_looked_at(share, refused):
    calibration = Calibration(
        temperature=0.05, coefficients=(4.0, 0.0, 0.0, 0.0), radius_share=0.5, refuse_below=0.5,
        sample_count=1, data="made up",
    )  # fmt: skip
    manifest = SimpleNamespace(calibration={"drone": calibration})
    snapshot = SimpleNamespace(encoder=SimpleNamespace(manifest=manifest))
    tiles = tile_table()
    reach = Reach(shards_total=4, shards_asked=4, shards_answered=2, tiles_share=share)
    rows, scores = np.arange(3)[None], np.array([[0.9, 0.5, 0.4]], np.float32)
    place = estimate_place(snapshot, Hits(rows, scores, tiles, rows[0], reach), "drone")
    assert place.confidence == pytest.approx(share / (1 + np.exp(-4.0)))
    assert place.refused is refused
    assert (place.reason == PART_IS_MISSING) is refused
