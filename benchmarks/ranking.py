"""What ranking costs beside the bare matrix product it is made of, in time and memory.

Each run is a process of its own. There, the two take turns on a few chunks of queries each, so
that both meet the same noise of the machine; ranking checks the whole gallery anew in every turn.
"""

import argparse
import json
import sys
import time

import numpy as np

from benchmarks.apart import gib_since, peak_bytes, run_apart, unit_rows
from benchmarks.record import append_row
from crossfix.matches import Matches
from crossfix.ranking import BUFFER_BYTES, rank_queries

CHUNKS_PER_TURN = 4


def main() -> int:
    """Measures once and records a row in `results/ranking.csv`."""
    options = _parser().parse_args()
    if options.worker:
        print(json.dumps(measure(options.queries, options.gallery, options.dim)))
        return 0
    sizes = {"queries": options.queries, "gallery": options.gallery, "dim": options.dim}
    found = run_apart("benchmarks.ranking", ["--worker"], sizes)
    for name, value in found.items():
        print(f"{name:>18} {value}")
    append_row("ranking", sizes | found)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ranking", description=__doc__)
    parser.add_argument("--queries", type=int, default=92_802, help="default: CVACT test")
    parser.add_argument("--gallery", type=int, default=92_802)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser


def measure(queries: int, gallery: int, dim: int) -> dict[str, float]:
    """Seconds of both, their ratio, and GiB that ranking held beyond the embeddings.

    The bare product and its buffer come after the first ranking, so that the peak is ranking's.
    """
    tiles, photos = unit_rows(gallery, dim, seed=0), unit_rows(queries, dim, seed=1)
    positives = Matches.one_each(np.arange(queries) % gallery)
    chunk = max(1, BUFFER_BYTES // (4 * gallery))
    before = peak_bytes()
    rank_queries(photos[: 2 * chunk], tiles, _rows(positives, 0, 2 * chunk))
    extra_gib = gib_since(before)
    product_s = ranking_s = 0.0
    buffer = np.empty((min(chunk, queries), gallery), np.float32)
    for start in range(0, queries, CHUNKS_PER_TURN * chunk):
        some = photos[start : start + CHUNKS_PER_TURN * chunk]
        began = time.perf_counter()
        for first in range(0, len(some), chunk):
            rows = some[first : first + chunk]
            np.matmul(rows, tiles.T, out=buffer[: len(rows)])
        between = time.perf_counter()
        rank_queries(some, tiles, _rows(positives, start, len(some)))
        product_s += between - began
        ranking_s += time.perf_counter() - between
    return {
        "product_s": round(product_s, 2),
        "ranking_s": round(ranking_s, 2),
        "ratio": round(ranking_s / product_s, 3),
        "extra_gib": extra_gib,
    }


def _rows(matches: Matches, start: int, count: int) -> Matches:
    return Matches.one_each(matches.columns[start : start + count])


if __name__ == "__main__":
    sys.exit(main())
