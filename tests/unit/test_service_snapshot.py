"""Loading, refusing and swapping gallery versions, with a hand-turned clock."""

import asyncio
import json
import logging
import shutil

import httpx
import pytest

from crossfix.encoder import Encoder
from crossfix.errors import (
    EncoderCorrupt,
    EncoderGalleryMismatch,
    EncoderNotFound,
    GalleryCorrupt,
    GalleryNotFound,
)
from crossfix.estimate import CANDIDATES
from service.errors import NotReady
from service.galleries.snapshot import SnapshotHolder, load_snapshot, run_canary
from tests.service_world import World, make_world, publish_gallery, serve
from tests.tiny_encoder import write_tiny_encoder


@pytest.fixture
def world(tmp_path) -> World:
    return make_world(tmp_path)


class Bench:
    def __init__(self, world: World) -> None:
        self.world, self.now = world, 0.0
        self.results: list[str] = []
        self.sentences: list[str] = []
        self.changes: list[str] = []
        self.holder = SnapshotHolder(
            world.settings(reload_interval_s=10.0),
            clock=lambda: self.now,
            on_change=lambda snapshot: self.changes.append(snapshot.version),
            on_result=self._note,
        )

    def _note(self, result: str, sentence: str) -> None:
        self.results.append(result)
        self.sentences.append(sentence)

    def reload(self) -> bool:
        return asyncio.run(self.holder.reload_if_new())

    def point_to(self, version: str) -> None:
        (self.world.gallery_path / "CURRENT.json").write_text(json.dumps({"version": version}))


@pytest.fixture
def bench(world: World):
    bench = Bench(world)
    asyncio.run(bench.holder.load_first())
    yield bench
    bench.holder.close()


def test_nothing_is_live_before_the_first_load(world: World) -> None:
    holder = Bench(world).holder
    with pytest.raises(NotReady):
        holder.current()
    holder.close()


def test_a_new_version_replaces_the_old_one_once(bench: Bench) -> None:
    old = bench.holder.current()
    assert bench.reload() is False
    publish_gallery(bench.world.gallery_path, bench.world.encoder, "v2", first_seed=50)
    assert bench.reload() is True
    assert bench.holder.current().version == "v2"
    assert bench.holder.current().encoder is old.encoder
    assert old.version == "v1"
    assert bench.changes == ["v1", "v2"]
    assert bench.results == ["ok"]
    assert bench.reload() is False


def test_rolling_back_is_pointing_back(bench: Bench) -> None:
    publish_gallery(bench.world.gallery_path, bench.world.encoder, "v2", first_seed=50)
    bench.reload()
    bench.point_to("v1")
    assert bench.reload() is True
    assert bench.holder.current().version == "v1"


def test_a_bad_version_is_tried_again_only_after_growing_pauses(bench: Bench) -> None:
    bench.point_to("v9")
    attempts = []
    for second in range(0, 200, 10):
        bench.now = float(second)
        before = len(bench.results)
        bench.reload()
        if len(bench.results) > before:
            attempts.append(second)
    assert attempts == [0, 20, 60, 140]
    assert set(bench.results) == {"gallery_not_found"}
    assert bench.holder.current().version == "v1"


def test_a_repaired_version_is_taken_after_its_pause(bench: Bench) -> None:
    bench.point_to("v2")
    bench.reload()
    shutil.rmtree(bench.world.gallery_path / "versions" / "v2", ignore_errors=True)
    publish_gallery(bench.world.gallery_path, bench.world.encoder, "v2")
    assert bench.reload() is False
    bench.now += 20
    assert bench.reload() is True


def test_another_new_version_does_not_wait_for_the_bad_one(bench: Bench) -> None:
    bench.point_to("v9")
    bench.reload()
    publish_gallery(bench.world.gallery_path, bench.world.encoder, "v2")
    assert bench.reload() is True


def test_a_broken_or_missing_pointer_keeps_the_old_version(bench: Bench) -> None:
    pointer = bench.world.gallery_path / "CURRENT.json"
    pointer.write_text("{")
    bench.reload()
    assert bench.results == ["gallery_corrupt"]
    pointer.unlink()
    bench.now = 1000
    bench.reload()
    assert bench.results == ["gallery_corrupt", "gallery_not_found"]
    assert bench.holder.current().version == "v1"


