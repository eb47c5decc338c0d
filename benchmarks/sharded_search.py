"""What cutting a gallery into shards costs a search: one process, one gallery against its shards.

Made-up unit vectors at made-up places; both galleries hold the same rows and must answer the same.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.record import append_row
from crossfix.gallery import Disc, Gallery
from crossfix.gallery_manifest import (
    MANIFEST_FILE,
    PICTURES_FILE,
    TILES_FILE,
    VECTORS_FILE,
    BoundsModel,
    GalleryManifest,
    IndexInfo,
    SourceInfo,
)
from crossfix.geodesy import LocalFrame, LonLat, morton_code
from crossfix.manifest import FileEntry, write_json_atomic
from crossfix.sharded_gallery import ShardedGallery
from crossfix.tile_table import PICTURE_SCHEMA, TileTable
from index_builder.publish import locked, publish
from index_builder.recipe import IndexRequest
from index_builder.sharding import publish_sharded

Float32 = NDArray[np.float32]

CENTRE = LonLat(8.0, 50.0)
SPREAD_M = 50_000
HALF_DEG = 5e-4
K = 10


def main() -> int:
    """Measures once and records a row in `results/sharded_search.csv`."""
    options = search_parser("sharded_search", __doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        row = measure(Path(folder), options)
    for name, value in row.items():
        print(f"{name:>24} {value}")
    if not options.dry_run:
        append_row("sharded_search", row)
    return 0


def search_parser(name: str, doc: str | None) -> argparse.ArgumentParser:
    """The options of every benchmark that compares shards with one piece."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=doc)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--radius-m", type=float, default=5_000)
    parser.add_argument("--dry-run", action="store_true", help="print, but record nothing")
    return parser


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Builds both galleries and times the same queries in turn on each."""
    plain, queries = publish_both(folder, options)
    disc = Disc(CENTRE, options.radius_m)
    with ShardedGallery.open(folder / "sharded", verify=False) as sharded:
        require_equal(plain, sharded, queries)
        row: dict[str, Any] = {
            "rows": options.rows, "dim": options.dim, "shards": options.shards, "k": K,
            "queries": options.queries,
        }  # fmt: skip
        for name, prior in (("", None), ("_prior", disc)):
            timed = time_in_turn(
                {
                    f"plain{name}": lambda query, prior=prior: plain.search(query, K, prior=prior),
                    f"sharded{name}": lambda query, prior=prior: sharded.search(
                        query, K, prior=prior
                    ),
                },
                queries,
            )
            for kind, times_ms in timed.items():
                row[f"{kind}_p50_ms"] = round(float(np.percentile(times_ms, 50)), 3)
                row[f"{kind}_p95_ms"] = round(float(np.percentile(times_ms, 95)), 3)
        row["prior_shards_asked"] = sharded.search(queries[:1], K, prior=disc).shards_asked
    return row


def publish_both(folder: Path, options: argparse.Namespace) -> tuple[Gallery, Float32]:
    """The same tiles in `plain`, which is opened, and in `sharded`; and queries for them."""
    rng = np.random.default_rng(0)
    whole = write_gallery(folder / "assembled", rng, options.rows, options.dim)
    with locked(folder / "sharded"):
        publish_sharded(
            folder / "sharded", folder / "assembled", whole, shards=options.shards,
            index=IndexRequest(kind="exact_f16"), threads=1,
        )  # fmt: skip
    (folder / "plain").mkdir()
    publish(folder / "plain", folder / "assembled", whole.version)
    plain = Gallery.open(folder / "plain", verify=False)
    queries = plain.vectors[rng.integers(0, options.rows, options.queries)].astype(np.float32)
    queries += 0.7 * unit_rows(rng, options.queries, options.dim)
    return plain, queries / np.linalg.norm(queries, axis=1, keepdims=True)


def time_in_turn(
    searches: dict[str, Callable[[Float32], object]], queries: Float32
) -> dict[str, list[float]]:
    """Milliseconds of every query; in turn, so that a busy moment meets all alike."""
    times: dict[str, list[float]] = {name: [] for name in searches}
    for number, query in enumerate(queries):
        for name, search in searches.items():
            began = time.perf_counter()
            search(query[None])
            if number >= len(queries) // 10:  # the first ones warm the page cache
                times[name].append(1000 * (time.perf_counter() - began))
    return times


def require_equal(plain: Gallery, sharded: ShardedGallery, queries: Float32) -> None:
    """Both galleries must give the same rows, or the timings compare different things."""
    expected, found = plain.search(queries, K), sharded.search(queries, K)
    if not np.array_equal(expected.rows, found.rows):
        raise AssertionError("the sharded gallery gives another ranking")


def unit_rows(rng: np.random.Generator, count: int, dim: int) -> Float32:
    """Directions without any structure: the hardest case, and of no matter to a full scan."""
    rows = rng.standard_normal((count, dim), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def write_gallery(
    directory: Path, rng: np.random.Generator, rows: int, dim: int
) -> GalleryManifest:
    """An assembled version of made-up tiles, in Morton order."""
    directory.mkdir()
    lon, lat = LocalFrame(CENTRE).to_lonlat(*rng.normal(0, SPREAD_M / 2, (2, rows)))
    order = np.argsort(morton_code(lon, lat), kind="stable")
    tiles = _table(lon[order], lat[order])
    unit_rows(rng, rows, dim).astype("<f2").tofile(directory / VECTORS_FILE)
    pq.write_table(tiles.to_arrow(), directory / TILES_FILE)
    pictures = pa.table({"tile_id": list(tiles.ids), "jpeg": [b"-"] * rows}, schema=PICTURE_SCHEMA)
    pq.write_table(pictures, directory / PICTURES_FILE, row_group_size=64)
    names = (VECTORS_FILE, TILES_FILE, PICTURES_FILE)
    manifest = GalleryManifest(
        version="made-up",
        embedding_space_id="made-up",
        encoder_name="made-up",
        tile_count=rows,
        embedding_dim=dim,
        index=IndexInfo(kind="exact_f16", parameters={}, measured_recall_at_10=1.0),
        bounds=BoundsModel(west=-180, south=-90, east=180, north=90),
        tile_sizes_m=[50.0],
        overlap=0.0,
        sources=[SourceInfo(name="made-up", attribution="", licence="", date="", crs="")],
        files={name: FileEntry.of(directory / name) for name in names},
        content_hash="0" * 64,
        created="2026-01-01T00:00:00Z",
        builder_revision="benchmark",
    )
    write_json_atomic(directory / MANIFEST_FILE, manifest.model_dump(mode="json"))
    return manifest


def _table(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> TileTable:
    count = len(lon)
    texts = [""] * count
    return TileTable(
        ids=[f"tile-{row:09d}" for row in range(count)],
        lon=lon,
        lat=lat,
        west=lon - HALF_DEG,
        south=lat - HALF_DEG,
        east=lon + HALF_DEG,
        north=lat + HALF_DEG,
        size_m=np.full(count, 50.0),
        resolution_m=np.full(count, 0.5),
        source=["made-up"] * count,
        date=texts,
        attribution=texts,
        licence=texts,
        pixels_hash=texts,
    )


if __name__ == "__main__":
    raise SystemExit(main())
