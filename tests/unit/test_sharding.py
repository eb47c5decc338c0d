"""Cutting and publishing shards: balance, equal codes, kills, epochs kept and pruned."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from crossfix import gallery_versions
from crossfix.errors import (
    GalleryCorrupt,
    GalleryError,
    GalleryNotFound,
    InvalidParameter,
    PublishError,
)
from crossfix.gallery import Gallery
from crossfix.gallery_versions import list_versions as list_epochs
from crossfix.gallery_versions import rollback as rollback_epoch
from crossfix.geodesy import morton_code
from crossfix.sharded_gallery import ShardedGallery
from crossfix.sharded_gallery_manifest import current_epoch, read_epoch
from index_builder.assembly.content import hash_content
from index_builder.pieces import verify_pieces
from index_builder.publish import STEPS, locked
from index_builder.sharding import SHARDED_STEPS
from index_builder.sharding_epochs import prune_epochs, require_kind
from index_builder.sharding_split import keep_cuts, plan_cuts
from index_builder.sharding_verify import check_epoch
from tests.made_up_gallery import (
    assemble,
    publish_in_shards,
    publish_plain,
    scattered_places,
    unit_vectors,
)

COUNT, DIM, SHARDS = 90, 8, 3


class Killed(BaseException):
    """Stands for a SIGKILL: nothing catches it."""


def build(root, seed=0, shards=SHARDS, **options):
    places = scattered_places(COUNT, seed)
    return publish_in_shards(
        root, unit_vectors(COUNT, DIM, seed), *places, shards=shards, **options
    )


def test_cuts_are_balanced_and_in_charge_of_every_code():
    codes = np.sort(np.random.default_rng(0).integers(0, 2**63, 1000).astype(np.uint64))
    cuts = plan_cuts(codes, 7)
    assert [cut.tile_count for cut in cuts] == [143, 143, 143, 142, 143, 143, 143]
    assert cuts[0].morton_low == 0
    assert cuts[-1].morton_high == 2**64
    for cut in cuts:
        inside = codes[cut.start : cut.stop]
        assert cut.morton_low <= inside[0]
        assert int(inside[-1]) < cut.morton_high


def test_tiles_of_one_place_stay_together():
    codes = np.repeat(np.array([3, 5, 9], np.uint64), [6, 1, 5])
    assert [cut.tile_count for cut in plan_cuts(codes, 2)] == [6, 6]
    assert [cut.tile_count for cut in plan_cuts(codes, 3)] == [6, 1, 5]
    with pytest.raises(InvalidParameter, match="12 tiles at 3 places cannot be cut into 4"):
        plan_cuts(codes, 4)
    with pytest.raises(InvalidParameter, match="0 is not a number of shards"):
        plan_cuts(codes, 0)


def test_older_cuts_are_kept_while_they_are_good_enough():
    codes = np.arange(0, 1000, 10, dtype=np.uint64)
    lows = [one.morton_low for one in plan_cuts(codes, 4)]
    more = np.sort(np.concatenate([codes, np.arange(3, 100, 10, dtype=np.uint64)]))
    cuts = keep_cuts(more, lows)
    assert [cut.morton_low for cut in cuts] == lows
    assert cuts[-1].morton_high == 2**64
    assert [cut.start for cut in cuts] == [0, *(cut.stop for cut in cuts[:-1])]
    assert sum(cut.tile_count for cut in cuts) == len(more)
    for cut in cuts:
        inside = more[cut.start : cut.stop]
        assert cut.morton_low <= inside[0]
        assert int(inside[-1]) < cut.morton_high
    far_too_many = np.sort(np.concatenate([codes, np.arange(1, 200, 3, dtype=np.uint64)]))
    assert keep_cuts(far_too_many, lows) is None
    assert keep_cuts(codes[30:], lows) is None, "the first shard would be empty"
    assert keep_cuts(codes[:0], lows) is None


def test_places_are_left_for_the_shards_that_follow():
    codes = np.array([0, 1, 2, *[3] * 97], np.uint64)
    assert [cut.tile_count for cut in plan_cuts(codes, 4)] == [1, 1, 1, 97]
    with pytest.raises(InvalidParameter, match="4 places cannot be cut into 5"):
        plan_cuts(codes, 5)
    rng = np.random.default_rng(0)
    for _ in range(200):
        codes = np.sort(rng.integers(0, rng.integers(1, 12), 30).astype(np.uint64))
        places = len(np.unique(codes))
        for shards in range(1, places + 1):
            cuts = plan_cuts(codes, shards)
            assert [cut.start for cut in cuts] == [0, *(cut.stop for cut in cuts[:-1])]
            assert cuts[-1].stop == 30
            assert all(codes[cut.start - 1] < codes[cut.start] for cut in cuts[1:])


def test_shards_together_hold_every_row_in_order(tmp_path):
    lon, lat = scattered_places(COUNT, 1)
    whole = tmp_path / "whole"
    assemble(whole, unit_vectors(COUNT, DIM, 1), lon, lat)
    published = publish_in_shards(
        tmp_path / "root", unit_vectors(COUNT, DIM, 1), lon, lat, shards=SHARDS
    )
    versions = [
        tmp_path / "root" / shard.directory / "versions" / shard.version
        for shard in published.manifest.shards
    ]
    joined = b"".join((version / "vectors.f16").read_bytes() for version in versions)
    assert joined == (whole / "vectors.f16").read_bytes()
    for name in ("tiles.parquet", "pictures.parquet"):
        rows = [row for version in versions for row in pq.read_table(version / name).to_pylist()]
        assert rows == pq.read_table(whole / name).to_pylist()
    for version, shard in zip(versions, published.manifest.shards, strict=True):
        gallery = Gallery.open_directory(version)
        codes = morton_code(gallery.tiles.lon, gallery.tiles.lat)
        assert shard.morton_low <= int(codes.min())
        assert int(codes.max()) < shard.morton_high
        assert shard.bounds.west == gallery.tiles.west.min()
        assert shard.content_hash == gallery.manifest.content_hash


KILLS = [f"{number:03d}/{step}" for number in range(SHARDS) for step in STEPS]


@pytest.fixture(scope="module")
def old_gallery(tmp_path_factory):
    root = tmp_path_factory.mktemp("old") / "gallery"
    build(root)
    return root


@pytest.mark.parametrize("killed_at", [*KILLS, *SHARDED_STEPS])
def test_a_kill_at_any_step_leaves_one_epoch_live_and_whole(tmp_path, old_gallery, killed_at):
    root = shutil.copytree(old_gallery, tmp_path / "gallery")
    before = current_epoch(root)

    def die(step):
        if step == killed_at:
            raise Killed

    with pytest.raises(Killed):
        build(root, seed=1, keep=1, step=die)
    live = ShardedGallery.open(root, verify=True, strict=True)
    live.close()
    assert (live.manifest.epoch == before) == (killed_at not in ("epoch_live", "epochs_pruned"))
    report = build(root, seed=2, keep=1)
    assert list_epochs(root) == [current_epoch(root)] == [report.manifest.epoch]
    for shard in report.manifest.shards:
        folder = root / shard.directory
        assert {path.name for path in folder.iterdir()} == {"versions", "CURRENT.json"}
        assert [path.name for path in (folder / "versions").iterdir()] == [shard.version]
    assert {path.name for path in root.iterdir()} == {
        "CURRENT_EPOCH.json", "epochs", "shards", ".lock",
    }  # fmt: skip


def test_a_kill_leaves_no_gallery_where_there_was_none(tmp_path):
    def die(step):
        if step == "epoch_written":
            raise Killed

    with pytest.raises(Killed):
        build(tmp_path / "gallery", step=die)
    with pytest.raises(GalleryNotFound, match="no sharded gallery"):
        current_epoch(tmp_path / "gallery")


def test_epochs_are_kept_and_what_only_old_ones_named_goes(tmp_path):
    reports = [build(tmp_path, seed=seed, shards=4 - seed, keep=2) for seed in range(3)]
    assert list_epochs(tmp_path) == [report.manifest.epoch for report in reports[1:]]
    assert reports[2].removed_epochs == [reports[0].manifest.epoch]
    folders = {path.name for path in (tmp_path / "shards").iterdir()}
    assert folders == {"000", "001", "002"}
    for report in reports[1:]:
        epoch = report.manifest.epoch
        with ShardedGallery.open(tmp_path, epoch=epoch, strict=True) as gallery:
            assert len(gallery) == COUNT
    # The third shard is of the older epoch only, and still a gallery of its own.
    assert len(Gallery.open(tmp_path / "shards" / "002")) == COUNT // 3


def test_a_shard_on_another_disk_is_emptied_through_its_link(tmp_path):
    (tmp_path / "other disk").mkdir()
    (tmp_path / "gallery" / "shards").mkdir(parents=True)
    (tmp_path / "gallery" / "shards" / "001").symlink_to(tmp_path / "other disk")
    build(tmp_path / "gallery", keep=1)
    assert len(list((tmp_path / "other disk" / "versions").iterdir())) == 1
    build(tmp_path / "gallery", shards=1, keep=1)
    assert list((tmp_path / "other disk" / "versions").iterdir()) == []


def test_rollback_goes_to_a_whole_epoch_only(tmp_path):
    first = build(tmp_path).manifest
    with pytest.raises(GalleryNotFound, match="no version older"):
        rollback_epoch(tmp_path)
    second = build(tmp_path, seed=1).manifest
    assert rollback_epoch(tmp_path) == first.epoch == current_epoch(tmp_path)
    prune_epochs(tmp_path, keep=1)
    assert list_epochs(tmp_path) == [first.epoch]
    with pytest.raises(GalleryNotFound, match=f"no version '{second.epoch}'"):
        rollback_epoch(tmp_path, second.epoch)
    third = build(tmp_path, seed=2).manifest
    shutil.rmtree(tmp_path / first.shards[0].directory / "versions" / first.shards[0].version)
    with pytest.raises(GalleryError, match="1 of 3 shards"):
        rollback_epoch(tmp_path)
    assert current_epoch(tmp_path) == third.epoch


def test_an_epoch_that_was_never_live_is_none(tmp_path):
    def die(step):
        if step == "epoch_written":
            raise Killed

    first = build(tmp_path, keep=2).manifest.epoch
    with pytest.raises(Killed):
        build(tmp_path, seed=1, keep=2, step=die)
    assert len(list((tmp_path / "epochs").glob("*.json"))) == 2
    assert list_epochs(tmp_path) == [first]
    second = build(tmp_path, seed=2, keep=2)
    assert second.removed_epochs == []
    assert list_epochs(tmp_path) == [first, second.manifest.epoch]
    assert len(list((tmp_path / "epochs").iterdir())) == 2
    assert len(list((tmp_path / "shards" / "000" / "versions").iterdir())) == 2
    assert rollback_epoch(tmp_path) == first


def test_an_epoch_that_was_live_for_a_moment_stays(tmp_path):
    def die(step):
        if step == "epoch_live":
            raise Killed

    first = build(tmp_path).manifest.epoch
    with pytest.raises(Killed):
        build(tmp_path, seed=1, step=die)
    second = current_epoch(tmp_path)
    assert rollback_epoch(tmp_path) == first
    assert list_epochs(tmp_path) == [first, second]
    assert rollback_epoch(tmp_path, second) == second


def test_what_is_live_is_read_when_the_lock_is_held(tmp_path, monkeypatch):
    epochs = [build(tmp_path, seed=seed).manifest.epoch for seed in range(3)]

    def locked_after_another(root):
        monkeypatch.undo()
        assert rollback_epoch(root) == epochs[1]
        return locked(root)

    monkeypatch.setattr(gallery_versions, "locked", locked_after_another)
    assert rollback_epoch(tmp_path) == epochs[0]


def test_kinds_do_not_mix(tmp_path):
    places = scattered_places(COUNT, 0)
    publish_plain(tmp_path / "plain", unit_vectors(COUNT, DIM, 0), *places)
    with pytest.raises(PublishError, match="of one piece, which cannot become a sharded one"):
        build(tmp_path / "plain")
    build(tmp_path / "sharded")
    with pytest.raises(PublishError, match="sharded gallery, which cannot become one of one piece"):
        require_kind(tmp_path / "sharded", sharded=False)


def test_a_recipe_goes_into_every_shard(tmp_path, monkeypatch):
    def with_recipe(directory, *words):
        manifest = assemble(directory, *words)
        (directory / "recipe.json").write_text("{}")
        return manifest

    monkeypatch.setattr("tests.made_up_gallery.assemble", with_recipe)
    manifest = build(tmp_path).manifest
    for shard in manifest.shards:
        version = tmp_path / shard.directory / "versions" / shard.version
        assert (version / "recipe.json").read_text() == "{}"
        assert "recipe.json" in json.loads((version / "manifest.json").read_text())["files"]
    assert read_epoch(tmp_path) == manifest


def test_an_epoch_whose_shards_stray_is_told(tmp_path):
    manifest = build(tmp_path).manifest
    check_epoch(tmp_path)
    path = tmp_path / "epochs" / f"{manifest.epoch}.json"
    document = json.loads(path.read_text())
    inside = document["shards"][0]["morton_high"] + (1 << 30)
    document["shards"][0]["morton_high"] = document["shards"][1]["morton_low"] = inside
    path.write_text(json.dumps(document))
    with pytest.raises(GalleryCorrupt, match="001 holds tiles outside the Morton range"):
        check_epoch(tmp_path)


def test_the_content_of_shards_is_read_once(tmp_path, monkeypatch):
    manifest = build(tmp_path).manifest
    read = []

    def hash_and_tell(directory, **options):
        read.append(directory)
        return hash_content(directory, **options)

    monkeypatch.setattr("index_builder.verify.hash_content", hash_and_tell)
    monkeypatch.setattr("index_builder.sharding_verify.hash_content", hash_and_tell)
    assert verify_pieces(tmp_path, None, None).tiles == COUNT
    assert len(read) == len(set(read)) == SHARDS
    path = tmp_path / "epochs" / f"{manifest.epoch}.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "content_hash": "0" * 64}))
    with pytest.raises(GalleryCorrupt, match="do not have the content hash of epoch"):
        verify_pieces(tmp_path, None, None)


def test_shards_that_together_are_another_gallery_are_told(tmp_path):
    manifest = build(tmp_path).manifest
    path = tmp_path / "epochs" / f"{manifest.epoch}.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "content_hash": "0" * 64}))
    with pytest.raises(GalleryCorrupt, match="do not have the content hash of epoch"):
        check_epoch(tmp_path)
