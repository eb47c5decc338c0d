"""A tiny gallery of 16 made-up tiles and a real server for the service's tests."""

import hashlib
import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import uvicorn
from PIL import Image

from crossfix.encoder import Encoder
from crossfix.gallery_manifest import GalleryManifest
from crossfix.images import Photo
from crossfix.manifest import FileEntry, write_json_atomic
from crossfix.preprocess import prepare
from crossfix.tile_table import PICTURE_SCHEMA, TileTable
from service.app import create_app
from service.server import server_config
from service.settings import Settings
from tests.tiny_encoder import DIM, write_tiny_encoder

SIDE_M = 100.0
GRID = 4


def jpeg(seed: int, width: int = 64, height: int = 64, quality: int = 95) -> bytes:
    """A smooth random picture: same seed, same place."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    picture = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def publish_gallery(root: Path, encoder: Encoder, version: str, *, first_seed: int = 0) -> None:
    """Makes a version of GRID x GRID tiles live; tile i shows jpeg(first_seed + i)."""
    folder = root / "versions" / version
    folder.mkdir(parents=True)
    tiles = tile_table()
    pictures = [jpeg(first_seed + i) for i in range(len(tiles))]
    spec = encoder.view("satellite")
    tensors = [
        prepare(Photo.of(np.asarray(Image.open(io.BytesIO(p)))), spec).tensor for p in pictures
    ]
    vectors = encoder.encode(np.stack(tensors), "satellite").astype("<f2")
    (folder / "vectors.f16").write_bytes(vectors.tobytes())
    pq.write_table(tiles.to_arrow(), folder / "tiles.parquet")
    pq.write_table(
        pa.table({"tile_id": tiles.ids, "jpeg": pictures}, schema=PICTURE_SCHEMA),
        folder / "pictures.parquet",
        row_group_size=8,
    )
    names = ("vectors.f16", "tiles.parquet", "pictures.parquet")
    manifest = GalleryManifest(
        version=version,
        embedding_space_id=encoder.embedding_space_id,
        encoder_name=encoder.manifest.name,
        tile_count=len(tiles),
        embedding_dim=DIM,
        index={"kind": "exact_f16", "parameters": {}, "measured_recall_at_10": 1.0},
        bounds={"west": 8.0, "south": 50.0, "east": 8.01, "north": 50.01},
        tile_sizes_m=[SIDE_M],
        overlap=0.0,
        sources=[
            {
                "name": "made up",
                "attribution": "",
                "licence": "none",
                "date": "2026",
                "crs": "EPSG:4326",
            }
        ],
        files={name: FileEntry.of(folder / name) for name in names},
        content_hash=hashlib.sha256(vectors.tobytes()).hexdigest(),
        created="2026-01-01T00:00:00Z",
        builder_revision="test",
    )
    write_json_atomic(folder / "manifest.json", manifest.model_dump(mode="json"))
    write_json_atomic(root / "CURRENT.json", {"version": version})


def tile_table() -> TileTable:
    """A grid of tiles near lon 8, lat 50."""
    step_lon, step_lat = 0.0014, 0.0009
    column, row = np.meshgrid(np.arange(GRID), np.arange(GRID))
    lon, lat = 8.0 + column.ravel() * step_lon, 50.0 + row.ravel() * step_lat
    count = GRID * GRID
    return TileTable(
        ids=[f"made-up/{i}" for i in range(count)],
        lon=lon,
        lat=lat,
        west=lon - step_lon / 2,
        east=lon + step_lon / 2,
        south=lat - step_lat / 2,
        north=lat + step_lat / 2,
        size_m=np.full(count, SIDE_M),
        resolution_m=np.full(count, SIDE_M / 64),
        source=["made up"] * count,
        date=["2026"] * count,
        attribution=["someone"] * count,
        licence=["CC0-1.0"] * count,
        pixels_hash=["0" * 32] * count,
    )


@dataclass(frozen=True)
class World:
    """Artifacts on disk and the encoder that made them."""

    encoder_path: Path
    gallery_path: Path
    encoder: Encoder

    def settings(self, **changes: object) -> Settings:
        values = {
            "encoder": self.encoder_path,
            "gallery": self.gallery_path,
            "port": 0,
            "device": "cpu",
            "reload_interval_s": 0.1,
            **changes,
        }
        return Settings(**values)


def make_world(folder: Path) -> World:
    """A tiny encoder and gallery version `v1`."""
    encoder_path = write_tiny_encoder(folder / "encoder")
    encoder = Encoder.load(encoder_path, device="cpu")
    publish_gallery(folder / "gallery", encoder, "v1")
    return World(encoder_path, folder / "gallery", encoder)


@contextmanager
def serve(settings: Settings) -> Iterator[str]:
    """The real service on a free port in a thread; yields its base URL once it is ready."""
    server = uvicorn.Server(server_config(create_app(settings), settings))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        base = f"http://127.0.0.1:{port}"
        wait_until_ready(base)
        yield base
    finally:
        server.should_exit = True
        thread.join(timeout=20)
    assert not thread.is_alive()


def wait_until_ready(base: str, patience_s: float = 20.0) -> None:
    """Polls /readyz."""
    give_up = time.monotonic() + patience_s
    while httpx.get(f"{base}/readyz").status_code != 200:
        assert time.monotonic() < give_up, "the service did not become ready"
        time.sleep(0.02)
