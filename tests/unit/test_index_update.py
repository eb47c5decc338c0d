"""An update equals a full rebuild and does no more than what has changed."""

import json
import os
import shutil

import numpy as np
import pytest

from crossfix.errors import (
    GalleryCorrupt,
    GalleryError,
    GalleryNotFound,
    InvalidParameter,
    PublishError,
)
from crossfix.gallery import Gallery, current_version
from crossfix.manifest import read_model
from index_builder import build as build_module
from index_builder.assembly.changes import UpdateCounts
from index_builder.build import BuildRequest, build_gallery
from index_builder.publish import list_versions, locked
from index_builder.recipe import GalleryRecipe
from index_builder.sources.rasters.block_source import BlockSource
from index_builder.sources.spec import SourceSpec
from index_builder.update import Changes, UpdateRequest, change_recipe, update_gallery
from tests.tiny_encoder import CENTRE, write_tiny_encoder
from tests.two_rasters import EAST, region, repaint, spec, touch, write_rasters

FILES = ("vectors.f16", "tiles.parquet", "pictures.parquet", "recipe.json")


@pytest.fixture(scope="module")
def encoder_dir(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp("update") / "encoder")


@pytest.fixture
def world(tmp_path):
    return write_rasters(tmp_path)


def build(encoder_dir, out, *sources, **recipe):
    recipe = GalleryRecipe(sources=sources, **{"tile_sizes_m": (30.0,), **recipe})
    return build_gallery(BuildRequest(encoder_dir=encoder_dir, recipe=recipe, out=out))


def rebuild(encoder_dir, out, report):
    """What a build from nothing makes of an updated gallery's recipe."""
    recipe = read_model(report.directory / "recipe.json", GalleryRecipe, GalleryError)
    shutil.rmtree(out, ignore_errors=True)
    return build_gallery(BuildRequest(encoder_dir=encoder_dir, recipe=recipe, out=out))


def assert_same(updated, rebuilt):
    assert updated.manifest.content_hash == rebuilt.manifest.content_hash
    for name in (*FILES, "left_out.parquet"):
        one, other = updated.directory / name, rebuilt.directory / name
        assert one.read_bytes() == other.read_bytes(), name
    changing = {"version": "", "created": ""}
    manifests = [one.manifest.model_copy(update=changing) for one in (updated, rebuilt)]
    assert manifests[0] == manifests[1]


def update(encoder_dir, gallery, *, reread=False, **changes):
    return update_gallery(
        UpdateRequest(
            encoder_dir=encoder_dir, gallery=gallery, changes=Changes(**changes), reread=reread
        )
    )


def test_nothing_changed_reads_and_publishes_nothing(world, encoder_dir, monkeypatch):
    first = build(encoder_dir, world / "g", spec(world, "west"), spec(world, "east"))
    assert first.stats.empty_tiles > 0
    monkeypatch.setattr(BlockSource, "read", lambda *_arguments: pytest.fail("a tile was read"))
    report = update(encoder_dir, world / "g")
    assert report.changes == UpdateCounts(0, first.manifest.tile_count, 0, 0)
    assert not report.published
    assert (report.version, list_versions(world / "g")) == (first.version, [first.version])
    assert {path.name for path in (world / "g").iterdir()} == {"versions", "CURRENT.json", ".lock"}


def test_changed_pixels_are_embedded_again_and_only_they(world, encoder_dir):
    first = build(encoder_dir, world / "g", spec(world, "west"), spec(world, "east"))
    repaint(world / "west.tif", slice(100, 120), slice(100, 120), seed=5)
    report = update(encoder_dir, world / "g")
    assert 0 < report.changes.embedded < first.manifest.tile_count / 3
    assert (report.changes.added, report.changes.retired) == (0, 0)
    assert_same(report, rebuild(encoder_dir, world / "fresh", report))
    old, new = Gallery.open(world / "g", version=first.version), Gallery.open(world / "g")
    changed = [
        row for row in range(len(old)) if not np.array_equal(old.vectors[row], new.vectors[row])
    ]
    assert len(changed) == report.changes.embedded


def test_a_touched_file_is_read_but_nothing_is_embedded(world, encoder_dir):
    first = build(encoder_dir, world / "g", spec(world, "west"))
    touch(world / "west.tif")
    report = update(encoder_dir, world / "g")
    assert report.changes == UpdateCounts(0, first.manifest.tile_count, 0, 0)
    assert report.published, "the manifest tells the new fingerprint"
    assert_same(report, rebuild(encoder_dir, world / "fresh", report))


