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
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.record import append_row
from benchmarks.search_scale import memory_mb, timed_ms
from benchmarks.synthetic_embeddings import Spread, places, write_vectors
from crossfix.gallery import Gallery
from crossfix.gallery_manifest import BoundsModel, GalleryManifest, IndexInfo, SourceInfo
from crossfix.geodesy import LonLat
from crossfix.manifest import FileEntry, write_json_atomic
from crossfix.prior import Disc
from crossfix.tile_table import PICTURE_SCHEMA, SCHEMA
from index_builder.indexing.build_index import build_index
from index_builder.recipe import IndexRequest

_CHUNK_ROWS = 1 << 20
_PICTURE = b"\xff\xd8 as small as a picture can be \xff\xd9"


def main() -> int:
    """Writes a gallery, opens it, records a row."""
    options = _parser().parse_args()
    if options.worker:
        print(json.dumps(_open(options.worker)))
        return 0
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        directory = Path(scratch)
        kind = _write(directory, options.rows, options.dim, options.kind)
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


def _write(directory: Path, rows: int, dim: int, kind: str) -> str:
    write_vectors(directory / "vectors.f16", Spread.named("demo", dim), rows)
    info = build_index(directory, rows, dim, IndexRequest(kind=kind), threads=2)
    _write_tiles(directory, rows)
    files = {path.name: FileEntry.of(path) for path in directory.iterdir()}
    manifest = GalleryManifest(
        version="synthetic",
        embedding_space_id="none",
        encoder_name="none",
        tile_count=rows,
        embedding_dim=dim,
        index=IndexInfo.model_validate(info.model_dump()),
        bounds=BoundsModel(west=11, south=45, east=17, north=48),
        tile_sizes_m=[96.0],
        overlap=0.5,
        sources=[SourceInfo(name="synthetic", attribution="", licence="", date="", crs="")],
        files=files,
        content_hash="",
        created="",
        builder_revision="",
    )
    write_json_atomic(directory / "manifest.json", manifest.model_dump(mode="json"))
    return info.kind


def _write_tiles(directory: Path, rows: int) -> None:
    lon, lat = places(rows)
    rng = np.random.default_rng(0)
    pictures = pq.ParquetWriter(directory / "pictures.parquet", PICTURE_SCHEMA)
    tiles = pq.ParquetWriter(directory / "tiles.parquet", SCHEMA)
    with pictures, tiles:
        for start in range(0, rows, _CHUNK_ROWS):
            part = slice(start, min(start + _CHUNK_ROWS, rows))
            count = part.stop - start
            ids = [f"synthetic/96/{row}_{7 * row % 9973}" for row in range(start, part.stop)]
            numbers = {
                name: (lon if name in ("lon", "west", "east") else lat)[part]
                for name in ("lon", "lat", "west", "south", "east", "north")
            }
            sizes = {name: np.full(count, 96.0) for name in ("size_m", "resolution_m")}
            texts = {
                name: ["synthetic"] * count for name in ("source", "date", "attribution", "licence")
            }
            hashes = [f"{number:032x}" for number in rng.integers(0, 1 << 62, count).tolist()]
            columns = {"tile_id": ids, **numbers, **sizes, **texts, "pixels_hash": hashes}
            tiles.write_table(pa.table(columns, schema=SCHEMA))
            pictures.write_table(
                pa.table({"tile_id": ids, "jpeg": [_PICTURE] * count}, schema=PICTURE_SCHEMA),
                row_group_size=1024,
            )


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
