"""How fast the loop is: against a plain one, its loading alone, and the arithmetic of a step."""

import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from crossfix.errors import DataError
from crossfix.view import ViewName
from training.datasets.split import PairTable
from training.loop.devices import build_accelerator
from training.loop.learner import Learner
from training.loop.loader import PairLoader, Task
from training.loop.pair_batch import PairBatch
from training.losses.batch import FeatureBatch, When
from training.losses.build import build_criterion
from training.losses.places import places_of
from training.model import CrossViewEncoder
from training.recipe import Recipe

Tables = Mapping[ViewName, PairTable]
Step = Callable[[PairBatch, int], object]


@dataclass(frozen=True)
class Speed:
    """What some steps of a loop cost.

    Attributes:
        images_per_s: photos and tiles, after the first steps.
        cpu_s_per_pair: of all processes, loading ones included, first steps included.
    """

    images_per_s: float
    cpu_s_per_pair: float


def measure_loop(recipe: Recipe, tables: Tables, *, warmup: int, steps: int) -> Speed:
    """The loop as training runs it, in one process."""
    learner = Learner(recipe, places=places_of(recipe, tables))
    learner.model.train()
    loader = PairLoader(tables, recipe, learner.accelerator)

    def step(pairs: PairBatch, number: int) -> object:
        return learner.take_step(pairs, lr=recipe.optimiser.lr, when=When(number, 0))

    return _measure(loader, step, recipe, warmup=warmup, steps=steps)


def measure_plain_loop(recipe: Recipe, tables: Tables, *, warmup: int, steps: int) -> Speed:
    """The same network, pairs and augmentation, in fp32 and one process, with nothing clever."""
    plain = recipe.model_copy(update={"runtime": recipe.runtime.model_copy(update={
        "workers": 0, "precision": "fp32", "channels_last": False, "micro_batch": None,
    })})  # fmt: skip
    accelerator = build_accelerator(plain)
    torch.manual_seed(recipe.runtime.seed)
    model = CrossViewEncoder(recipe.model, recipe.views()).to(accelerator.device).train()
    criterion = build_criterion(
        recipe.loss, embedding_dim=model.embedding_dim, places=places_of(recipe, tables),
        seed=recipe.runtime.seed,
    ).to(accelerator.device)  # fmt: skip
    adamw = torch.optim.AdamW([*model.parameters(), *criterion.parameters()], recipe.optimiser.lr)

    def step(pairs: PairBatch, number: int) -> object:
        features = model(pairs.photo, pairs.view), model(pairs.tile, "satellite")
        loss = criterion(FeatureBatch(*features, pairs.places, pairs.turns), When(number, 0))
        adamw.zero_grad()
        loss.backward()
        adamw.step()
        return loss.item()

    loader = PairLoader(tables, plain, accelerator)
    return _measure(loader, step, recipe, warmup=warmup, steps=steps)


def measure_loading(recipe: Recipe, tables: Tables, *, warmup: int, steps: int) -> Speed:
    """The loop's images, read, augmented and brought to the device, and not trained on."""
    loader = PairLoader(tables, recipe, build_accelerator(recipe))
    return _measure(loader, lambda *_: None, recipe, warmup=warmup, steps=steps)


def flops_per_step(recipe: Recipe, tables: Tables) -> int:
    """Multiplications and additions of one step's forward and backward passes.

    Counted by torch's own counter (matrix products and convolutions), without recomputation.
    """
    accelerator = build_accelerator(recipe)
    model = CrossViewEncoder(recipe.model, recipe.views()).to(accelerator.device).train()
    loader = PairLoader(tables, _without_workers(recipe), accelerator)
    ((_, pair),) = loader.batches(random_tasks(tables, recipe, 1))
    with FlopCounterMode(display=False) as counter:
        (model(pair.photo, pair.view).sum() + model(pair.tile, "satellite").sum()).backward()
    return int(counter.get_total_flops())


def random_tasks(tables: Tables, recipe: Recipe, count: int) -> list[Task]:
    """So many batches of random pairs, one query view after the other.

    Raises:
        DataError: a view has fewer pairs than a batch.
    """
    rng, batch, views = np.random.default_rng(0), recipe.sampling.batch_size, list(tables)
    for view, table in tables.items():
        if len(table) < batch:
            raise DataError(
                f"the {view} view has {len(table)} pairs, fewer than a batch of {batch}",
                hint="use more data or a smaller sampling.batch_size",
            )
    chosen = [views[i % len(views)] for i in range(count)]
    return [
        Task(view, rng.choice(len(tables[view]), batch, replace=False), i)
        for i, view in enumerate(chosen)
    ]


def _without_workers(recipe: Recipe) -> Recipe:
    runtime = recipe.runtime.model_copy(update={"workers": 0})
    return recipe.model_copy(update={"runtime": runtime})


def _measure(
    loader: PairLoader, step: Step, recipe: Recipe, *, warmup: int, steps: int
) -> Speed:  # fmt: skip
    tasks = random_tasks(loader.tables, recipe, warmup + steps)
    with _cpu_seconds() as cpu_s:
        began_s = _now_s(loader.device)
        for number, (_, pair) in enumerate(loader.batches(tasks)):
            if number == warmup:
                began_s = _now_s(loader.device)
            step(pair, number)
        took_s = _now_s(loader.device) - began_s
        loader.close()  # the cost of loading processes is known once they have ended
    pairs = recipe.sampling.batch_size
    return Speed(2 * pairs * steps / took_s, cpu_s[0] / (pairs * (warmup + steps)))


@contextmanager
def _cpu_seconds() -> Iterator[Sequence[float]]:
    found = [0.0]
    before = _spent_s()
    yield found
    found[0] = _spent_s() - before


def _spent_s() -> float:
    spent = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        spent += usage.ru_utime + usage.ru_stime
    return spent


def _now_s(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
