"""Taking over new versions: half-copied ones, other encoders, too large ones, many at once."""

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from crossfix.encoder import Encoder
from crossfix.errors import EncoderGalleryMismatch
from service.errors import VersionNotFound, VersionUnusable
from service.galleries import opening, snapshot_loading, snapshot_memory
from service.galleries import snapshot as holding
from service.galleries.snapshot import SnapshotHolder, load_snapshot
from service.galleries.snapshot_memory import (
    MemoryShort,
    encoder_bytes,
    find_free_bytes,
    gallery_bytes,
)
from tests.service_world import World, make_world, publish_gallery
from tests.swap_world import publish_marked
from tests.tiny_encoder import write_tiny_encoder


@pytest.fixture
def world(tmp_path) -> World:
    return make_world(tmp_path)


class Bench:
    def __init__(self, world: World, **settings: object) -> None:
        self.world, self.now = world, 0.0
        self.results: list[str] = []
        self.sentences: list[str] = []
        self.holder = SnapshotHolder(
            world.settings(reload_interval_s=10.0, **settings),
            clock=lambda: self.now,
            on_change=lambda _: None,
            on_result=self._note,
        )

    def _note(self, result: str, sentence: str) -> None:
        self.results.append(result)
        self.sentences.append(sentence)

    def reload(self, *, at_once: bool = False) -> bool:
        return asyncio.run(self.holder.reload_if_new(at_once=at_once))

    @property
    def version(self) -> str:
        return self.holder.current().version

    @property
    def versions(self) -> Path:
        return self.world.gallery_path / "versions"

    def point_to(self, version: str) -> None:
        (self.world.gallery_path / "CURRENT.json").write_text(json.dumps({"version": version}))


@pytest.fixture
def bench(world: World):
    bench = Bench(world)
    asyncio.run(bench.holder.load_first())
    yield bench
    bench.holder.close()


def test_at_once_does_not_wait_for_the_pause(bench: Bench) -> None:
    bench.point_to("v2")
    assert bench.reload() is False
    publish_gallery(bench.world.gallery_path, bench.world.encoder, "v2")
    assert bench.reload() is False
    assert bench.reload(at_once=True) is True
    assert bench.results == ["gallery_not_found", "ok"]


def test_nothing_is_reloaded_before_the_first_load(world: World) -> None:
    bench = Bench(world)
    assert bench.reload(at_once=True) is False
    bench.holder.close()


