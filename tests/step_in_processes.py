"""What each of several processes does in the test of the contrastive step; run by torchrun."""

import json
import sys
from pathlib import Path
from unittest.mock import patch

import torch

from tests.tiny_pairs import PLAIN_AUGMENTATION, table, tiny
from training.embedding import image_set_embedder
from training.loop import learner
from training.loop import step as step_module
from training.loop.devices import build_accelerator
from training.loop.pair_batch import PairBatch
from training.loop.step import ContrastiveStep, prepared_encoder
from training.loop.trainer import Trainer
from training.losses.batch import When
from training.losses.build import build_criterion
from training.model import CrossViewEncoder

LOCAL_PAIRS, PLACES = 5, 12
NOW = When(step=3, epoch=1)
FROZEN = "frozen"
LOSSES = {
    "info_nce": (),
    "separate weights": ("model.sharing=none", "model.shared_head=false",
                         "data.query_views=[drone, ground]"),
    "guided": ("data.tile_px=64", "data.query_views=[drone, ground]",
               "model.tile_transform={kind: affine_stn, height_px: 32, width_px: 64, "
               "guide_weight: 0.7}"),
    "her": ("loss={kind: her, directions: both, normalise: true, feature_scale: 5.0, "
            "margin_share: 0.15, pruned_weight: 0.1, detach_weights: false, "
            "orientation_weight: 0.5}",),
    "her of raw features": ("loss={kind: her, directions: query_to_tile, normalise: false, "
                            "feature_scale: 1.0, margin_share: 0.15, pruned_weight: 0.1, "
                            "detach_weights: true, orientation_weight: 0.0}",),
    "soft margin": ("loss={kind: soft_margin, directions: both, alpha: 10.0, hard_fractions: "
                    "[{epochs: 1, fraction: 1.0}, {epochs: null, fraction: 0.1}]}",
                    "model.sharing=satellite_drone", "model.shared_head=true",
                    "data.query_views=[drone, ground]"),
    "hinge": ("loss={kind: hinge, directions: both, normalise: false, margin: 0.5}",
              "model.sharing=none", "model.shared_head=false"),
    "batch hard": ("loss={kind: batch_hard, directions: both, normalise: true, margin: null}",
                   "model.aggregation={kind: safa, masks: 2, reduce: mean}"),
    "frozen backbone": (f"name={FROZEN}", "model.sharing=none", "model.shared_head=false"),
    "instance": ("loss={kind: instance, dropout: 0.5, plus: {kind: soft_margin, directions: both, "
                 "alpha: 10.0, hard_fractions: [{epochs: 1, fraction: 1.0}, "
                 "{epochs: null, fraction: 0.2}]}}",),
}  # fmt: skip


def build(recipe):
    """The step of a fresh network; the same network for the same recipe."""
    accelerator = build_accelerator(recipe)
    torch.manual_seed(3)
    model = CrossViewEncoder(recipe.model, recipe.views()).train()
    for module in model.modules():  # its statistics are those of a chunk, so equalities need none
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    if recipe.name == FROZEN:
        model.backbones.requires_grad_(False)
    criterion = build_criterion(
        recipe.loss, embedding_dim=model.embedding_dim, places=PLACES, seed=1
    )
    return ContrastiveStep(
        accelerator, prepared_encoder(accelerator, model), criterion,
        guide_weight=recipe.model.guide_weight,
        micro_batch=recipe.runtime.micro_batch,
    )  # fmt: skip


def pair_batch(count, own=slice(None), tile_px=32):
    """Photos and tiles of two shapes; the first and the last pair are of one place."""
    generator = torch.Generator().manual_seed(4)
    photo = torch.randn(count, 3, 32, 64, generator=generator)
    tile = torch.randn(count, 3, tile_px, tile_px, generator=generator)
    places, turns = torch.arange(count) % (count - 1), torch.arange(count) % 4
    return PairBatch("drone", photo[own], tile[own], places[own], turns[own])


def gradients_of(step):
    named = [*step.encoder.named_parameters(), *step.criterion.named_parameters()]
    return {name: p.grad.clone() for name, p in named if p.grad is not None}


def embedded(count):
    """Embeddings of a few pictures by a fresh network."""
    torch.manual_seed(3)
    recipe = tiny()
    embed = image_set_embedder(CrossViewEncoder(recipe.model, recipe.views()))
    return torch.from_numpy(embed(table(recipe, count).queries))


def running_statistics(rank):
    """Means of a batch normalisation after a step in which every process saw other images."""
    step = build(tiny("sampling.batch_size=10", "model.embedding_norm=true"))
    step.backward(pair_batch(20, slice(rank * 5, rank * 5 + 5)), NOW)
    return dict(step.encoder.named_buffers())["heads.shared.norm.running_mean"].clone()


def learned_by_the_loss(rank):
    """Weights of a learner's loss that began with others in every process."""

    def built(*arguments, **options):
        torch.manual_seed(rank)
        return build_criterion(*arguments, **options)

    with patch.object(learner, "build_criterion", built):
        return learner.Learner(tiny(*LOSSES["instance"]), places=PLACES).criterion.state_dict()


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
    for loss, changes in LOSSES.items():
        for case, micro_batch in (("whole", "null"), ("chunks", "2")):
            runtime = ("sampling.batch_size=10", f"runtime.micro_batch={micro_batch}")
            recipe = tiny(*runtime, *changes)
            step = build(recipe)
            rank = step.accelerator.process_index
            own = slice(rank * LOCAL_PAIRS, (rank + 1) * LOCAL_PAIRS)
            pairs = pair_batch(2 * LOCAL_PAIRS, own, recipe.data.tile_px)
            with patch.object(step_module, "BUCKET", 2000 if micro_batch == "2" else 2**24):
                value = float(step.backward(pairs, NOW))
            found[loss, case] = {"loss": value, "gradients": gradients_of(step)}
    found["statistics"] = running_statistics(rank)
    found["criterion"] = learned_by_the_loss(rank)
    found["embedded"] = embedded(7)
    found["losses"] = losses_of_a_run(folder / "run")
    torch.save(found, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
