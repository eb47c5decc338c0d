"""Batches to tensors: the same however they are loaded, errors as errors, embeddings in order."""

import multiprocessing
import os
import signal
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from crossfix.errors import DataError
from crossfix.preprocess import normalise
from tests.tiny_pairs import PLAIN_AUGMENTATION, Pictures, table, tiny
from training import embedding
from training.augmentation import sample4geo
from training.datasets.image_files import select_images
from training.embedding import image_set_embedder, torch_embedder
from training.loop import loader as loader_module
from training.loop.devices import build_accelerator
from training.loop.loader import PairLoader, Task, share_of
from training.model import CrossViewEncoder
from training.sampling.batches import Batch
from training.seeds import seed_of

forks = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
SAMPLE4GEO = (
    "augmentation={kind: sample4geo, flip_probability: 0.5, rotate_probability: 0.75, "
    "tile_random_turn: false, jpeg_probability: 0.5, jpeg_quality_min: 90, jpeg_quality_max: 100, "
    "colour_probability: 0.5, colour_strength: 0.15, blur_or_sharpen_probability: 0.3, "
    "dropout_probability: 0.3, photo_grid_dropout_ratio: 0.5, tile_grid_dropout_ratio: 0.4}"
)


def loader_of(recipe, **options):
    return PairLoader({"drone": table(recipe, **options)}, recipe, build_accelerator(recipe))


def task(pairs, step):
    return Task("drone", np.array(pairs), step)


def test_processes_share_a_batch_in_equal_parts_and_in_order():
    batches = [Batch("drone", np.arange(8)), Batch("ground", np.arange(8) + 10)]
    shares = [share_of(batches, first_step=5, rank=rank, processes=2) for rank in range(2)]
    assert [t.view for t in shares[1]] == ["drone", "ground"]
    assert [t.step for t in shares[1]] == [5, 6]
    for i, batch in enumerate(batches):
        parts = [share[i].pairs for share in shares]
        np.testing.assert_array_equal(np.concatenate(parts), batch.indices)


@forks
@pytest.mark.parametrize("augmentation", ["batched", SAMPLE4GEO])
def test_a_batch_is_the_same_however_it_is_loaded(augmentation):
    extra = () if augmentation == "batched" else (augmentation,)
    tasks = [task([3, 1, 4], 0), task([1, 5, 9], 1), task([2, 6, 5], 2)]
    direct = [pair for _, pair in loader_of(tiny(*extra)).batches(tasks)]
    apart = loader_of(tiny("runtime.workers=2", *extra))
    for _ in range(2):  # the second epoch with the same loading processes
        found = list(apart.batches(tasks))
        assert [t.step for t, _ in found] == [0, 1, 2]
        for (_, pair), expected in zip(found, direct, strict=True):
            assert torch.equal(pair.photo, expected.photo)
            assert torch.equal(pair.tile, expected.tile)
    apart.close()
    (_, resumed), *_ = loader_of(tiny(*extra)).batches(tasks[2:])
    assert torch.equal(resumed.tile, direct[2].tile)


def test_the_same_pair_looks_different_in_another_step():
    (_, first), (_, second) = loader_of(tiny()).batches([task([3, 1], 0), task([3, 1], 9)])
    assert not torch.equal(first.photo, second.photo)
    assert not torch.equal(first.tile, second.tile)


@pytest.mark.parametrize("channels_last", ["true", "false"])
def test_without_augmentation_pixels_are_those_the_encoder_gets_later(channels_last):
    recipe = tiny(*PLAIN_AUGMENTATION, f"runtime.channels_last={channels_last}")
    pairs = table(recipe)
    ((_, found),) = loader_of(recipe).batches([task([7, 2], 0)])
    expected = normalise(np.stack([pairs.queries.read(i) for i in (7, 2)]), pairs.queries.spec)
    np.testing.assert_allclose(found.photo.numpy(), expected, atol=1e-5)
    layout = torch.channels_last if channels_last == "true" else torch.contiguous_format
    assert found.photo.is_contiguous(memory_format=layout)


def test_the_published_augmentation_runs_per_pair_before_the_device(monkeypatch):
    seen = []

    def augment_sample(photo, tile, recipe, *, view, rng, recompressed):
        assert recompressed == (False, False)
        seen.append((photo.dtype, recipe.kind, view, rng.random()))
        return np.full_like(photo, 255), np.full_like(tile, 0)

    monkeypatch.setattr(loader_module, "augment_sample", augment_sample)
    ((_, pair),) = loader_of(tiny(SAMPLE4GEO)).batches([task([7, 2], 0)])
    assert [entry[:3] for entry in seen] == [(np.uint8, "sample4geo", "drone")] * 2
    assert seen[0][3] != seen[1][3]
    torch.testing.assert_close(pair.photo[0, :, 0, 0], torch.tensor([2.2489, 2.4286, 2.6400]),
                               atol=1e-3, rtol=0)  # fmt: skip
    assert float(pair.tile.std(dim=(2, 3)).max()) == 0


@dataclass(frozen=True)
class Recompressible(Pictures):
    """A recompressed image is of one colour: the quality."""

    def read_recompressed(self, index, *, quality):
        return np.full_like(self.read(index), quality)


ONLY_JPEG = (
    "augmentation={kind: sample4geo, flip_probability: 0, rotate_probability: 0, "
    "tile_random_turn: false, jpeg_probability: 0.5, jpeg_quality_min: 90, jpeg_quality_max: 100, "
    "colour_probability: 0, colour_strength: 0, blur_or_sharpen_probability: 0, "
    "dropout_probability: 0, photo_grid_dropout_ratio: 0.5, tile_grid_dropout_ratio: 0.4}"
)


