"""An update of a sharded gallery equals a rebuild, and leaves alone what has not changed."""

import json
import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crossfix.errors import GalleryCorrupt, InvalidParameter, PublishError
from crossfix.gallery import Gallery
from crossfix.gallery_manifest import PICTURES_FILE, TILES_FILE, VECTORS_FILE
from crossfix.gallery_versions import list_versions as list_epochs
from crossfix.gallery_versions import rollback as rollback_epoch
from crossfix.geodesy import morton_code
from crossfix.manifest import read_model
from crossfix.sharded_gallery_manifest import current_epoch, read_epoch
from index_builder.assembly.changes import UpdateCounts
from index_builder.build import BUILD_STEPS, BuildRequest, build_gallery
from index_builder.left_out import left_out_rows
from index_builder.pieces import find_pieces, verify_pieces
from index_builder.publish import STEPS
from index_builder.recipe import GalleryRecipe, IndexRequest
from index_builder.sharding import SHARDED_STEPS
from index_builder.sharding_shard import os as linking
from index_builder.sources.rasters.block_source import BlockSource
from index_builder.update import Changes, UpdateRequest, update_gallery
from tests.tiny_encoder import CENTRE, write_tiny_encoder
from tests.two_rasters import EAST, region, repaint, spec, touch, write_rasters

SHARDS = 4
CORNER = (slice(100, 120), slice(100, 120))


@pytest.fixture(scope="module")
def encoder_dir(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp("update") / "encoder")


@pytest.fixture
def world(tmp_path):
    return write_rasters(tmp_path)


def build(encoder_dir, out, *sources, shards=SHARDS, **recipe):
    recipe = GalleryRecipe(sources=sources, **{"tile_sizes_m": (30.0,), **recipe})
    request = BuildRequest(encoder_dir=encoder_dir, recipe=recipe, out=out, shards=shards)
    return build_gallery(request)


def update(encoder_dir, gallery, *, reread=False, step=lambda _name: None, shards=0, keep=3,
           **changes):  # fmt: skip
    request = UpdateRequest(
        encoder_dir=encoder_dir, gallery=gallery, changes=Changes(**changes), reread=reread,
        shards=shards, keep=keep,
    )  # fmt: skip
    return update_gallery(request, step=step)


def directories(root, epoch=None):
    return [piece.directory for piece in find_pieces(root, epoch)[1]]


def recipe_of(root):
    return read_model(directories(root)[0] / "recipe.json", GalleryRecipe, AssertionError)


def rebuild(encoder_dir, out, root, *, shards=1):
    """What a build from nothing makes of an updated gallery's recipe."""
    shutil.rmtree(out, ignore_errors=True)
    request = BuildRequest(encoder_dir=encoder_dir, recipe=recipe_of(root), out=out, shards=shards)
    return build_gallery(request)


def assert_equals_rebuild(encoder_dir, root, scratch):
    """Row by row what a build in one piece has, cut where the epoch says."""
    whole = rebuild(encoder_dir, scratch, root)
    epoch = read_epoch(root)
    assert epoch.content_hash == whole.manifest.content_hash
    assert epoch.tile_count == whole.manifest.tile_count
    plain = Gallery.open(scratch)
    codes = morton_code(plain.tiles.lon, plain.tiles.lat)
    edges = np.searchsorted(codes, np.array([one.morton_low for one in epoch.shards], np.uint64))
    edges = [*edges.tolist(), len(plain)]
    for number, directory in enumerate(directories(root)):
        rows = slice(edges[number], edges[number + 1])
        shard = Gallery.open_directory(directory)
        assert np.array_equal(shard.vectors, plain.vectors[rows])
        for name in (TILES_FILE, PICTURES_FILE):
            expected = pq.read_table(whole.directory / name)[rows]
            assert pq.read_table(directory / name).equals(expected), name
        assert (directory / "recipe.json").read_bytes() == (
            whole.directory / "recipe.json"
        ).read_bytes()
        assert shard.manifest.sources == whole.manifest.sources
        assert shard.manifest.index == plain.manifest.index
    assert left_out_rows(directories(root)) == left_out_rows([whole.directory])
    assert verify_pieces(root, None, None).tiles == len(plain)


