"""A gallery of any size without imagery: synthetic embeddings at made-up places."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.synthetic_embeddings import Spread, places, write_vectors
from crossfix.gallery_manifest import (
    CURRENT_FILE,
    MANIFEST_FILE,
    BoundsModel,
    CurrentVersion,
    GalleryManifest,
    IndexInfo,
    SourceInfo,
)
from crossfix.manifest import FileEntry, write_json_atomic
from crossfix.tile_table import PICTURE_SCHEMA, SCHEMA
from index_builder.indexing.build_index import build_index
from index_builder.recipe import IndexRequest

VERSION = "synthetic"
_CHUNK_ROWS = 1 << 20
_PICTURE = b"\xff\xd8 as small as a picture can be \xff\xd9"


def write_gallery(root: Path, rows: int, dim: int, kind: str, **encoder: str) -> GalleryManifest:
    """A whole gallery with one live version; arguments as in :func:`write_version`."""
    directory = root / "versions" / VERSION
    directory.mkdir(parents=True)
    manifest = write_version(directory, rows, dim, kind, **encoder)
    live = CurrentVersion(version=VERSION)
    write_json_atomic(root / CURRENT_FILE, live.model_dump(mode="json"))
    return manifest


def write_version(
    directory: Path, rows: int, dim: int, kind: str, *, space_id: str = "none", name: str = "none"
) -> GalleryManifest:
    """Files of one version: embeddings with the demo encoder's spread, tiles 45 m apart.

    Args:
        kind: of index; see docs/galleries.md.
        space_id, name: of the encoder they pretend to be from.
    """
    write_vectors(directory / "vectors.f16", Spread.named("demo", dim), rows)
    info = build_index(directory, rows, dim, IndexRequest(kind=kind), threads=2)
    _write_tiles(directory, rows)
    files = {path.name: FileEntry.of(path) for path in directory.iterdir()}
    manifest = GalleryManifest(
        version=VERSION,
        embedding_space_id=space_id,
        encoder_name=name,
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
    write_json_atomic(directory / MANIFEST_FILE, manifest.model_dump(mode="json"))
    return manifest


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