def test_a_copy_that_goes_on_is_taken_when_it_is_complete(bench: Bench, tmp_path) -> None:
    """A large version is copied for long; the pause after a refusal may be longer still."""
    publish_marked(bench.world.gallery_path, bench.world.encoder, 2)
    whole = bench.versions / "v2"
    shutil.move(whole, tmp_path / "elsewhere")
    assert bench.reload() is False, "nothing there"
    whole.mkdir()
    for name in ("tiles.parquet", "pictures.parquet", "manifest.json", "vectors.f16"):
        content = (tmp_path / "elsewhere" / name).read_bytes()
        (whole / name).write_bytes(content[: len(content) // 2])
        assert bench.reload(at_once=True) is False, f"{name} in half"
        (whole / name).write_bytes(content)
        assert bench.reload() is False
        assert bench.version == "v1"
    bench.now += 1
    assert bench.reload() is True, "unchanged since the last look"
    assert bench.version == "v2"
    assert set(bench.results[:-1]) == {"gallery_not_found", "gallery_corrupt"}
    assert bench.results[-1] == "ok"


def test_an_untouched_bad_version_waits_however_often_it_is_looked_at(bench: Bench) -> None:
    publish_marked(bench.world.gallery_path, bench.world.encoder, 2)
    (bench.versions / "v2" / "vectors.f16").write_bytes(b"")
    for _ in range(5):
        bench.reload()
    assert bench.results == ["gallery_corrupt"]


@pytest.mark.parametrize("name", ["manifest.json", "vectors.f16", "tiles.parquet"])
@pytest.mark.parametrize("how", ["missing", "empty", "short", "flipped", "longer"])
def test_a_version_that_is_not_whole_is_refused(bench: Bench, name: str, how: str) -> None:
    publish_marked(bench.world.gallery_path, bench.world.encoder, 2)
    path = bench.versions / "v2" / name
    content = bytearray(path.read_bytes())
    match how:
        case "missing":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "short":
            path.write_bytes(content[:-3])
        case "longer":
            path.write_bytes(content + b"}")
        case "flipped":
            content[len(content) // 2] ^= 0x80
            path.write_bytes(content)
    assert bench.reload() is False
    assert bench.results in (["gallery_corrupt"], ["gallery_not_found"])
    assert bench.version == "v1"


def test_an_emptied_gallery_folder_is_refused_and_the_old_version_answers(bench: Bench) -> None:
    live = bench.holder.current()
    embedding = np.ones((1, 32), np.float32) / np.float32(32**0.5)
    before = live.gallery.search(embedding, 5)
    pictures = [live.gallery.picture(row) for row in range(16)]
    shutil.rmtree(bench.world.gallery_path)
    bench.world.gallery_path.mkdir()
    assert bench.reload() is False
    assert bench.results == ["gallery_not_found"]
    after = live.gallery.search(embedding, 5)
    assert np.array_equal(before.rows, after.rows)
    assert np.array_equal(before.scores, after.scores)
    assert [live.gallery.picture(row) for row in range(16)] == pictures
    assert live.gallery.row_of("made-up/7") == 7
    assert live.gallery.tiles.pixels_hash[3] == "0" * 32, "read from the file only now"


def test_a_version_without_tiles_is_refused(bench: Bench) -> None:
    publish_marked(bench.world.gallery_path, bench.world.encoder, 2)
    path = bench.versions / "v2" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tile_count": 0}))
    assert bench.reload() is False
    assert bench.results == ["gallery_corrupt"]


def count_loads(monkeypatch) -> list[str]:
    loads, running, load = [], [], holding.load_version

    def counted(settings, version, encoder):
        assert not running, "two loads at once"
        running.append(version)
        try:
            loads.append(version)
            return load(settings, version, encoder)
        finally:
            running.pop()

    monkeypatch.setattr(holding, "load_version", counted)
    return loads


def test_many_reloads_at_once_load_once(bench: Bench, monkeypatch) -> None:
    publish_marked(bench.world.gallery_path, bench.world.encoder, 2)
    loads = count_loads(monkeypatch)

    async def all_at_once() -> list[bool]:
        return await asyncio.gather(
            *(bench.holder.reload_if_new(at_once=turn % 2 == 0) for turn in range(8))
        )

    assert sum(asyncio.run(all_at_once())) == 1
    assert loads == ["v2"]
    assert bench.results == ["ok"]


def test_reloads_and_activations_take_turns(bench: Bench, monkeypatch) -> None:
    for number in (2, 3):
        publish_marked(bench.world.gallery_path, bench.world.encoder, number)
    loads = count_loads(monkeypatch)

    async def all_at_once() -> None:
        await asyncio.gather(
            bench.holder.reload_if_new(),
            bench.holder.activate("v2"),
            bench.holder.reload_if_new(at_once=True),
            bench.holder.activate("v1"),
            bench.holder.reload_if_new(),
        )

    asyncio.run(all_at_once())
    assert bench.version == "v1"
    assert json.loads((bench.world.gallery_path / "CURRENT.json").read_text())["version"] == "v1"
    assert loads == ["v3"], "an activation leaves nothing to reload"


def make_encoder(tmp_path: Path, seed: int = 7) -> Encoder:
    """Another encoder, not in place yet."""
    return Encoder.load(
        write_tiny_encoder(tmp_path / f"tiny-{seed}" / "encoder", seed=seed, name=f"tiny-{seed}"),
        device="cpu",
    )


def test_a_new_encoder_comes_with_the_gallery_it_embedded(bench: Bench, tmp_path) -> None:
    old = bench.holder.current()
    other = make_encoder(tmp_path)
    publish_gallery(bench.world.gallery_path, other, "v2")
    assert bench.reload() is False
    assert bench.results == ["encoder_gallery_mismatch"]
    shutil.rmtree(bench.world.encoder_path)
    shutil.copytree(tmp_path / "tiny-7" / "encoder", bench.world.encoder_path)
    assert bench.holder.current() is old, "an encoder alone changes nothing"
    bench.reload()
    assert bench.reload() is True, "the encoder's files have changed and stayed"
    fresh = bench.holder.current()
    assert fresh.encoder is not old.encoder
    assert fresh.encoder.manifest.name == "tiny-7"
    assert fresh.gallery.manifest.embedding_space_id == fresh.encoder.embedding_space_id
    assert old.encoder.manifest.name == "tiny", "photos in flight keep what they began with"


def test_a_mismatch_names_gallery_encoder_and_what_is_on_disk(bench: Bench, tmp_path) -> None:
    other = make_encoder(tmp_path)
    make_encoder(tmp_path, seed=9)
    shutil.rmtree(bench.world.encoder_path)
    shutil.copytree(tmp_path / "tiny-9" / "encoder", bench.world.encoder_path)
    publish_gallery(bench.world.gallery_path, other, "v2")
    assert bench.reload() is False
    (sentence,) = bench.sentences
    assert "embedded by tiny-7" in sentence
    assert "encoder is tiny (" in sentence
    assert "on disk tiny-9 (" in sentence


def test_a_half_copied_new_encoder_is_refused(bench: Bench, tmp_path) -> None:
    other = make_encoder(tmp_path)
    publish_gallery(bench.world.gallery_path, other, "v2")
    shutil.rmtree(bench.world.encoder_path)
    shutil.copytree(tmp_path / "tiny-7" / "encoder", bench.world.encoder_path)
    (bench.world.encoder_path / "ground.onnx").unlink()
    assert bench.reload() is False
    assert bench.results == ["encoder_corrupt"]
    assert bench.version == "v1"
    (bench.world.encoder_path / "encoder.json").write_text("{")
    assert bench.reload(at_once=True) is False
    assert bench.results[-1] == "encoder_gallery_mismatch"


def test_the_precision_of_the_settings_reaches_a_new_encoder(world: World, monkeypatch) -> None:
    asked, load = [], Encoder.load

    def noted(path, **options):
        asked.append((options["precision"], options["threads"]))
        return load(path, **(options | {"precision": "fp32"}))

    monkeypatch.setattr(snapshot_loading.Encoder, "load", noted)
    load_snapshot(world.settings(precision="int8", encode_threads=2))
    assert asked == [("int8", 2)]


def test_what_does_not_fit_into_memory_is_refused_before_it_is_read(bench, monkeypatch) -> None:
    publish_marked(bench.world.gallery_path, bench.world.encoder, 2)
    monkeypatch.setattr(opening, "find_free_bytes", lambda: 100)
    monkeypatch.setattr(opening.Gallery, "open", lambda *_a, **_o: 1 / 0)
    assert bench.reload() is False
    assert bench.results == ["memory_short"]
    assert "v2 needs about 0 MB of memory but 0 MB are free" in bench.sentences[0]
    with pytest.raises(MemoryShort):
        asyncio.run(bench.holder.activate("v1"))
    assert issubclass(MemoryShort, VersionUnusable)


def test_memory_is_counted_from_what_is_searched(bench: Bench) -> None:
    manifest = bench.holder.current().gallery.manifest
    vectors = manifest.files["vectors.f16"].size_bytes
    assert vectors < gallery_bytes(manifest) < vectors + 10_000
    indexed = manifest.model_copy(
        update={"files": {**manifest.files, "index.faiss": manifest.files["vectors.f16"]}}
    )
    assert gallery_bytes(indexed) == gallery_bytes(manifest)
    encoder = bench.holder.current().encoder.manifest
    weights = sum(encoder.files[name].size_bytes for name in encoder.model_names())
    assert encoder_bytes(encoder) == 3 * weights


def test_free_memory_is_the_least_of_machine_and_container(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(snapshot_memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(snapshot_memory, "CGROUP", tmp_path)
    assert find_free_bytes() is None
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    2000 kB\n")
    assert find_free_bytes() == 2_048_000
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("700000\n")
    assert find_free_bytes() == 2_048_000
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 50000\nactive_file 50000\n")
    assert find_free_bytes() == 400_000


def test_a_mismatch_at_start_is_raised(world: World, tmp_path) -> None:
    other = make_encoder(tmp_path)
    publish_gallery(world.gallery_path, other, "v2")
    with pytest.raises(EncoderGalleryMismatch, match="tiny-7"):
        load_snapshot(world.settings())


def test_a_snapshot_knows_its_size_coverage_and_load_time(bench: Bench) -> None:
    live = bench.holder.current()
    files = [path for path in (bench.versions / "v1").iterdir() if path.name != "manifest.json"]
    assert live.size_bytes == sum(path.stat().st_size for path in files)
    assert live.load_s > 0
    assert live.coverage["type"] == "MultiPolygon"
    assert live.coverage is live.coverage, "made once"


def test_a_refusal_is_over_when_the_live_version_is_wanted_again(bench: Bench) -> None:
    bench.point_to("nope")
    assert bench.reload() is False
    bench.point_to("v1")
    for _ in range(3):
        assert bench.reload() is False
    assert bench.results == ["gallery_not_found", "ok"]
    assert "wanted again" in bench.sentences[-1]


def test_a_wish_that_fails_is_no_refusal_of_the_newest_version(bench: Bench, caplog) -> None:
    with pytest.raises(VersionNotFound):
        asyncio.run(bench.holder.activate("v9"))
    assert bench.results == []
    (line,) = [record for record in caplog.records if record.message == "activation_refused"]
    assert line.levelname == "WARNING"
    assert line.fields["result"] == "gallery_not_found"


SLOW_LOAD = """
import asyncio, sys, time
from pathlib import Path
from service.galleries import snapshot
from service.settings import Settings

async def main():
    snapshot.load_snapshot = lambda settings: time.sleep(600)
    holder = snapshot.SnapshotHolder(
        Settings(encoder=Path(), gallery=Path()), on_change=print, on_result=print
    )
    load = asyncio.create_task(holder.load_first())
    await asyncio.sleep(0.1)
    load.cancel()
    await asyncio.gather(load, return_exceptions=True)
    holder.close()

asyncio.run(main())
"""


def test_the_process_ends_while_a_version_is_still_being_loaded() -> None:
    command = [sys.executable, "-c", SLOW_LOAD]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], check=False, timeout=60)
    assert done.returncode == 0
