"""The pipeline gives what one plain loop gives, whatever runs beside what, and stops cleanly."""

import threading
from itertools import pairwise, product

import numpy as np
import pytest

from crossfix.encoder import Encoder
from crossfix.errors import DeviceUnavailable, EncoderCorrupt, SourceError
from crossfix.images import Photo
from crossfix.preprocess import prepare
from index_builder.embedding import open_task as opening
from index_builder.embedding import parts as parting
from index_builder.embedding.local_engine import LocalEngine
from index_builder.embedding.open_task import OpenTask
from index_builder.embedding.part_file import open_part, part_path, read_result, vectors_of
from index_builder.embedding.parts import Part, iterate_parts
from index_builder.embedding.progress import Progress
from index_builder.embedding.tally import Tally
from index_builder.embedding.task import EmbeddingTask
from index_builder.embedding.worker import PartWorker
from index_builder.recipe import GalleryRecipe
from index_builder.sources.spec import SourceSpec
from tests.made_up_source import MadeUpSource
from tests.tiny_encoder import write_geotiff, write_tiny_encoder

RECIPE = GalleryRecipe(sources=(SourceSpec(location="fake"),), tile_sizes_m=(30.0,))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return Encoder.load(write_tiny_encoder(tmp_path_factory.mktemp("embed") / "encoder"))


