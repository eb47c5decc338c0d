"""Random batches against GPS neighbours against GPS then similarity: rendered towns, many seeds.

    python -m benchmarks.sampling_strategies --data towns/train --test towns/test --seeds 1 2 3

Every strategy starts from the same weights for the same seed, sees the same number of epochs of the
same towns, and is evaluated on towns that were never trained on. One row per run and view goes to
`results/sampling_strategies.csv`, a random-weight encoder per seed among them.
"""

import argparse
import logging
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.record import append_row
from training.commands import evaluate_run, train_run
from training.recipe_file import load_recipe

STRATEGIES = ("random", "gps", "gps_then_dss")
SHOWN = ("recall_at_1", "recall_at_5", "median_error_m")
RECIPE = Path(__file__).resolve().parent.parent / "training" / "recipes" / "study.yaml"


def run_one(options: argparse.Namespace, strategy: str, seed: int) -> list[dict[str, Any]]:
    """Trains and evaluates once; the first strategy's run is also evaluated untrained."""
    overrides = [f"sampling.strategy={strategy}", f"runtime.seed={seed}", *options.overrides]
    recipe = load_recipe(options.recipe, overrides)
    run = options.runs / f"{recipe.name}-{strategy}-{seed}"
    shutil.rmtree(run, ignore_errors=True)
    started = time.monotonic()
    done = train_run(recipe, options.data, [], run, resume=False)
    minutes = (time.monotonic() - started) / 60
    found = {strategy: evaluate_run(run, options.test, weights="last")}
    if strategy == STRATEGIES[0]:
        found["untrained"] = evaluate_run(run, options.test, weights="random")
    return [
        _row(name, seed, row, steps=int(done["step"]) if name == strategy else 0,
             minutes=minutes if name == strategy else 0.0)
        for name, rows in found.items()
        for row in rows
        if row["kind"] == "panorama" and row["split"] == "pooled"
    ]  # fmt: skip


def _row(
    strategy: str, seed: int, row: dict[str, Any], *, steps: int, minutes: float
) -> dict[str, Any]:
    figures = ("queries", "gallery", "recall_at_1", "recall_at_5", "recall_at_10", "chance_at_1",
               "chance_at_5", "median_error_m", "within_100_m")  # fmt: skip
    kept = {name: round(float(row[name]), 4) for name in figures}
    return {"strategy": strategy, "seed": seed, "steps": steps, "minutes": round(minutes, 1),
            "view": row["view"], "kind": row["kind"], **kept}  # fmt: skip


def summary(rows: Sequence[dict[str, Any]]) -> str:
    """Mean and standard deviation over the seeds, a line per strategy."""
    lines = []
    for strategy in dict.fromkeys(row["strategy"] for row in rows):
        cells = []
        for name in SHOWN:
            values = [float(row[name]) for row in rows if row["strategy"] == strategy]
            spread = stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{name} {mean(values):.4g} +- {spread:.2g}")
        lines.append(f"{strategy:14}" + "  ".join(cells))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs every strategy with every seed and prints the summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="towns to train on")
    parser.add_argument("--test", type=Path, nargs="+", required=True, help="other towns")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder for the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=STRATEGIES)
    parser.add_argument("--set", nargs="+", default=[], dest="overrides")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    rows = []
    for seed in options.seeds:
        for strategy in options.strategies:
            for row in run_one(options, strategy, seed):
                append_row("sampling_strategies", row)
                rows.append(row)
                print(row, flush=True)
    print(summary(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