def test_a_gallery_of_another_encoder_is_refused_naming_both(bench: Bench, tmp_path) -> None:
    other = Encoder.load(
        write_tiny_encoder(tmp_path / "other" / "encoder", seed=7, name="tiny-7"), device="cpu"
    )
    publish_gallery(bench.world.gallery_path, other, "v2")
    bench.reload()
    assert bench.results == ["encoder_gallery_mismatch"]
    assert "tiny-7" in bench.sentences[0]
    assert "encoder is tiny (" in bench.sentences[0]
    assert bench.holder.current().version == "v1"


@pytest.mark.parametrize("name", ["vectors.f16", "tiles.parquet", "pictures.parquet"])
def test_one_flipped_byte_in_any_file_is_noticed(world: World, name: str) -> None:
    path = world.gallery_path / "versions" / "v1" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(GalleryCorrupt, match=name):
        load_snapshot(world.settings())


def test_missing_things_are_named(world: World, tmp_path) -> None:
    with pytest.raises(EncoderNotFound):
        load_snapshot(world.settings(encoder=tmp_path / "nowhere"))
    with pytest.raises(GalleryNotFound):
        load_snapshot(world.settings(gallery=tmp_path / "nowhere"))
    other = write_tiny_encoder(tmp_path / "other" / "encoder", seed=7, name="tiny-7")
    with pytest.raises(EncoderGalleryMismatch):
        load_snapshot(world.settings(encoder=other))


def test_the_canary_notices_embeddings_that_are_not_unit_norm(world: World, monkeypatch) -> None:
    snapshot = load_snapshot(world.settings())
    honest = snapshot.encoder.encode
    monkeypatch.setattr(snapshot.encoder, "encode", lambda *a: 2 * honest(*a))
    with pytest.raises(EncoderCorrupt, match="unit-norm"):
        run_canary(snapshot)


def test_the_canary_asks_as_many_tiles_as_photos_do(world: World, monkeypatch) -> None:
    snapshot = load_snapshot(world.settings())
    asked, search = [], snapshot.gallery.search
    monkeypatch.setattr(
        snapshot.gallery, "search", lambda some, k, **_how: asked.append(k) or search(some, k)
    )
    run_canary(snapshot)
    assert set(asked) == {CANDIDATES}


def ask_for_a_gpu(world: World, version: str) -> None:
    """Rewrites a version's manifest: an index that no machine without a GPU can have."""
    path = world.gallery_path / "versions" / version / "manifest.json"
    document = json.loads(path.read_text())
    document["index"] = {"kind": "gpu_cagra", "parameters": {}, "measured_recall_at_10": 0.99}
    path.write_text(json.dumps(document))


@pytest.fixture
def no_gpu(monkeypatch) -> None:
    monkeypatch.setattr("crossfix.index_gpu.gpu_is_usable", lambda: False)


def noted_fallbacks(caplog) -> list[dict[str, str]]:
    return [record.fields for record in caplog.records if record.message == "index_fallback"]


@pytest.mark.usefixtures("no_gpu")
def test_another_index_than_the_gallerys_is_logged_at_load_and_swap(world, caplog) -> None:
    ask_for_a_gpu(world, "v1")
    with caplog.at_level(logging.INFO, "service.event"):
        bench = Bench(world)
        asyncio.run(bench.holder.load_first())
        publish_gallery(world.gallery_path, world.encoder, "v2")
        assert bench.reload() is True
        assert [note["gallery_version"] for note in noted_fallbacks(caplog)] == ["v1"]
        ask_for_a_gpu(world, "v2")
        bench.point_to("v1")
        assert bench.reload() is True
        bench.point_to("v2")
        assert bench.reload() is True
        bench.holder.close()
    notes = noted_fallbacks(caplog)
    assert [note["gallery_version"] for note in notes] == ["v1", "v1", "v2"]
    assert notes[0]["index_in_use"] == "exact_f16"
    assert "gpu_cagra" in notes[0]["reason"]


@pytest.mark.usefixtures("no_gpu")
def test_the_gallery_page_tells_which_index_searches(world) -> None:
    with serve(world.settings()) as base:
        told = httpx.get(f"{base}/gallery").json()
    assert (told["index"]["kind"], told["index_in_use"]) == ("exact_f16", "exact_f16")
    assert told["index_fallback"] == ""
    ask_for_a_gpu(world, "v1")
    with serve(world.settings()) as base:
        told = httpx.get(f"{base}/gallery").json()
    assert (told["index"]["kind"], told["index_in_use"]) == ("gpu_cagra", "exact_f16")
    assert "gpu_cagra" in told["index_fallback"]