def make_task(folder, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    values = {
        "encoder_dir": folder,
        "sources": RECIPE.sources,
        "tile_px": 256,
        "parts_directory": folder,
        "device": "cpu",
        "threads": 2,
        "readers": 2,
        "batch_size": 16,
        "skip_unreadable": False,
        "reuse_from": (),
    }
    return EmbeddingTask(**{**values, **changes})


def embed(encoder, source, folder, *, parts=None, tick=lambda _tiles: None, **changes):
    task = make_task(folder, **changes)
    results = []
    engine = LocalEngine(OpenTask(task, encoder=encoder, sources=[source]), tick)
    engine.run(task, parts or iterate_parts([source], RECIPE), results.append)
    return sorted(results, key=lambda result: result.number)


def vectors_by_id(folder, results):
    found = {}
    for result in results:
        batch = open_part(folder, result.number)
        found.update(zip(batch.column("tile_id").to_pylist(), vectors_of(batch), strict=True))
    return found


def test_rows_are_what_a_plain_loop_gives(encoder, tmp_path):
    source = MadeUpSource(empty={3, 17})
    results = embed(encoder, source, tmp_path)
    found = vectors_by_id(tmp_path, results)
    by_id = {plan.tile_id: plan for plan in source.plan(30.0, 0.0)}
    assert set(by_id) - set(found) == {"fake-30m-3", "fake-30m-17"}
    for tile_id, vector in found.items():
        tensor = prepare(Photo.of(source.read(by_id[tile_id])), encoder.view("satellite")).tensor
        plain = encoder.encode(tensor[None], "satellite")[0]
        np.testing.assert_array_equal(vector, plain.astype(np.float16))
    assert [(one.tiles, one.empty, one.reused) for one in results] == [(48, 2, 0)]
    assert 0 < results[0].encode_s <= 2 * results[0].seconds
    batch = open_part(tmp_path, 0)
    assert batch.column("resolution_m").to_pylist() == [0.5] * 48
    assert batch.column("tile_id").to_pylist() == [one for one in by_id if one in found]


def test_embeddings_do_not_depend_on_neighbours_order_parts_or_threads(
    encoder, tmp_path, monkeypatch
):
    """Bit for bit, on the CPU and with the padded batches of a GPU."""
    source = MadeUpSource(90, empty={5, 40})
    plain = vectors_by_id(tmp_path / "plain", embed(encoder, source, tmp_path / "plain"))
    rng = np.random.default_rng(0)
    plans = list(source.plan(30.0, 0.5))
    variants = product((1, 3), (1, 4), ("CPUExecutionProvider", "CUDAExecutionProvider"))
    for number, (readers, threads, provider) in enumerate(variants):
        shuffled = [plans[place] for place in rng.permutation(len(plans))]
        cuts = sorted(rng.choice(np.arange(1, len(plans)), 5, replace=False))
        pieces = np.split(np.arange(len(plans)), cuts)
        parts = (
            Part(one, 0, tuple(shuffled[place] for place in piece))
            for one, piece in enumerate(pieces)
        )
        folder = tmp_path / str(number)
        # As if it were a GPU: one run at a time, of full batches.
        monkeypatch.setattr(encoder, "provider", provider)
        results = embed(
            encoder, source, folder, parts=parts, readers=readers, threads=threads, batch_size=7
        )
        found = vectors_by_id(folder, results)
        assert found.keys() == plain.keys()
        assert all(np.array_equal(found[one], plain[one]) for one in plain)


def test_every_run_of_the_encoder_has_one_shape(encoder, tmp_path, monkeypatch):
    shapes = []
    encode = Encoder.encode

    def watched(self, tensors, view):
        shapes.append(tensors.shape)
        return encode(self, tensors, view)

    monkeypatch.setattr(Encoder, "encode", watched)
    embed(encoder, MadeUpSource(50), tmp_path / "cpu")
    assert set(shapes) == {(1, 3, 32, 32)}
    shapes.clear()
    monkeypatch.setattr(encoder, "provider", opening.CUDA)
    embed(encoder, MadeUpSource(50), tmp_path / "gpu", batch_size=16)
    assert shapes == [(16, 3, 32, 32)] * 4


def test_batches_are_filled_across_parts(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(parting, "PART_TILES", 12)
    monkeypatch.setattr(encoder, "provider", opening.CUDA)
    runs = []
    encode = Encoder.encode
    monkeypatch.setattr(
        Encoder, "encode", lambda self, x, view: runs.append(len(x)) or encode(self, x, view)
    )
    results = embed(encoder, MadeUpSource(50), tmp_path, batch_size=10)
    assert len(results) == 5
    assert runs == [10] * 5


def test_a_part_that_is_there_is_not_done_again(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(parting, "PART_TILES", 12)
    source = MadeUpSource(50)
    first = embed(encoder, source, tmp_path)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    source.reads.clear()
    assert embed(encoder, source, tmp_path) == first
    assert source.reads == []
    damaged = part_path(tmp_path, 2)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    embed(encoder, source, tmp_path)
    assert sorted(source.reads) == list(range(24, 36))
    again = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    changed = [name for name in files if files[name] != again[name]]
    assert changed in ([], ["part-00000002.arrow"]), "its times may differ"
    assert read_result(tmp_path, 2).tiles == first[2].tiles


def test_unreadable_tiles_fail_or_are_listed(encoder, tmp_path):
    source = MadeUpSource(broken={5, 40})
    with pytest.raises(SourceError, match=r"tile fake-30m-(5|40): image \d+ is broken"):
        embed(encoder, source, tmp_path / "a")
    (result,) = embed(encoder, source, tmp_path / "b", skip_unreadable=True)
    assert result.tiles == 48
    assert result.unreadable == (
        "tile fake-30m-5: image 5 is broken",
        "tile fake-30m-40: image 40 is broken",
    )


def pipeline_threads():
    return [one for one in threading.enumerate() if one.name in ("_read", "_encode", "_write")]


def test_no_thread_outlives_a_failure(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(parting, "PART_TILES", 24)
    with pytest.raises(SourceError):
        embed(encoder, MadeUpSource(400, broken={200}), tmp_path, readers=3)
    assert not pipeline_threads()
    assert read_result(tmp_path, 0) is not None, "finished parts stay"


def test_an_interrupt_ends_all_threads(encoder, tmp_path):
    def interrupt(_tiles):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(encoder, MadeUpSource(400), tmp_path, tick=interrupt)
    assert not pipeline_threads()


def test_a_failing_device_is_one_sentence(encoder, tmp_path, monkeypatch):
    def out_of_memory(_self, _tensors, _view):
        raise RuntimeError("CUDA failure 2: out of memory ; GPU=0\nmore of it")

    monkeypatch.setattr(Encoder, "encode", out_of_memory)
    with pytest.raises(
        DeviceUnavailable, match=r"the encoder failed at tile .*out of memory"
    ) as it:
        embed(encoder, MadeUpSource(5), tmp_path)
    assert "\n" not in str(it.value)
    assert "--batch-size" in it.value.hint


def test_a_broken_encoder_keeps_its_own_error(encoder, tmp_path, monkeypatch):
    def broken(_self, _tensors, _view):
        raise EncoderCorrupt("encoder tiny gave a non-finite embedding")

    monkeypatch.setattr(Encoder, "encode", broken)
    with pytest.raises(EncoderCorrupt, match="non-finite"):
        embed(encoder, MadeUpSource(5), tmp_path)


def test_a_worker_does_the_parts_it_is_handed(tmp_path):
    """As an engine on other machines does, in any order; the files are the local engine's."""
    raster = write_geotiff(tmp_path / "map.tif", size_px=(160, 160))
    recipe = GalleryRecipe(
        sources=(SourceSpec(location=str(raster), name="map"),), tile_sizes_m=(30.0,)
    )
    encoder_dir = write_tiny_encoder(tmp_path / "encoder")
    tasks = {
        name: make_task(tmp_path / name, encoder_dir=encoder_dir, sources=recipe.sources)
        for name in ("local", "worker")
    }
    opened = OpenTask(tasks["local"])
    parts = [
        Part(number, 0, part.plans[start : start + 9])
        for part in iterate_parts(opened.sources, recipe)
        for number, start in enumerate(range(0, len(part.plans), 9))
    ]
    opened.close()
    LocalEngine().run(tasks["local"], iter(parts), lambda _result: None)
    worker = PartWorker(tasks["worker"])
    for part in reversed(parts):
        result = worker.run(part)
        assert worker.run(part) == result
    worker.close()
    for part in parts:
        rows = [open_part(tmp_path / name, part.number) for name in ("local", "worker")]
        assert rows[0].equals(rows[1])
        assert len(rows[0]) > 0


def test_progress_counts_tiles_of_this_run_for_its_rate(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(parting, "PART_TILES", 12)
    source = MadeUpSource(50, empty={3})
    results = embed(encoder, source, tmp_path)
    told: list[Progress] = []
    tally = Tally(50, told.append)
    tally.add_resumed(results[0])
    tally.add_resumed(results[1])
    for result in results[2:]:
        tally.add(result)
    assert told[-1].done == told[-1].total == 50
    assert told[-1].resumed == 24
    assert all(before.done < after.done for before, after in pairwise(told))
    stats = tally.finish(2)
    assert (stats.tiles, stats.empty_tiles, stats.resumed, stats.embedded) == (49, 1, 24, 26)
    assert 0 < stats.encoder_busy_share <= 1
