"""What each of several processes does in the test of the contrastive step; run by torchrun."""

import json
import sys
from pathlib import Path

import torch

from tests.tiny_pairs import PLAIN_AUGMENTATION, table, tiny
from training.embedding import image_set_embedder
from training.loop.devices import build_accelerator
from training.loop.step import ContrastiveStep
from training.loop.trainer import Trainer
from training.model import CrossViewEncoder, Temperature

LOCAL_PAIRS = 5


def build(recipe):
    """The step of a fresh network; the same network for the same recipe."""
    accelerator = build_accelerator(recipe)
    torch.manual_seed(3)
    encoder = accelerator.prepare(CrossViewEncoder(recipe.model).train())
    return ContrastiveStep(
        accelerator, encoder, Temperature(recipe.loss), label_smoothing=0.1,
        micro_batch=recipe.runtime.micro_batch,
    )  # fmt: skip


def images(pairs):
    """Photos and tiles of two shapes."""
    generator = torch.Generator().manual_seed(4)
    photo = torch.randn(pairs, 3, 32, 64, generator=generator)
    return photo, torch.randn(pairs, 3, 32, 32, generator=generator)


def gradients_of(step):
    named = [*step.encoder.named_parameters(), *step.temperature.named_parameters()]
    return {name.removeprefix("module."): p.grad.clone() for name, p in named}


def embedded(count):
    """Embeddings of a few pictures by a fresh network."""
    torch.manual_seed(3)
    recipe = tiny()
    embed = image_set_embedder(CrossViewEncoder(recipe.model))
    return torch.from_numpy(embed(table(recipe, count).queries))


def losses_of_a_run(folder):
    """Per-step losses of a short run on a batch of eight; augmentation would differ by process."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe = tiny(*PLAIN_AUGMENTATION, "sampling.strategy=random", "sampling.exclude_within_m=0",
                  "schedule.epochs=2", "runtime.micro_batch=3")  # fmt: skip
    Trainer(recipe, {"drone": table(recipe, 32)}, folder).train()
    rows = (folder / "log.jsonl").read_text().splitlines()
    return [json.loads(row)["loss"] for row in rows]


def main(folder):
    found = {}
    for case, micro_batch in (("whole", "null"), ("chunks", "2")):
        step = build(tiny("sampling.batch_size=10", f"runtime.micro_batch={micro_batch}"))
        rank = step.accelerator.process_index
        own = slice(rank * LOCAL_PAIRS, (rank + 1) * LOCAL_PAIRS)
        photo, tile = images(2 * LOCAL_PAIRS)
        loss = float(step.backward(photo[own], tile[own]))
        found[case] = {"loss": loss, "gradients": gradients_of(step)}
    found["embedded"] = embedded(7)
    found["losses"] = losses_of_a_run(folder / "run")
    torch.save(found, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
