"""What an update takes over: nothing that another base, device or builder made."""

import json
import os
import shutil
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crossfix.errors import SourceError
from crossfix.gallery import Gallery
from crossfix.gallery_manifest import PICTURES_FILE, TILES_FILE, VECTORS_FILE
from crossfix.geodesy import Bounds
from crossfix.tile_table import PICTURE_SCHEMA, SCHEMA
from index_builder.build import BuildRequest, build_gallery
from index_builder.embedding.old_rows import OldRows
from index_builder.embedding.old_tiles import Known, OldTile, OldTiles
from index_builder.left_out import LEFT_OUT_FILE, LEFT_OUT_SCHEMA
from index_builder.recipe import GalleryRecipe
from index_builder.sources.rasters.block_source import BlockSource
from index_builder.sources.source import TilePlan
from index_builder.sources.spec import SourceSpec
from index_builder.update import UpdateRequest, update_gallery
from tests.tiny_encoder import random_texture, write_geotiff, write_tiny_encoder

BYTES_PER_TILE = 150
DIM = 2


@pytest.fixture(scope="module")
def encoder_dir(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp("base") / "encoder")


@pytest.fixture
def raster(tmp_path):
    return write_geotiff(tmp_path / "west.tif", size_px=(160, 160))


def request(encoder_dir, raster, out, **options):
    recipe = GalleryRecipe(sources=(SourceSpec(location=str(raster)),), tile_sizes_m=(30.0,))
    return BuildRequest(
        encoder_dir=encoder_dir, recipe=recipe, out=out, device="cpu", threads=1, **options
    )


def update_request(encoder_dir, gallery, **options):
    return UpdateRequest(
        encoder_dir=encoder_dir, gallery=gallery, device="cpu", threads=1, **options
    )


def replace_unseen(path):
    """Other pixels in a file of the same size and time."""
    before = path.stat()
    write_geotiff(path, pixels=random_texture(160, 160, seed=77))
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def interrupt(step):
    if step == "assembled":
        raise KeyboardInterrupt


@pytest.fixture
def interrupted(encoder_dir, raster, tmp_path):
    """A gallery whose imagery was replaced unseen, and whose update was interrupted."""
    build_gallery(request(encoder_dir, raster, tmp_path / "g"))
    replace_unseen(raster)
    with pytest.raises(KeyboardInterrupt):
        update_gallery(update_request(encoder_dir, tmp_path / "g"), step=interrupt)
    return tmp_path / "g"


def test_a_reread_does_not_trust_what_an_interrupted_update_left(
    encoder_dir, raster, interrupted, tmp_path
):
    report = update_gallery(update_request(encoder_dir, interrupted, reread=True))
    assert report.published
    assert report.stats.resumed == 0
    assert report.changes.embedded == report.manifest.tile_count
    fresh = build_gallery(request(encoder_dir, raster, tmp_path / "fresh"))
    assert report.manifest.content_hash == fresh.manifest.content_hash


def test_a_build_does_not_trust_what_an_interrupted_update_left(
    encoder_dir, raster, interrupted, tmp_path
):
    report = build_gallery(request(encoder_dir, raster, interrupted))
    fresh = build_gallery(request(encoder_dir, raster, tmp_path / "fresh"))
    assert report.stats.resumed == 0
    assert report.manifest.content_hash == fresh.manifest.content_hash


def test_an_update_of_another_base_begins_anew(encoder_dir, raster, interrupted):
    live = build_gallery(request(encoder_dir, raster, interrupted))
    with pytest.raises(KeyboardInterrupt):
        update_gallery(update_request(encoder_dir, interrupted), step=interrupt)
    shutil.copytree(live.directory, live.directory.with_name("other"))
    manifest = json.loads((live.directory / "manifest.json").read_text())
    (live.directory.with_name("other") / "manifest.json").write_text(
        json.dumps({**manifest, "version": "other"})
    )
    (interrupted / "CURRENT.json").write_text('{"version": "other"}')
    report = update_gallery(update_request(encoder_dir, interrupted))
    assert report.stats.resumed == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("computed_on", "CUDAExecutionProvider 16"),
        ("computed_on", ""),
        ("builder_revision", "0.0.1"),
    ],
)
def test_embeddings_computed_otherwise_are_not_taken_over(
    encoder_dir, raster, tmp_path, field, value
):
    first = build_gallery(request(encoder_dir, raster, tmp_path / "g"))
    assert first.manifest.computed_on == "CPUExecutionProvider 1"
    path = first.directory / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    report = update_gallery(update_request(encoder_dir, tmp_path / "g"))
    assert report.stats.reused == 0
    assert report.changes.embedded == first.manifest.tile_count
    assert report.published, "else every update would embed everything again"
    assert report.manifest.content_hash == first.manifest.content_hash
    assert Gallery.open(tmp_path / "g").manifest.computed_on == "CPUExecutionProvider 1"
    again = update_gallery(update_request(encoder_dir, tmp_path / "g"))
    assert (again.published, again.changes.embedded) == (False, 0)


