"""Search latency and recall at 10 k to 10 M tiles, with and without a prior, beside FAISS alone.

One size per run. Embeddings have the spread of real ones (`benchmarks.synthetic_embeddings`);
approximate indexes are built and tuned by `index_builder.indexing`. Every contender is opened and
asked in a process of its own, on one thread. `read_once_ms` is the time one core needs to read the
fp16 vectors once from memory: no exact search of a single query can be faster. One row per
contender goes to `results/search_scale.csv`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.record import append_row
from benchmarks.search_contenders import FAISS_ALONE, OURS, Case, Search, open_contender
from benchmarks.synthetic_embeddings import Spread, make_photos, places, write_vectors
from crossfix.gallery_manifest import INDEX_FILE, VECTORS_FILE, IndexInfo
from crossfix.geodesy import LonLat
from crossfix.index_opening import map_vectors
from crossfix.index_rows import RowRuns
from crossfix.index_scan import score_rows
from crossfix.manifest import sha256_file
from crossfix.morton_cover import MortonRows
from crossfix.prior import Disc
from crossfix.vector_search import ExactIndex
from index_builder.indexing.build_index import build_index
from index_builder.recipe import IndexRequest

Result = TypeVar("Result")
Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]

K = 10
RADII_KM = (1, 10, 100)
CENTRES = 12
_ROUNDING = 2e-6
_FLAT_F32_ROWS = 2_000_000  # beyond, its fp32 copy is more than this machine should give


def main() -> int:
    """Measures all contenders at one size and records a row for each."""
    options = _parser().parse_args()
    if options.worker:
        print(json.dumps(_work(options)))
        return 0
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        options.folder = options.folder or Path(scratch)
        options.folder.mkdir(parents=True, exist_ok=True)
        _write_data(options)
        for kind in [kind for kind in options.contenders if kind in OURS[1:]]:
            _in_process(options, f"build:{kind}", threads=options.build_threads)
        _in_process(options, "truth", threads=options.build_threads)
        for name in options.contenders:
            if name == "faiss_flat_f32" and options.rows > _FLAT_F32_ROWS:
                continue
            row = _in_process(options, name, threads=1)
            print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
            if not options.no_record:
                append_row("search_scale", row)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search_scale", description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--spread", choices=("demo", "wide"), default="demo")
    parser.add_argument("--recall", type=float, default=0.99, help="asked of approximate kinds")
    parser.add_argument("--queries", type=int, default=192)
    parser.add_argument(
        "--contenders", nargs="+", choices=OURS + FAISS_ALONE, default=OURS + FAISS_ALONE
    )
    parser.add_argument("--build-threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--scratch", type=Path, help="where temporary files go")
    parser.add_argument("--folder", type=Path, help="keep vectors and indexes here, and use them")
    parser.add_argument("--no-record", action="store_true", help="print only")
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    return parser


def _write_data(options: argparse.Namespace) -> None:
    path = options.folder / VECTORS_FILE
    if not path.exists() or path.stat().st_size != 2 * options.rows * options.dim:
        write_vectors(path, Spread.named(options.spread, options.dim), options.rows)


def _in_process(options: argparse.Namespace, worker: str, *, threads: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.search_scale", "--worker", worker]
    for name in ("rows", "dim", "spread", "recall", "queries", "folder"):
        command += [f"--{name}", str(getattr(options, name))]
    command += ["--build-threads", str(threads)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _work(options: argparse.Namespace) -> dict[str, Any]:
    vectors = map_vectors(options.folder, options.rows, options.dim)
    if options.worker.startswith("build:"):
        return _build(options, options.worker.removeprefix("build:"))
    photos = make_photos(Spread.named(options.spread, options.dim), vectors, options.queries)
    if options.worker == "truth":
        return _find_truth(options, vectors, photos)
    return _measure(options, vectors, photos)


def _build(options: argparse.Namespace, kind: str) -> dict[str, Any]:
    """Builds an index beside a link to the vectors; leaves what was measured in a file."""
    folder = options.folder / kind
    folder.mkdir(exist_ok=True)
    done = folder / "built.json"
    if not done.exists():
        link = folder / VECTORS_FILE
        link.unlink(missing_ok=True)
        os.link(options.folder / VECTORS_FILE, link)
        request = IndexRequest(kind=kind, recall_at_10=options.recall)
        started = time.perf_counter()
        with _watched_memory() as peak:
            info = build_index(
                folder, options.rows, options.dim, request, threads=options.build_threads
            )
        report = {
            "info": info.model_dump(),
            "build_s": round(time.perf_counter() - started, 1),
            "build_peak_mb": round(max(peak)),
        }
        done.write_text(json.dumps(report))
    return {}


def _discs(rows: int) -> Iterator[list[Disc]]:
    """For each radius as many discs, centred on random tiles."""
    lon, lat = places(rows)
    chosen = np.random.default_rng(3).integers(0, rows, CENTRES)
    for radius_km in RADII_KM:
        yield [Disc(LonLat(float(lon[row]), float(lat[row])), radius_km * 1000.0) for row in chosen]


def _find_truth(
    options: argparse.Namespace, vectors: NDArray[np.float16], photos: Float32
) -> dict[str, Any]:
    """The K-th best score of every photo, of all tiles and inside each disc; saved."""
    exact, rows = ExactIndex(vectors), MortonRows(*places(len(vectors)))
    found = [exact.search(photos, K).scores[:, -1]]
    for discs in _discs(len(vectors)):
        worst = np.empty(len(photos), np.float32)
        for number, disc in enumerate(discs):
            asked = slice(number, None, CENTRES)
            worst[asked] = exact.search(photos[asked], K, rows=rows.inside(disc)).scores[:, -1]
        found.append(worst)
    np.save(options.folder / "truth.npy", np.array(found))
    return {}


def _measure(
    options: argparse.Namespace, vectors: NDArray[np.float16], photos: Float32
) -> dict[str, Any]:
    name = options.worker
    truth = np.load(options.folder / "truth.npy")
    built = {
        path.parent.name: json.loads(path.read_text())
        for path in options.folder.glob("*/built.json")
    }
    infos = {kind: IndexInfo.model_validate(one["info"]) for kind, one in built.items()}
    read_once_ms = _read_once_ms(vectors)
    for path in options.folder.glob(f"*/{INDEX_FILE}"):
        sha256_file(path)  # as opening a gallery does; leaves the file in the page cache
    before = memory_mb()
    search = open_contender(name, Case(vectors, options.folder, infos))
    search(photos[:2], K, None)
    own = built.get(name.removeprefix("faiss_"), {})
    parameters = own.get("info", {}).get("parameters", {})
    row = {
        "rows": options.rows,
        "dim": options.dim,
        "spread": options.spread,
        "contender": name,
        "factory": own.get("info", {}).get("factory", ""),
        "nprobe": parameters.get("nprobe", ""),
        "refine_factor": parameters.get("refine_factor", ""),
        "build_s": own.get("build_s", "") if name in OURS else "",
        "build_peak_mb": own.get("build_peak_mb", "") if name in OURS else "",
        "file_mb": _file_mb(options.folder, name),
        "ram_mb": round(memory_mb() - before),
        "read_once_ms": read_once_ms,
        **_unbounded(search, vectors, photos, truth[0]),
        **_inside_discs(search, vectors, photos, truth[1:]),
    }
    return row


def _unbounded(
    search: Search, vectors: NDArray[np.float16], photos: Float32, tenth: Float32
) -> dict[str, object]:
    alone_ms = [timed_ms(lambda photo=photo: search(photo[None], K, None))[0] for photo in photos]
    batches = [photos[start : start + 32] for start in range(0, len(photos), 32)]
    together = [timed_ms(lambda batch=batch: search(batch, K, None)) for batch in batches]
    found = np.concatenate([rows for _, rows in together])
    return {
        "p50_ms": _short(np.percentile(alone_ms, 50)),
        "p95_ms": _short(np.percentile(alone_ms, 95)),
        "batch_32_ms_per_query": _short(np.median([ms for ms, _ in together]) / 32),
        "recall_at_10": _recall(vectors, photos, found, tenth),
    }


def _inside_discs(
    search: Search,
    vectors: NDArray[np.float16],
    photos: Float32,
    truth: Float32,
) -> dict[str, object]:
    rows, row = MortonRows(*places(len(vectors))), {}
    for radius_km, discs, tenth in zip(RADII_KM, _discs(len(vectors)), truth, strict=True):
        inside: list[RowRuns] = [rows.inside(disc) for disc in discs]
        times, recalls = [], []
        for number, photo in enumerate(photos):
            disc = discs[number % CENTRES]
            ms, found = timed_ms(
                lambda photo=photo, disc=disc: search(photo[None], K, rows.inside(disc))
            )
            times.append(ms)
            recalls.append(_recall(vectors, photo[None], found, tenth[number : number + 1]))
        row |= {
            f"disc_{radius_km}km_tiles": int(np.median([runs.count for runs in inside])),
            f"disc_{radius_km}km_p50_ms": _short(np.percentile(times, 50)),
            f"disc_{radius_km}km_recall": _short(np.mean(recalls)),
        }
    return row


def _recall(vectors: NDArray[np.float16], photos: Float32, found: Int64, tenth: Float32) -> float:
    """Share of answers that score as well as the exact ten best."""
    good = (score_rows(vectors, found, photos) >= tenth[:, None] - _ROUNDING) & (found >= 0)
    return round(float(good.mean()), 4)


def timed_ms(run: Callable[[], Result]) -> tuple[float, Result]:
    """Milliseconds, and what came out."""
    started = time.perf_counter()
    found = run()
    return 1000 * (time.perf_counter() - started), found


def _read_once_ms(vectors: NDArray[np.float16]) -> float:
    """The best of five sums over the whole file as 64-bit words, one core."""
    words = vectors.reshape(-1).view(np.uint64)
    return _short(min(timed_ms(lambda: words.sum())[0] for _ in range(5)))


def _short(value: float) -> float:
    """Four digits are enough."""
    return float(f"{value:.4g}")


def _file_mb(folder: Path, name: str) -> float:
    path = folder / name / INDEX_FILE
    return round((path if path.exists() else folder / VECTORS_FILE).stat().st_size / 1e6, 1)


def memory_mb() -> float:
    """Memory of this process that no file backs."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("RssAnon:")[1].split()[0]) / 1000


@contextmanager
def _watched_memory() -> Iterator[list[float]]:
    """Looks at the memory ten times a second."""
    seen, stop = [memory_mb()], threading.Event()

    def watch() -> None:
        while not stop.wait(0.1):
            seen.append(memory_mb())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


if __name__ == "__main__":
    sys.exit(main())