def assert_hashes_equal_a_sharded_build(encoder_dir, root, scratch):
    rebuild(encoder_dir, scratch, root, shards=len(read_epoch(root).shards))
    hashes = [
        [(shard.content_hash, shard.morton_low) for shard in read_epoch(one).shards]
        for one in (root, scratch)
    ]
    assert hashes[0] == hashes[1]


def shared(root, one, other):
    """Which shards of two epochs are the same files."""
    pairs = zip(directories(root, one), directories(root, other), strict=True)
    return [
        all(os.path.samefile(a / name, b / name) for name in (VECTORS_FILE, PICTURES_FILE))
        for a, b in pairs
    ]


def test_nothing_changed_reads_and_publishes_nothing(world, encoder_dir, monkeypatch):
    first = build(encoder_dir, world / "g", spec(world, "west"), spec(world, "east"))
    assert first.stats.empty_tiles > 0
    monkeypatch.setattr(BlockSource, "read", lambda *_arguments: pytest.fail("a tile was read"))
    report = update(encoder_dir, world / "g")
    assert report.changes == UpdateCounts(0, first.manifest.tile_count, 0, 0)
    assert not report.published
    assert list_epochs(world / "g") == [first.version] == [report.version]
    assert {path.name for path in (world / "g").iterdir()} == {
        "CURRENT_EPOCH.json", "epochs", "shards", ".lock",
    }  # fmt: skip


def test_changed_pixels_change_their_shards_only(world, encoder_dir):
    first = build(encoder_dir, world / "g", spec(world, "west"), spec(world, "east"))
    repaint(world / "west.tif", *CORNER, seed=5)
    report = update(encoder_dir, world / "g")
    assert 0 < report.changes.embedded < first.manifest.tile_count / 3
    kept = shared(world / "g", first.version, report.version)
    assert report.kept_shards == sum(kept)
    assert 0 < sum(kept) < SHARDS
    before, after = (read_epoch(world / "g", one) for one in (first.version, report.version))
    for number, same in enumerate(kept):
        one, other = before.shards[number], after.shards[number]
        assert (one.content_hash == other.content_hash) == same
        assert one.version != other.version
    assert_equals_rebuild(encoder_dir, world / "g", world / "fresh")
    assert_hashes_equal_a_sharded_build(encoder_dir, world / "g", world / "sharded")


def test_a_touched_file_leaves_all_shards_and_tells_the_new_fingerprint(world, encoder_dir):
    first = build(encoder_dir, world / "g", spec(world, "west"))
    touch(world / "west.tif")
    report = update(encoder_dir, world / "g")
    assert report.changes == UpdateCounts(0, first.manifest.tile_count, 0, 0)
    assert (report.published, report.kept_shards) == (True, SHARDS)
    assert shared(world / "g", first.version, report.version) == [True] * SHARDS
    assert_equals_rebuild(encoder_dir, world / "g", world / "fresh")
    assert not update(encoder_dir, world / "g").published


def test_sources_regions_and_areas_come_and_go(world, encoder_dir):
    first = build(encoder_dir, world / "g", spec(world, "west"))
    added = update(encoder_dir, world / "g", add=(spec(world, "east"),))
    assert added.changes.reused == first.manifest.tile_count
    assert_equals_rebuild(encoder_dir, world / "g", world / "fresh")
    retired = update(encoder_dir, world / "g", retire=(region(CENTRE, 1e-4),))
    assert retired.changes.embedded == 0 < retired.changes.retired
    assert_equals_rebuild(encoder_dir, world / "g", world / "fresh")
    with pytest.raises(InvalidParameter, match="no tile's centre"):
        update(encoder_dir, world / "g", retire=(region(CENTRE, 1e-4),))
    assert current_epoch(world / "g") == retired.version
    restored = update(encoder_dir, world / "g", restore=True)
    assert restored.manifest.content_hash == added.manifest.content_hash
    smaller = update(encoder_dir, world / "g", area=region(EAST), remove=("west",))
    assert smaller.changes.embedded == 0
    assert_equals_rebuild(encoder_dir, world / "g", world / "fresh")