def test_another_list_of_left_out_tiles_is_published(encoder_dir, raster, tmp_path, monkeypatch):
    """The rows are the same, but what was broken is known to be empty now."""
    read = BlockSource.read
    plans = []
    monkeypatch.setattr(BlockSource, "read", lambda _self, plan: plans.append(plan))
    with pytest.raises(SourceError, match="none of"):
        build_gallery(request(encoder_dir, raster, tmp_path / "none"))
    last = plans[-1].tile_id

    def read_last(answer):
        def reading(self, plan):
            return answer() if plan.tile_id == last else read(self, plan)

        monkeypatch.setattr(BlockSource, "read", reading)

    def fail():
        raise SourceError("it is broken")

    read_last(fail)
    first = build_gallery(request(encoder_dir, raster, tmp_path / "g", skip_unreadable=True))
    assert len(first.stats.unreadable) == 1
    read_last(lambda: None)
    report = update_gallery(update_request(encoder_dir, tmp_path / "g", skip_unreadable=True))
    assert report.manifest.content_hash == first.manifest.content_hash
    assert report.published
    (row,) = pq.read_table(report.directory / LEFT_OUT_FILE).to_pylist()
    assert (row["tile_id"], row["why"]) == (last, "")


def test_a_picture_is_read_only_where_the_pixels_are_the_same(
    encoder_dir, raster, tmp_path, monkeypatch
):
    first = build_gallery(request(encoder_dir, raster, tmp_path / "g"))
    write_geotiff(raster, pixels=random_texture(160, 160, seed=77))
    monkeypatch.setattr(OldRows, "_picture", lambda *_: pytest.fail("a picture was read"))
    report = update_gallery(update_request(encoder_dir, tmp_path / "g", reread=True))
    assert report.changes.embedded == first.manifest.tile_count


def write_old_version(directory, tiles):
    """Tables of so many tiles, and as many that were left out; every second one was empty."""
    numbers = np.arange(tiles)
    names = [f"some-source-30m-{number}" for number in numbers]
    columns = {
        field.name: pa.array(numbers + 0.5, field.type)
        if pa.types.is_floating(field.type)
        else pa.array(["x"] * tiles, field.type)
        for field in SCHEMA
    }
    hashes = [f"{number:032x}" for number in numbers]
    columns |= {"tile_id": pa.array(names), "pixels_hash": pa.array(hashes)}
    pq.write_table(pa.table(columns, schema=SCHEMA), directory / TILES_FILE)
    out = {
        "tile_id": [f"out-{number}" for number in numbers],
        "lon": numbers + 0.5,
        "lat": numbers + 0.5,
        "size_m": numbers + 0.5,
        "why": ["broken" * (number % 2) for number in numbers],
    }
    pq.write_table(pa.table(out, schema=LEFT_OUT_SCHEMA), directory / LEFT_OUT_FILE)
    pictures = {"tile_id": names[:64], "jpeg": [b"jpeg"] * 64}
    pq.write_table(pa.table(pictures, schema=PICTURE_SCHEMA), directory / PICTURES_FILE)
    np.zeros((tiles, DIM), "<f2").tofile(directory / VECTORS_FILE)


def plan_of(tile_id, number):
    value = number + 0.5
    box = Bounds(value, value, value, value)
    return TilePlan(tile_id, value, value, box, value, None, "", "", "", 0, 0)


def test_old_tiles_take_little_memory_and_are_found(tmp_path):
    tiles = 60_000
    write_old_version(tmp_path, tiles)
    tracemalloc.start()
    try:
        old = OldTiles([tmp_path], DIM, set())
        found, out = old.look_up([plan_of("some-source-30m-777", 777), plan_of("out-4000", 4000)])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == Known(OldTile(777, f"{777:032x}", 777.5), was_empty=False)
    assert out == Known(None, was_empty=True)
    elsewhere, beyond, moved, broken = old.look_up(
        [
            plan_of("some-source-30m-777", 778),
            plan_of("some-source-30m-60000", 60_000),
            plan_of("out-4000", 4001),
            plan_of("out-4001", 4001),
        ]
    )
    assert elsewhere == beyond == moved == broken == Known()
    assert old.look_up([]) == []
    old.close()
    assert peak / tiles < BYTES_PER_TILE
