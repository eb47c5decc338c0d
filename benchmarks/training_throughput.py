"""The training loop's speed against a plain PyTorch loop over the same network and data.

    python -m benchmarks.training_throughput --recipe training/recipes/demo.yaml --data TOWNS

Both run here, one after the other, on random batches; a row goes to
`results/training_throughput.csv`. With `--peak-tflops` of the GPU's matrix units in bf16 the row
tells what share of it the loop uses.
"""

import argparse
import sys
from pathlib import Path

from benchmarks.record import append_row
from training.datasets.registry import open_dataset
from training.datasets.towns import find_towns
from training.loop.devices import choose_device
from training.loop.measure import (
    Tables,
    flops_per_step,
    measure_loading,
    measure_loop,
    measure_plain_loop,
)
from training.recipe import Recipe
from training.recipe_file import load_recipe


def main() -> int:
    """Measures, prints and records one row."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training_throughput", description=__doc__
    )
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--set", nargs="+", default=[], metavar="GROUP.KEY=VALUE", dest="overrides")
    parser.add_argument("--warmup", type=int, default=3, help="steps before the clock starts")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--peak-tflops", type=float, help="of the GPU, bf16, dense")
    arguments = parser.parse_args()
    recipe = load_recipe(arguments.recipe, arguments.overrides)
    tables = open_tables(recipe, arguments.data)
    row = measure(
        recipe, tables, warmup=arguments.warmup, steps=arguments.steps,
        peak_tflops=arguments.peak_tflops,
    )  # fmt: skip
    for name, value in row.items():
        print(f"{name:24} {value}")
    print(append_row("training_throughput", row))
    return 0


def open_tables(recipe: Recipe, data: list[Path]) -> Tables:
    """The training pairs of the recipe's data set."""
    folders = find_towns(data) if recipe.data.dataset == "sample_world" else data
    return open_dataset(recipe, folders).training()


def measure(
    recipe: Recipe, tables: Tables, *, warmup: int, steps: int, peak_tflops: float | None
) -> dict[str, object]:
    """One row of figures."""
    length = {"warmup": warmup, "steps": steps}
    loop = measure_loop(recipe, tables, **length)
    plain = measure_plain_loop(recipe, tables, **length)
    loading = measure_loading(recipe, tables, **length)
    tflop = flops_per_step(recipe, tables) / 1e12
    per_s = tflop * loop.images_per_s / (2 * recipe.sampling.batch_size)
    runtime = recipe.runtime
    return {
        "recipe": recipe.name,
        "device": choose_device(runtime.device).type,
        "batch_pairs": recipe.sampling.batch_size,
        "precision": runtime.precision,
        "workers": runtime.workers,
        "micro_batch": runtime.micro_batch or "",
        "images_per_s": round(loop.images_per_s, 1),
        "plain_images_per_s": round(plain.images_per_s, 1),
        "ratio": round(loop.images_per_s / plain.images_per_s, 2),
        "cpu_ms_per_pair": round(1e3 * loop.cpu_s_per_pair, 2),
        "plain_cpu_ms_per_pair": round(1e3 * plain.cpu_s_per_pair, 2),
        "loading_images_per_s": round(loading.images_per_s, 1),
        "tflop_per_step": float(f"{tflop:.4g}"),
        "tflop_per_s": float(f"{per_s:.4g}"),
        "share_of_peak": round(per_s / peak_tflops, 4) if peak_tflops else "",
    }


if __name__ == "__main__":
    sys.exit(main())
