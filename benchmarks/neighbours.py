"""Time and memory of neighbour tables and batches at the size of VIGOR cross-area.

Synthetic places: tiles on street-like grids in two cities, photos spread over them, random
embeddings. Each part runs in a process of its own, which reports its peak beyond the inputs.
"""

import argparse
import json
import sys
import time
from typing import Any

import numpy as np

from benchmarks.apart import gib_since, peak_bytes, run_apart, unit_rows
from benchmarks.record import append_row
from crossfix.matches import Matches
from training.datasets.split import Float64, Positions
from training.sampling.batches import epoch_batches
from training.sampling.items import PairItems
from training.sampling.neighbour_table import NeighbourTable
from training.sampling.neighbours import ground_neighbours, similar_tiles

PARTS = ("ground", "similar", "batches")
CITIES = ((-73.98, 40.75), (-122.33, 47.61))  # New York and Seattle, as in VIGOR's training part
GRID_DEG = 3.3e-4  # about half a tile of zoom 20
RANGE, SELECT, BATCH = 128, 64, 128


def main() -> int:
    """Measures once and records a row in `results/neighbours.csv`."""
    options = _parser().parse_args()
    if options.worker:
        print(json.dumps(_WORKERS[options.worker](options)))
        return 0
    sizes = {"pairs": options.pairs, "tiles": options.tiles, "dim": options.dim}
    row: dict[str, Any] = dict(sizes)
    for part in PARTS:
        row |= run_apart("benchmarks.neighbours", ["--worker", part], sizes)
    for name, value in row.items():
        print(f"{name:>20} {value}")
    append_row("neighbours", row)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.neighbours", description=__doc__)
    parser.add_argument("--pairs", type=int, default=51_520, help="default: VIGOR cross-area")
    parser.add_argument("--tiles", type=int, default=27_101)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--worker", choices=PARTS, help=argparse.SUPPRESS)
    return parser


def measure_ground(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds and extra GiB of the ground table, in the published and in the right order."""
    positions, found = Positions("lonlat", city_places(options.tiles)), {}
    before = peak_bytes()
    for mode in ("paper", "correct"):
        began = time.perf_counter()
        ground_neighbours(positions, RANGE, exclude_within_m=0.0, mode=mode)
        found[f"ground_{mode}_s"] = round(time.perf_counter() - began, 2)
    return found | {"ground_extra_gib": gib_since(before)}


def measure_similar(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds and extra GiB of the similarity table, beyond the embeddings."""
    photos, tiles = (
        unit_rows(rows, options.dim, seed=seed)
        for seed, rows in enumerate((options.pairs, options.tiles))
    )
    blocked = Matches.one_each(_references(options))
    before = peak_bytes()
    began = time.perf_counter()
    similar_tiles(photos, tiles, RANGE, blocked=blocked)
    seconds = time.perf_counter() - began
    return {"similar_s": round(seconds, 1), "similar_extra_gib": gib_since(before)}


def measure_batches(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of one epoch of batches with ground neighbours, and how many of the pairs it keeps.

    Every photo has the three tiles nearest to its own as semi-positives.
    """
    reference = _references(options)
    positions = Positions("lonlat", city_places(options.tiles))
    rows = ground_neighbours(positions, RANGE, exclude_within_m=0.0, mode="correct")
    conflicts = Matches.from_lists(list(rows[reference, :3]))
    items = PairItems(reference, conflicts, NeighbourTable(rows, reference))
    began = time.perf_counter()
    batches = epoch_batches(
        {"ground": items}, batch_size=BATCH, neighbour_select=SELECT, seed=0, epoch=0
    )
    seconds = time.perf_counter() - began
    return {"batches_s": round(seconds, 2), "pairs_in_batches": len(batches) * BATCH}


_WORKERS = {"ground": measure_ground, "similar": measure_similar, "batches": measure_batches}


def city_places(count: int) -> Float64:
    """(R, 2) lon, lat of cells drawn from a grid round each city, denser near its centre."""
    rng = np.random.default_rng(0)
    wanted = [count // 2, count - count // 2]
    found = []
    for (lon, lat), cells in zip(CITIES, wanted, strict=True):
        drawn = np.round(rng.normal(0, 0.02 / GRID_DEG, (6 * cells, 2))).astype(np.int64)
        unique = rng.permutation(np.unique(drawn, axis=0))[:cells]
        found.append(np.array([lon, lat]) + unique * GRID_DEG)
    places = np.concatenate(found)
    if len(places) < count:
        raise ValueError(f"the grid holds {len(places)} of {count} tiles")
    return places


def _references(options: argparse.Namespace) -> np.ndarray[Any, np.dtype[np.int64]]:
    """(N,) every tile once, the other photos anywhere."""
    rng = np.random.default_rng(1)
    extra = rng.integers(0, options.tiles, max(0, options.pairs - options.tiles))
    return np.concatenate([np.arange(options.tiles), extra])[: options.pairs].astype(np.int64)


if __name__ == "__main__":
    sys.exit(main())
