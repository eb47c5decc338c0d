"""Batches of indices to tensors on the device: read in loading processes, finished on the device.

All randomness comes from counters, so that a batch is the same however many processes load it and
whatever was loaded before.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from crossfix.errors import CrossfixError, DataError
from crossfix.images import UInt8
from crossfix.view import ViewName
from training.augmentation.batched import Pair, augment_pair, normalise_batch, turn_tiles
from training.augmentation.pad_crop import pad_crop_pair
from training.augmentation.sample4geo import augment_sample, read_image
from training.datasets.split import Int64, PairTable
from training.loop.pair_batch import PairBatch
from training.recipe import (
    AugmentationRecipe,
    Mode,
    PadCropAugmentation,
    Recipe,
    Sample4GeoAugmentation,
)
from training.recipe_losses import turns_tiles
from training.sampling.batches import Batch
from training.seeds import seed_of

Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class Task:
    """One process's share of a batch.

    Attributes:
        pairs: (B,) indices into the view's pairs.
        step: which step of the run it is for.
    """

    view: ViewName
    pairs: Int64
    step: int


class LoadedPair(NamedTuple):
    """Photos (B, h, w, 3) and their tiles (B, s, s, 3), uint8, on the CPU."""

    photo: Tensor
    tile: Tensor


def share_of(batches: Sequence[Batch], *, first_step: int, rank: int, processes: int) -> list[Task]:
    """What process `rank` loads of each batch: an equal part, in order of the ranks.

    Args:
        first_step: the step of the run that the first of the batches is for.
    """
    tasks = []
    for i, batch in enumerate(batches):
        part = len(batch.indices) // processes
        own = batch.indices[rank * part : (rank + 1) * part]
        tasks.append(Task(batch.view, own, first_step + i))
    return tasks


@dataclass(frozen=True)
class PairReader(Dataset["LoadedPair | CrossfixError"]):
    """Reads a task's images; copied into the loading processes.

    Errors of a user's making come back as values: crossing a process border they would lose
    their hint and gain a traceback.
    """

    tables: Mapping[ViewName, PairTable]
    augmentation: AugmentationRecipe
    mode: Mode
    seed: int

    def __getitem__(self, task: Task) -> LoadedPair | CrossfixError:
        try:
            images = [self._read(task, int(pair)) for pair in task.pairs]
        except CrossfixError as problem:
            return problem
        photos, tiles = zip(*images, strict=True)
        return LoadedPair(torch.from_numpy(np.stack(photos)), torch.from_numpy(np.stack(tiles)))

    def _read(self, task: Task, pair: int) -> tuple[UInt8, UInt8]:
        table, rng = self.tables[task.view], np.random.default_rng([self.seed, task.step, pair])
        tile_index, wanted = int(table.reference[pair]), self.augmentation
        if not isinstance(wanted, Sample4GeoAugmentation):
            return table.queries.read(pair), table.tiles.read(tile_index, rng)
        photo = read_image(table.queries, pair, wanted, mode=self.mode, rng=rng)
        tile = read_image(table.tiles, tile_index, wanted, mode=self.mode, rng=rng, cut=rng)
        return augment_sample(
            photo.pixels, tile.pixels, wanted, view=task.view, rng=rng,
            recompressed=(photo.recompressed, tile.recompressed),
        )  # fmt: skip


@dataclass
class _TaskList(Sampler[Task]):
    """The tasks to load next; changed between epochs while the loading processes live on."""

    tasks: Sequence[Task] = field(default_factory=list)

    def __iter__(self) -> Iterator[Task]:
        return iter(self.tasks)

    def __len__(self) -> int:
        return len(self.tasks)


class PairLoader:
    """Tensors of training pairs for one process of a run.

    Attributes:
        tables: what it reads from.
        device: where `batches` puts the pairs.
    """

    def __init__(
        self, tables: Mapping[ViewName, PairTable], recipe: Recipe, accelerator: Accelerator
    ) -> None:
        self.tables, self.recipe, self.device = tables, recipe, accelerator.device
        self._rank = accelerator.process_index
        self._tasks = _TaskList()
        workers = recipe.runtime.workers
        self._loader: DataLoader[LoadedPair | CrossfixError] = DataLoader(
            PairReader(tables, recipe.augmentation, recipe.mode, recipe.runtime.seed),
            batch_size=None,
            sampler=self._tasks,
            collate_fn=unchanged,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.device.type == "cuda",
            worker_init_fn=leave_the_group,
        )

    def batches(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, PairBatch]]:
        """The tasks' pairs, augmented and normalised, on the device.

        Raises:
            DataError: an image cannot be read.
        """
        for task, loaded in zip(tasks, self.images(tasks), strict=True):
            yield task, self._finish(task, loaded)

    def images(self, tasks: Sequence[Task]) -> Iterator[LoadedPair]:
        """The tasks' images as they were read.

        Raises:
            DataError: an image cannot be read.
        """
        self._tasks.tasks = tasks
        for loaded in self._loader:
            if isinstance(loaded, CrossfixError):
                raise loaded
            yield loaded

    def close(self) -> None:
        """Ends the loading processes and waits for them; they start again when needed."""
        self._loader._iterator = None  # what keeps them is all that can end them

    def _finish(self, task: Task, loaded: LoadedPair) -> PairBatch:
        places = torch.from_numpy(self.tables[task.view].reference[task.pairs])
        with torch.no_grad(), self.device:  # what the augmentation creates lies there as well
            seed = seed_of(self.recipe.runtime.seed, task.step, self._rank)
            generator = torch.Generator(self.device).manual_seed(seed)
            pair, turns = self._augmented(task, loaded, generator), None
            if turns_tiles(self.recipe.loss):
                turns = torch.randint(0, 4, (len(pair.tile),), generator=generator)
                pair = turn_tiles(pair, turns)
            pair = self._normalised(pair)
            return PairBatch(task.view, pair.photo, pair.tile, places.to(self.device), turns)

    def _augmented(self, task: Task, loaded: LoadedPair, generator: torch.Generator) -> Pair:
        pair = Pair(*(to_float(images, self.device) for images in loaded))
        wanted = self.recipe.augmentation
        if isinstance(wanted, Sample4GeoAugmentation):
            return pair
        if isinstance(wanted, PadCropAugmentation):
            return pad_crop_pair(pair, wanted, generator=generator)
        mean = self.recipe.data.mean
        return augment_pair(pair, wanted, view=task.view, mean=mean, generator=generator)

    def _normalised(self, pair: Pair) -> Pair:
        data, runtime = self.recipe.data, self.recipe.runtime
        layout = torch.channels_last if runtime.channels_last else torch.contiguous_format
        photo, tile = (
            normalise_batch(images, data.mean, data.std).contiguous(memory_format=layout)
            for images in (pair.photo, pair.tile)
        )
        return Pair(photo, tile)


def to_float(images: Tensor, device: torch.device) -> Tensor:
    """(N, h, w, 3) uint8 to (N, 3, h, w) float32 in 0..1 on the device."""
    return images.to(device, non_blocking=True).permute(0, 3, 1, 2).float().div_(255)


def unchanged(value: Loaded) -> Loaded:
    """What a loading process made is what arrives."""
    return value


def leave_the_group(_: int) -> None:
    """Keeps signals to a whole group, Ctrl-C above all, from a loading process.

    The training process gets them too, finishes its step, saves, and ends those that load for it.
    """
    os.setpgid(0, 0)


@contextmanager
def death_explained() -> Iterator[None]:
    """Tells in words that a loading process died; torch notices it at any point of the program.

    Raises:
        DataError: one did.
    """
    try:
        yield
    except RuntimeError as problem:
        if "DataLoader worker" not in str(problem):
            raise
        raise DataError(
            f"a loading process died: {str(problem).splitlines()[0]}",
            hint="most often memory or /dev/shm is full; lower runtime.workers or "
            "sampling.batch_size, then pass --resume",
        ) from problem
