"""Losses and tile transforms side by side on rendered towns: one network, one budget for all.

    python -m benchmarks.loss_and_transform_study --data towns/train --test towns/test --seeds 1

Every run has the same backbone, aggregation, towns, epochs and optimiser (recipe
`study_families.yaml`) and is evaluated on towns never trained on; what differs is named by
its row: `loss` (with its batches), `transform` of the tiles, `weights` of the views. Untrained
networks are in the same table. One row per run goes to `results/loss_and_transform_study.csv` as
soon as it is there; `--skip-done` leaves out what already has one.
"""

import argparse
import csv
import logging
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.record import ROOT, append_row
from training.commands import evaluate_run, train_run
from training.recipe_file import load_recipe

TABLE = "loss_and_transform_study"
RECIPE = ROOT / "training" / "recipes" / "study_families.yaml"
SHOWN = ("recall_at_1", "recall_at_5", "recall_at_10", "median_error_m")
KEYS = ("loss", "transform", "weights", "seed")
SIZE = "height_px: 64, width_px: 128"
TPS = f"kind: tps_stn, {SIZE}, lattice_rows: 6, lattice_columns: 10, bounded: false"

LOSSES: Mapping[str, Sequence[str]] = {
    "InfoNCE + DSS": (
        "loss={kind: info_nce, label_smoothing: 0.1, initial_temperature: 0.07, max_scale: 100.0}",
        "sampling.strategy=gps_then_dss",
    ),
    "InfoNCE": (
        "loss={kind: info_nce, label_smoothing: 0.1, initial_temperature: 0.07, max_scale: 100.0}",
    ),
    "soft margin": (),
    "HER": (
        "loss={kind: her, directions: query_to_tile, normalise: true, feature_scale: 5.0, "
        "margin_share: 0.15, pruned_weight: 0.1, detach_weights: false, orientation_weight: 0.0}",
    ),
}
TRANSFORMS: Mapping[str, str] = {
    "none": "{kind: none}",
    "polar": f"{{kind: polar, {SIZE}, stretch: false}}",
    "affine": f"{{kind: affine_stn, {SIZE}, guide_weight: 0.0}}",
    "similarity": f"{{kind: similarity_stn, {SIZE}, guide_weight: 0.0}}",
    "stacked": f"{{kind: stacked_affine_stn, {SIZE}}}",
    "TPS": f"{{{TPS}, guide_weight: 0.0}}",
    "TPS + L1": f"{{{TPS}, guide_weight: 1.0}}",
}
SEPARATE, SHARED = "separate", "shared"


@dataclass(frozen=True)
class Variant:
    """A row of the table."""

    loss: str
    transform: str
    weights: str

    def overrides(self) -> list[str]:
        """What it changes in the recipe."""
        sharing = "all" if self.weights == SHARED else "none"
        return [
            *LOSSES[self.loss], f"model.tile_transform={TRANSFORMS[self.transform]}",
            f"model.sharing={sharing}", f"model.shared_head={str(self.weights == SHARED).lower()}",
        ]  # fmt: skip


VARIANTS = (
    Variant("soft margin", "none", SEPARATE),
    Variant("soft margin", "polar", SEPARATE),
    Variant("InfoNCE + DSS", "none", SEPARATE),
    Variant("HER", "none", SEPARATE),
    Variant("soft margin", "affine", SEPARATE),
    Variant("soft margin", "stacked", SEPARATE),
    Variant("soft margin", "TPS", SEPARATE),
    Variant("soft margin", "TPS + L1", SEPARATE),
    Variant("soft margin", "none", SHARED),
    Variant("soft margin", "polar", SHARED),
    Variant("soft margin", "similarity", SEPARATE),
    Variant("InfoNCE", "none", SEPARATE),
    Variant("InfoNCE", "polar", SEPARATE),
    Variant("HER", "polar", SEPARATE),
)
CONTROLS = {("soft margin", "none", SEPARATE), ("soft margin", "polar", SEPARATE)}


def run_one(options: argparse.Namespace, variant: Variant, seed: int) -> list[dict[str, Any]]:
    """Trains and evaluates once; networks without and with polar tiles also untrained."""
    recipe = load_recipe(
        options.recipe, [f"runtime.seed={seed}", *options.overrides, *variant.overrides()]
    )
    name = f"{variant.loss}-{variant.transform}-{variant.weights}".lower().replace(" ", "")
    run = options.runs / f"{recipe.name}-{name}-{seed}"
    shutil.rmtree(run, ignore_errors=True)
    started = time.monotonic()
    done = train_run(recipe, options.data, [], run, resume=False)
    minutes = (time.monotonic() - started) / 60
    found = {variant.loss: evaluate_run(run, options.test, weights="last")}
    if (variant.loss, variant.transform, variant.weights) in CONTROLS:
        found["untrained"] = evaluate_run(run, options.test, weights="random")
    shutil.rmtree(run)
    return [
        _row(loss, variant, seed, row, epochs=recipe.schedule.epochs,
             steps=int(done["step"]) if loss == variant.loss else 0,
             minutes=minutes if loss == variant.loss else 0.0)
        for loss, rows in found.items()
        for row in rows
        if row["kind"] == "panorama" and row["split"] == "pooled"
    ]  # fmt: skip


def _row(
    loss: str, variant: Variant, seed: int, row: Mapping[str, Any], *, epochs: int, steps: int,
    minutes: float,
) -> dict[str, Any]:  # fmt: skip
    figures = ("queries", "gallery", "recall_at_1", "recall_at_5", "recall_at_10", "chance_at_1",
               "chance_at_5", "median_error_m", "within_100_m")  # fmt: skip
    kept = {name: round(float(row[name]), 4) for name in figures}
    return {"loss": loss, "transform": variant.transform, "weights": variant.weights,
            "seed": seed, "epochs": epochs if steps else 0, "steps": steps,
            "minutes": round(minutes, 1), **kept}  # fmt: skip


def recorded() -> list[dict[str, str]]:
    """The rows there are."""
    path = ROOT / "results" / f"{TABLE}.csv"
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table: mean and standard deviation over the seeds, a line per variant."""
    names = ["loss", "transform", "weights", "seeds", *SHOWN]
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    keys = [(row["loss"], row["transform"], row["weights"]) for row in rows]
    for key in dict.fromkeys(keys):
        own = [row for row, k in zip(rows, keys, strict=True) if k == key]
        cells = [*key, str(len(own))]
        for name in SHOWN:
            values = [float(row[name]) for row in own]
            spread = f" +- {stdev(values):.2g}" if len(values) > 1 else ""
            cells.append(f"{mean(values):.4g}{spread}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs every variant with every seed and prints the summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--data", type=Path, nargs="+", default=[], help="towns to train on")
    parser.add_argument("--test", type=Path, nargs="+", default=[], help="other towns")
    parser.add_argument("--table", action="store_true", help="print the recorded rows as a table")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder for the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--only", type=int, nargs="+", help="numbers of variants, from 0")
    parser.add_argument("--skip-done", action="store_true", help="leave out what has a row")
    parser.add_argument("--set", nargs="+", default=[], dest="overrides")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    if options.table:
        print(summary(recorded()))
        return 0
    known = {tuple(row[key] for key in KEYS) for row in recorded()} if options.skip_done else set()
    rows = []
    for seed in options.seeds:
        for number, variant in enumerate(VARIANTS):
            if options.only is not None and number not in options.only:
                continue
            if (variant.loss, variant.transform, variant.weights, str(seed)) in known:
                continue
            for row in run_one(options, variant, seed):
                append_row(TABLE, row)
                rows.append(row)
                print(row, flush=True)
    print(summary(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
