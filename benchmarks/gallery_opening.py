"""What opening a large gallery costs: seconds, and memory that no file backs.

A gallery of synthetic embeddings and made-up tiles is written and opened in a process of its own;
one row per size goes to `results/gallery_opening.csv`. Checksums are timed apart: reading every
byte once is what verifying costs, whatever the gallery.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.record import append_row
from benchmarks.search_scale import memory_mb, timed_ms
from benchmarks.synthetic_gallery import write_version
from crossfix.gallery import Gallery
from crossfix.geodesy import LonLat
from crossfix.prior import Disc


def main() -> int:
    """Writes a gallery, opens it, records a row."""
    options = _parser().parse_args()
    if options.worker:
        print(json.dumps(_open(options.worker)))
        return 0
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        directory = Path(scratch)
        kind = write_version(directory, options.rows, options.dim, options.kind).index.kind
        command = [sys.executable, "-m", "benchmarks.gallery_opening", "--worker", str(directory)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        row = {"rows": options.rows, "dim": options.dim, "kind": kind, **json.loads(done.stdout)}
    print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    if not options.no_record:
        append_row("gallery_opening", row)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gallery_opening", description=__doc__
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--kind", default="exact_f16", help="of index; see docs/galleries.md")
    parser.add_argument("--scratch", type=Path, help="where temporary files go")
    parser.add_argument("--no-record", action="store_true", help="print only")
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    return parser


def _open(directory: str) -> dict[str, object]:
    before = memory_mb()
    open_ms, gallery = timed_ms(lambda: Gallery.open_directory(Path(directory), verify=False))
    opened_mb = memory_mb() - before
    query = gallery.vectors[:1].astype(np.float32)
    disc = Disc(LonLat(float(gallery.tiles.lon[0]), float(gallery.tiles.lat[0])), 1000.0)
    search_ms, _ = timed_ms(lambda: gallery.search(query, 10))
    disc_ms, _ = timed_ms(lambda: gallery.search(query, 10, prior=disc))
    row_ms, _ = timed_ms(lambda: gallery.row_of(gallery.tiles.ids[len(gallery) // 2]))
    used_mb = memory_mb() - before
    verified_ms, _ = timed_ms(lambda: Gallery.open_directory(Path(directory)))
    return {
        "open_s": round(open_ms / 1000, 2),
        "open_verified_s": round(verified_ms / 1000, 2),
        "memory_mb": round(opened_mb),
        "memory_in_use_mb": round(used_mb),
        "first_search_ms": round(search_ms, 1),
        "first_disc_ms": round(disc_ms, 1),
        "first_row_of_id_ms": round(row_ms, 1),
    }


if __name__ == "__main__":
    sys.exit(main())