def test_reread_sees_what_times_do_not_tell(world, encoder_dir):
    build(encoder_dir, world / "g", spec(world, "west"))
    before = (world / "west.tif").stat()
    repaint(world / "west.tif", slice(0, 30), slice(0, 30), seed=3)
    assert (world / "west.tif").stat().st_size == before.st_size
    os.utime(world / "west.tif", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not update(encoder_dir, world / "g").published
    report = update(encoder_dir, world / "g", reread=True)
    assert report.changes.embedded > 0
    assert_same(report, rebuild(encoder_dir, world / "fresh", report))


def test_sources_come_and_go_and_keep_their_names(world, encoder_dir, monkeypatch):
    first = build(encoder_dir, world / "g", spec(world, "west"))
    monkeypatch.chdir(world)
    added = update(encoder_dir, world / "g", add=(SourceSpec(location="east.tif"),))
    assert added.changes.reused == first.manifest.tile_count
    assert added.changes.added == added.changes.embedded > 0
    assert_same(added, rebuild(encoder_dir, world / "fresh", added))
    shutil.copyfile(world / "east.tif", world / "more.tif")
    (world / "other").mkdir()
    shutil.copyfile(world / "west.tif", world / "other" / "west.tif")
    twice = update(encoder_dir, world / "g", add=(SourceSpec(location="other/west.tif"),))
    assert [one.name for one in twice.manifest.sources] == ["west", "east", "west-2"]
    removed = update(encoder_dir, world / "g", remove=("west",))
    assert [one.name for one in removed.manifest.sources] == ["east", "west-2"]
    assert removed.changes.retired == first.manifest.tile_count
    assert removed.changes.embedded == 0
    assert_same(removed, rebuild(encoder_dir, world / "fresh", removed))


def test_regions_are_retired_and_restored(world, encoder_dir):
    first = build(encoder_dir, world / "g", spec(world, "west"), spec(world, "east"))
    retired = update(encoder_dir, world / "g", retire=(region(CENTRE),))
    count = retired.changes.retired
    assert 0 < count < first.manifest.tile_count
    assert retired.changes == UpdateCounts(0, first.manifest.tile_count - count, 0, count)
    assert_same(retired, rebuild(encoder_dir, world / "fresh", retired))
    restored = update(encoder_dir, world / "g", restore=True)
    assert restored.changes.added == restored.changes.embedded == count
    assert restored.manifest.content_hash == first.manifest.content_hash


@pytest.mark.parametrize("again", [False, True])
def test_a_region_that_holds_no_tile_is_refused_and_nothing_is_published(world, encoder_dir, again):
    first = build(encoder_dir, world / "g", spec(world, "west"))
    live, elsewhere = first.version, region((CENTRE[0] + 1, CENTRE[1]))
    if again:
        live = update(encoder_dir, world / "g", retire=(region(CENTRE),)).version
    with pytest.raises(InvalidParameter, match="no tile's centre") as it:
        update(encoder_dir, world / "g", retire=(region(CENTRE) if again else elsewhere,))
    assert "longitude goes first" in it.value.hint
    assert (list_versions(world / "g")[-1], current_version(world / "g")) == (live, live)
    shrunk = update(encoder_dir, world / "g", restore=True, retire=(region(CENTRE, 2e-4),))
    assert 0 < shrunk.planned_tiles < first.planned_tiles
    recipe = read_model(shrunk.directory / "recipe.json", GalleryRecipe, GalleryError)
    assert recipe.retired == (region(CENTRE, 2e-4),)


def test_the_area_changes(world, encoder_dir):
    first = build(encoder_dir, world / "g", spec(world, "west"), spec(world, "east"))
    smaller = update(encoder_dir, world / "g", area=region(EAST))
    assert 0 < smaller.changes.reused < first.manifest.tile_count
    assert smaller.changes.embedded == 0
    assert_same(smaller, rebuild(encoder_dir, world / "fresh", smaller))
    whole = update(encoder_dir, world / "g", everywhere=True)
    assert whole.manifest.content_hash == first.manifest.content_hash


@pytest.mark.parametrize("seed", range(4))
def test_random_changes_equal_a_rebuild(world, encoder_dir, seed):
    chance = np.random.default_rng(seed)
    build(encoder_dir, world / "g", spec(world, "west"), tile_sizes_m=(30.0, 45.0))
    names = ["west"]
    for round_number in range(4):
        changes = {}
        if chance.random() < 0.6:
            top, left = chance.integers(0, 140, 2)
            value = 0 if chance.random() < 0.3 else None
            repaint(
                world / f"{chance.choice(names)}.tif",
                slice(top, top + 50),
                slice(left, left + 50),
                seed=seed + round_number,
                value=value,
            )
        if chance.random() < 0.5 and "east" not in names:
            changes["add"] = (spec(world, "east"),)
            names.append("east")
        elif chance.random() < 0.4 and len(names) == 2:
            changes["remove"] = (str(chance.choice(names)),)
            names.remove(changes["remove"][0])
        if chance.random() < 0.4:
            centre = (CENTRE[0] + chance.uniform(-1, 1) * 4e-4, CENTRE[1])
            changes["retire"] = (region(centre, 1e-4),)
        changes["restore"] = bool(chance.random() < 0.2)
        reread = bool(chance.random() < 0.3)
        try:
            report = update(encoder_dir, world / "g", reread=reread, **changes)
        except InvalidParameter:  # the region holds no tile
            report = update(encoder_dir, world / "g", **{**changes, "retire": ()})
        fresh = rebuild(encoder_dir, world / "fresh", report)
        assert_same(report, fresh)
        counts = report.changes
        assert counts.embedded + counts.reused == fresh.manifest.tile_count
        assert report.stats.reused == counts.reused


def test_an_interrupted_update_goes_on(world, encoder_dir):
    build(encoder_dir, world / "g", spec(world, "west"))

    def interrupt(step):
        if step == "assembled":
            raise KeyboardInterrupt

    request = UpdateRequest(
        encoder_dir=encoder_dir, gallery=world / "g", changes=Changes(add=(spec(world, "east"),))
    )
    with pytest.raises(KeyboardInterrupt):
        update_gallery(request, step=interrupt)
    report = update_gallery(request)
    assert report.stats.resumed == report.planned_tiles
    assert report.changes.reused > 0
    assert_same(report, rebuild(encoder_dir, world / "fresh", report))


def test_another_encoder_embeds_everything_again(world, encoder_dir):
    build(encoder_dir, world / "g", spec(world, "west"))
    other = write_tiny_encoder(world / "other-encoder", seed=4, name="other")
    report = update(other, world / "g")
    assert report.changes.reused == 0
    assert_same(report, rebuild(other, world / "fresh", report))


def test_another_builder_embeds_everything_again(world, encoder_dir, monkeypatch):
    """Other code may read imagery and compute embeddings otherwise."""
    build(encoder_dir, world / "g", spec(world, "west"))
    monkeypatch.setattr("crossfix.__version__", "9.9.9")
    report = update(encoder_dir, world / "g")
    assert report.changes.embedded == report.manifest.tile_count
    assert report.published
    assert_same(report, rebuild(encoder_dir, world / "fresh", report))


def test_what_cannot_be_updated_is_said(world, encoder_dir, monkeypatch):
    with pytest.raises(GalleryNotFound):
        update(encoder_dir, world / "none")
    first = build(encoder_dir, world / "g", spec(world, "west"))
    with pytest.raises(InvalidParameter, match="has no source 'x'") as it:
        update(encoder_dir, world / "g", remove=("x",))
    assert "west" in it.value.hint
    with pytest.raises(InvalidParameter, match="no source left"):
        update(encoder_dir, world / "g", remove=("west",))
    with locked(world / "g"), pytest.raises(PublishError, match="is writing"):
        update(encoder_dir, world / "g")
    with monkeypatch.context() as patch:
        patch.setattr(build_module, "live_version", lambda _root: "another")
        with pytest.raises(PublishError, match="changed by another process"):
            update(encoder_dir, world / "g")
    (first.directory / "recipe.json").unlink()
    manifest = json.loads((first.directory / "manifest.json").read_text())
    del manifest["files"]["recipe.json"]
    (first.directory / "manifest.json").write_text(json.dumps({**manifest, "format_version": 1}))
    with pytest.raises(GalleryError, match=r"has no recipe\.json: an older builder made it"):
        update(encoder_dir, world / "g")
    assert current_version(world / "g") == first.version


def test_recipes_change_as_asked():
    recipe = GalleryRecipe(
        sources=(SourceSpec(location="/a.tif", name="a"), SourceSpec(location="/b.tif", name="b")),
        tile_sizes_m=(30.0,),
        overlap=0.25,
        retired=(region(CENTRE),),
    )
    assert change_recipe(recipe, Changes()) == recipe
    changed = change_recipe(recipe, Changes(remove=("a",), add=(SourceSpec(location="/x/b.tif"),)))
    assert [one.name for one in changed.sources] == ["b", "b-2"]
    assert changed.overlap == 0.25
    more = change_recipe(recipe, Changes(retire=(region(EAST),)))
    assert more.retired == (region(CENTRE), region(EAST))
    assert change_recipe(more, Changes(restore=True)).retired == ()
    inside = change_recipe(recipe, Changes(area=region(EAST)))
    assert inside.area == region(EAST)
    assert change_recipe(inside, Changes(everywhere=True)).area is None


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_old_version_is_not_taken_over(world, encoder_dir, damage):
    first = build(encoder_dir, world / "g", spec(world, "west"))
    vectors = first.directory / "vectors.f16"
    data = bytearray(vectors.read_bytes())
    data[100] ^= 1
    vectors.write_bytes(bytes(data[:-2] if damage == "cut" else data))
    with pytest.raises(GalleryCorrupt, match=r"vectors\.f16"):
        update(encoder_dir, world / "g")
    assert list_versions(world / "g") == [first.version]