@pytest.mark.parametrize("seed", range(4))
def test_random_changes_equal_a_rebuild(world, encoder_dir, seed):
    chance = np.random.default_rng(100 + seed)
    shards = int(chance.integers(2, 7))
    build(encoder_dir, world / "g", spec(world, "west"), tile_sizes_m=(30.0, 45.0), shards=shards)
    names = ["west"]
    for round_number in range(3):
        changes = {}
        if chance.random() < 0.6:
            top, left = chance.integers(0, 140, 2)
            repaint(
                world / f"{chance.choice(names)}.tif",
                slice(top, top + 40),
                slice(left, left + 40),
                seed=seed + round_number,
                value=0 if chance.random() < 0.3 else None,
            )
        if chance.random() < 0.4 and "east" not in names:
            changes["add"] = (spec(world, "east"),)
            names.append("east")
        elif chance.random() < 0.3 and len(names) == 2:
            changes["remove"] = (str(chance.choice(names)),)
            names.remove(changes["remove"][0])
        if chance.random() < 0.4:
            centre = (CENTRE[0] + chance.uniform(-1, 1) * 4e-4, CENTRE[1])
            changes["retire"] = (region(centre, 1.5e-4),)
        changes["restore"] = bool(chance.random() < 0.2)
        if chance.random() < 0.2:
            shards = int(chance.integers(2, 7))
        before, options = current_epoch(world / "g"), {"shards": shards, "reread": seed == 0}
        try:
            report = update(encoder_dir, world / "g", **options, **changes)
        except InvalidParameter:  # the region holds no tile
            report = update(encoder_dir, world / "g", **options, **{**changes, "retire": ()})
        assert_equals_rebuild(encoder_dir, world / "g", world / "fresh")
        assert report.published == (current_epoch(world / "g") != before)
        assert len(directories(world / "g")) == shards == report.shards
        counts = report.changes
        assert counts.embedded + counts.reused == report.manifest.tile_count
    verify_pieces(world / "g", before, None)


def test_cuts_move_when_a_shard_grows_far_beyond_its_share(world, encoder_dir):
    build(encoder_dir, world / "g", spec(world, "west"))
    before = read_epoch(world / "g")
    report = update(encoder_dir, world / "g", add=(spec(world, "east"),))
    after = read_epoch(world / "g")
    assert [one.morton_low for one in before.shards] != [one.morton_low for one in after.shards]
    assert max(one.tile_count for one in after.shards) < 1.5 * after.tile_count / SHARDS
    assert report.changes.embedded < report.manifest.tile_count
    assert_hashes_equal_a_sharded_build(encoder_dir, world / "g", world / "sharded")


def test_shards_are_cut_anew_when_asked_for(world, encoder_dir):
    first = build(encoder_dir, world / "g", spec(world, "west"))
    report = update(encoder_dir, world / "g", shards=3)
    assert (report.changes.embedded, report.shards) == (0, 3)
    assert report.manifest.content_hash == first.manifest.content_hash
    assert_hashes_equal_a_sharded_build(encoder_dir, world / "g", world / "sharded")
    with pytest.raises(PublishError, match="cannot become one of one piece"):
        update(encoder_dir, world / "g", shards=1)
    build(encoder_dir, world / "plain", spec(world, "west"), shards=1)
    with pytest.raises(PublishError, match="cannot become a sharded one"):
        update(encoder_dir, world / "plain", shards=2)


def test_another_index_is_made_of_the_same_rows(world, encoder_dir):
    first = build(encoder_dir, world / "g", spec(world, "west"), overlap=0.75, shards=2)
    report = update(encoder_dir, world / "g", index=IndexRequest(kind="ivf_rabitq"))
    assert report.changes.embedded == 0
    assert shared(world / "g", first.version, report.version) == [True, True]
    assert all((one / "index.faiss").is_file() for one in directories(world / "g"))
    verify_pieces(world / "g", None, None)
    touch(world / "west.tif")
    again = update(encoder_dir, world / "g")
    one, other = (
        [path / "index.faiss" for path in directories(world / "g", version)]
        for version in (report.version, again.version)
    )
    assert all(os.path.samefile(*pair) for pair in zip(one, other, strict=True))
    assert_equals_rebuild_of_index(encoder_dir, world / "g", world / "sharded")


