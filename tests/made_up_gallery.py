"""Galleries of made-up vectors, assembled and published, in one piece or in shards."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from crossfix.gallery_manifest import BoundsModel, GalleryManifest, IndexInfo, SourceInfo
from crossfix.geodesy import LocalFrame, LonLat, morton_code
from crossfix.manifest import FileEntry, write_json_atomic
from crossfix.tile_table import PICTURE_SCHEMA, TileTable
from index_builder.assembly.content import hash_content
from index_builder.publish import locked, publish
from index_builder.recipe import IndexRequest
from index_builder.sharding import PublishedEpoch, publish_sharded

HALF = 5e-4
FILES = ("vectors.f16", "tiles.parquet", "pictures.parquet")


def scattered_places(count: int, seed: int, *, spread_m: float = 20_000, places: int | None = None):
    """(lon, lat) of tiles around a town; fewer places than tiles stacks tiles of several sizes."""
    rng = np.random.default_rng(seed)
    east, north = rng.normal(0, spread_m, (2, places or count))
    picks = np.arange(count) % len(east)
    return LocalFrame(LonLat(10.0, 50.0)).to_lonlat(east[picks], north[picks])


def grid_vectors(count: int, dim: int, seed: int):
    """Vectors of few small eighths: their products are exact, so equal scores are really equal."""
    return np.random.default_rng(seed).integers(-2, 3, (count, dim)).astype(np.float16) / 8


def unit_vectors(count: int, dim: int, seed: int):
    vectors = np.random.default_rng(seed).standard_normal((count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def assemble(directory: Path, vectors, lon, lat) -> GalleryManifest:
    """Writes an assembled version, rows in Morton order, and returns its manifest."""
    directory.mkdir(parents=True)
    order = np.lexsort((np.arange(len(lon)), morton_code(lon, lat)))
    vectors, lon, lat = vectors[order], np.asarray(lon)[order], np.asarray(lat)[order]
    tiles = tile_table([f"t{row}" for row in order], lon, lat)
    vectors.astype("<f2").tofile(directory / "vectors.f16")
    pq.write_table(tiles.to_arrow(), directory / "tiles.parquet", row_group_size=37)
    jpegs = [f"jpeg of {tile_id}".encode() for tile_id in tiles.ids]
    pictures = pa.table({"tile_id": tiles.ids, "jpeg": jpegs}, schema=PICTURE_SCHEMA)
    pq.write_table(pictures, directory / "pictures.parquet", row_group_size=64)
    manifest = GalleryManifest(
        version="v1",
        embedding_space_id="space-a",
        encoder_name="made up",
        tile_count=len(tiles),
        embedding_dim=vectors.shape[1],
        index=IndexInfo(kind="exact_f16", parameters={}, measured_recall_at_10=1.0),
        bounds=BoundsModel(
            west=lon.min() - HALF, south=lat.min() - HALF, east=lon.max() + HALF,
            north=lat.max() + HALF,
        ),
        tile_sizes_m=[72.0],
        overlap=0.0,
        sources=[SourceInfo(name="s", attribution="a", licence="l", date="d", crs="EPSG:4326")],
        files={name: FileEntry.of(directory / name) for name in FILES},
        content_hash=hash_content(directory),
        created="2026-01-01T00:00:00Z",
        builder_revision="test",
    )  # fmt: skip
    write_json_atomic(directory / "manifest.json", manifest.model_dump(mode="json"))
    return manifest


def tile_table(ids, lon, lat) -> TileTable:
    count = len(ids)
    return TileTable(
        ids=ids,
        lon=lon,
        lat=lat,
        west=lon - HALF,
        south=lat - HALF,
        east=lon + HALF,
        north=lat + HALF,
        size_m=np.full(count, 72.0),
        resolution_m=np.full(count, 0.5),
        source=["s"] * count,
        date=["2026"] * count,
        attribution=["someone"] * count,
        licence=["CC0-1.0"] * count,
        pixels_hash=["0" * 32] * count,
    )


def publish_plain(root: Path, vectors, lon, lat) -> Path:
    """A gallery of one piece."""
    root.mkdir(parents=True)
    assemble(root / "assembled", vectors, lon, lat)
    publish(root, root / "assembled", "v1")
    return root


def publish_in_shards(
    root: Path, vectors, lon, lat, *, shards: int, keep: int = 3, step=lambda _name: None
) -> PublishedEpoch:
    """A sharded gallery, or its next epoch."""
    with locked(root):
        assembled = root / ".assembled"
        whole = assemble(assembled, vectors, lon, lat)
        (assembled / "manifest.json").unlink()
        try:
            return publish_sharded(
                root, assembled, whole, shards=shards, index=IndexRequest(), threads=1, keep=keep,
                step=step,
            )  # fmt: skip
        finally:
            for path in assembled.iterdir():
                path.unlink()
            assembled.rmdir()