def recompressible_loader(*overrides):
    recipe = tiny(ONLY_JPEG, *overrides)
    plain = table(recipe)
    photos = Recompressible(recipe.views()["drone"], 40, noise=1)
    pairs = replace(plain, queries=select_images(photos, np.arange(40)))
    return PairLoader({"drone": pairs}, recipe, build_accelerator(recipe)), pairs


def test_mode_paper_recompresses_before_the_resize_where_a_set_can_and_only_once(monkeypatch):
    tasks = [task(range(40), step) for step in range(5)]
    loader, pairs = recompressible_loader("mode=paper")
    before = np.stack([pairs.queries.read(i) for i in range(40)])
    resized = []
    monkeypatch.setattr(sample4geo, "recompress",
                        lambda pixels, quality: (resized.append(quality), pixels)[1])  # fmt: skip
    qualities = []
    for loaded in loader.images(tasks):
        photos = loaded.photo.numpy()
        done = (photos == photos[:, :1, :1, :1]).all(axis=(1, 2, 3))
        np.testing.assert_array_equal(photos[~done], before[~done])
        qualities += photos[done][:, 0, 0, 0].tolist()
    assert len(qualities) == pytest.approx(100, abs=25)  # half of 200
    assert set(qualities) == set(range(90, 101))
    assert len(resized) == pytest.approx(100, abs=25)  # tiles alone: their set cannot


def test_mode_correct_recompresses_after_the_resize():
    loader, _ = recompressible_loader()
    for loaded in loader.images([task(range(20), 0)]):
        assert (loaded.photo != loaded.photo[:, :1, :1, :1]).flatten(1).any(dim=1).all()


@forks
def test_mode_paper_is_the_same_however_it_is_loaded():
    tasks = [task([3, 1, 4, 1, 5], 0), task([9, 2, 6], 1)]
    direct, apart = (
        recompressible_loader("mode=paper", f"runtime.workers={workers}")[0] for workers in (0, 2)
    )
    for expected, found in zip(direct.images(tasks), apart.images(tasks), strict=True):
        assert torch.equal(found.photo, expected.photo)
        assert torch.equal(found.tile, expected.tile)
    apart.close()


@forks
@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_one_clear_error_also_from_a_loading_process(workers):
    loader = loader_of(tiny(f"runtime.workers={workers}"), unreadable={5})
    batches = loader.batches([task([1, 2], 0), task([4, 5], 1)])
    next(batches)
    with pytest.raises(DataError) as caught:
        next(batches)
    assert str(caught.value) == "set-1/0005.png cannot be read"
    assert caught.value.hint == "download it again"
    loader.close()


def test_seeds_differ_by_every_counter():
    seeds = {seed_of(*counters) for counters in ((1, 2, 3), (1, 2, 4), (1, 3, 3), (2, 2, 3))}
    assert len(seeds) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)


@dataclass(frozen=True)
class Deadly(Pictures):
    """Reading it is the end of a loading process, as running out of memory is."""

    def read(self, index, rng=None):
        if multiprocessing.parent_process() is not None and index == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(index, rng)


@forks
def test_a_loading_process_that_dies_is_explained(monkeypatch):
    monkeypatch.setattr(embedding, "CHUNK", 2)
    pictures = Deadly(tiny().views()["drone"], 6, noise=1)
    embed = image_set_embedder(CrossViewEncoder(tiny().model, tiny().views()), workers=1)
    with pytest.raises(DataError, match="a loading process died"):
        embed(pictures)


@dataclass(frozen=True)
class Grouped(Pictures):
    """Pictures that tell the process group of whoever reads them."""

    def read(self, index, rng=None):
        picture = super().read(index, rng)
        picture[0, 0, 0] = os.getpgid(0) == os.getpid() != multiprocessing.parent_process().pid
        return picture


@forks
def test_a_loading_process_is_out_of_reach_of_signals_to_the_group():
    recipe = tiny("runtime.workers=1")
    pairs = replace(table(recipe), queries=Grouped(recipe.views()["drone"], 8, noise=1))
    loader = PairLoader({"drone": pairs}, recipe, build_accelerator(recipe))
    (loaded,) = loader.images([task([1, 2], 0)])
    loader.close()
    assert loaded.photo[:, 0, 0, 0].tolist() == [1, 1]


@forks
@pytest.mark.parametrize(("workers", "precision"), [(0, "fp32"), (2, "fp32"), (0, "bf16")])
def test_sets_are_embedded_in_order_whatever_reads_them(monkeypatch, workers, precision):
    monkeypatch.setattr(embedding, "CHUNK", 3)
    model = CrossViewEncoder(tiny().model, tiny().views()).train()
    pictures = table(tiny(), 8).queries
    found = image_set_embedder(model, precision=precision, workers=workers)(pictures)
    assert found.dtype == np.float32
    pixels = np.stack([pictures.read(i) for i in range(8)])
    expected = torch_embedder(model)(pixels, pictures.spec)
    np.testing.assert_allclose(found, expected, atol=1e-6 if precision == "fp32" else 0.1)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert model.training


def test_no_images_give_no_embeddings_and_bad_ones_an_error():
    embed = image_set_embedder(CrossViewEncoder(tiny().model, tiny().views()))
    assert embed(table(tiny(), 0).queries).shape == (0, 16)
    with pytest.raises(DataError, match="0002"):
        embed(table(tiny(), 4, unreadable={2}).queries)