def assert_equals_rebuild_of_index(encoder_dir, root, scratch):
    rebuild(encoder_dir, scratch, root, shards=2)
    for one, other in zip(directories(root), directories(scratch), strict=True):
        assert (one / "index.faiss").read_bytes() == (other / "index.faiss").read_bytes()


def test_another_encoder_or_builder_takes_nothing_over(world, encoder_dir, monkeypatch):
    first = build(encoder_dir, world / "g", spec(world, "west"))
    other = write_tiny_encoder(world / "other-encoder", seed=4, name="other")
    report = update(other, world / "g")
    assert (report.changes.reused, report.kept_shards) == (0, 0)
    assert_equals_rebuild(other, world / "g", world / "fresh")
    rollback_epoch(world / "g")
    monkeypatch.setattr("crossfix.__version__", "9.9.9")
    report = update(encoder_dir, world / "g")
    assert report.changes.embedded == first.manifest.tile_count
    assert report.kept_shards == 0


def test_files_are_copied_where_there_are_no_links(world, encoder_dir, monkeypatch):
    first = build(encoder_dir, world / "g", spec(world, "west"))

    def refuse(*_paths):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(linking, "link", refuse)
    touch(world / "west.tif")
    report = update(encoder_dir, world / "g")
    assert report.kept_shards == SHARDS
    assert shared(world / "g", first.version, report.version) == [False] * SHARDS
    assert_equals_rebuild(encoder_dir, world / "g", world / "fresh")


def test_old_epochs_stay_whole_and_pruning_takes_nothing_a_kept_one_uses(world, encoder_dir):
    first = build(encoder_dir, world / "g", spec(world, "west"))
    for seed in (5, 6):
        repaint(world / "west.tif", *CORNER, seed=seed)
        latest = update(encoder_dir, world / "g", keep=2)
    assert first.version in latest.removed_versions
    kept = list_epochs(world / "g")
    assert kept[-1] == latest.version
    assert len(kept) == 2
    for epoch in kept:
        verify_pieces(world / "g", epoch, None)
    assert rollback_epoch(world / "g") == kept[0]
    only = update(encoder_dir, world / "g", keep=1)
    assert list_epochs(world / "g") == [only.version]
    assert_equals_rebuild(encoder_dir, world / "g", world / "fresh")
    for shard in (world / "g" / "shards").iterdir():
        assert len(list((shard / "versions").iterdir())) == 1


def test_steps_of_shards_are_those_of_a_build(world, encoder_dir):
    build(encoder_dir, world / "g", spec(world, "west"), shards=2)
    touch(world / "west.tif")
    told = []
    update(encoder_dir, world / "g", step=told.append)
    shards = [f"{number:03d}/{step}" for number in range(2) for step in STEPS]
    assert told == [*BUILD_STEPS, *shards, *SHARDED_STEPS]


@pytest.mark.parametrize("damage", ["vectors", "manifest"])
def test_a_damaged_shard_is_not_taken_over(world, encoder_dir, damage):
    first = build(encoder_dir, world / "g", spec(world, "west"))
    directory = directories(world / "g")[2]
    if damage == "vectors":
        data = bytearray((directory / VECTORS_FILE).read_bytes())
        data[100] ^= 1
        (directory / VECTORS_FILE).write_bytes(bytes(data))
    else:
        manifest = json.loads((directory / "manifest.json").read_text())
        (directory / "manifest.json").write_text(json.dumps({**manifest, "overlap": 0.1}))
    with pytest.raises(GalleryCorrupt, match=r"vectors\.f16|another\s+checksum"):
        update(encoder_dir, world / "g")
    assert list_epochs(world / "g") == [first.version]


def test_left_out_lists_are_one(tmp_path):
    assert left_out_rows([tmp_path]) is None
    for number, names in enumerate((["b"], ["c", "a"])):
        (tmp_path / str(number)).mkdir()
        columns = {"tile_id": names, "why": [""] * len(names)}
        columns |= {name: [1.0] * len(names) for name in ("lon", "lat", "size_m")}
        pq.write_table(pa.table(columns), tmp_path / str(number) / "left_out.parquet")
    rows = left_out_rows([tmp_path / "0", tmp_path / "1"])
    assert rows.column("tile_id").to_pylist() == ["a", "b", "c"]
