"""The same tiles as a gallery of one piece and as epochs of a sharded one."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from crossfix.encoder import Encoder
from crossfix.gallery_manifest import GalleryManifest
from crossfix.geodesy import morton_code
from crossfix.manifest import FileEntry
from index_builder.publish import locked, publish
from index_builder.recipe import IndexRequest
from index_builder.sharding import publish_sharded
from service.settings import Settings
from tests.swap_world import publish_marked
from tests.tiny_encoder import DIM, write_tiny_encoder

SHARDS = 4
FILES = ("vectors.f16", "tiles.parquet", "pictures.parquet")


@dataclass
class ShardedWorld:
    """An encoder, galleries of one piece by number (`whole`), one sharded gallery.

    Attributes:
        epochs: names by number; the last one added is live.
    """

    folder: Path
    encoder: Encoder
    epochs: dict[int, str]

    @property
    def root(self) -> Path:
        return self.folder / "sharded"

    def whole(self, number: int) -> Path:
        return self.folder / f"whole-{number}"

    def add(self, number: int) -> str:
        """Tiles that no other number has, `number` degrees east, as the live epoch."""
        scratch = self.folder / f"made-{number}"
        version = publish_marked(scratch, self.encoder, number)
        manifest = in_morton_order(scratch / "versions" / version)
        built = self.folder / f"assembled-{number}"
        shutil.copytree(scratch / "versions" / version, built)
        with locked(self.root):
            (built / "manifest.json").unlink()
            epoch = publish_sharded(
                self.root, built, manifest, shards=SHARDS, index=IndexRequest(), threads=1, keep=9
            ).manifest.epoch
        self.whole(number).mkdir()
        publish(self.whole(number), scratch / "versions" / version, version)
        self.epochs[number] = epoch
        return epoch

    def point_to(self, number: int) -> None:
        path = self.root / "CURRENT_EPOCH.json"
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps({"epoch": self.epochs[number]}))
        fresh.replace(path)

    def settings(self, **changes: object) -> Settings:
        values = {
            "encoder": self.folder / "encoder",
            "gallery": self.root,
            "port": 0,
            "device": "cpu",
            "reload_interval_s": 0.1,
            **changes,
        }
        return Settings(**values)


def make_sharded_world(folder: Path, *numbers: int) -> ShardedWorld:
    encoder = Encoder.load(write_tiny_encoder(folder / "encoder"), device="cpu")
    world = ShardedWorld(folder, encoder, {})
    for number in numbers:
        world.add(number)
    return world


def in_morton_order(folder: Path) -> GalleryManifest:
    """Sorts a version's rows as the index builder would have."""
    tiles = pq.read_table(folder / "tiles.parquet")
    order = np.argsort(morton_code(tiles["lon"].to_numpy(), tiles["lat"].to_numpy()))
    pictures = pq.read_table(folder / "pictures.parquet").take(order)
    vectors = np.fromfile(folder / "vectors.f16", "<f2").reshape(-1, DIM)[order]
    pq.write_table(tiles.take(order), folder / "tiles.parquet")
    pq.write_table(pictures, folder / "pictures.parquet", row_group_size=8)
    vectors.tofile(folder / "vectors.f16")
    document = json.loads((folder / "manifest.json").read_text())
    document["files"] = {name: FileEntry.of(folder / name).model_dump() for name in FILES}
    (folder / "manifest.json").write_text(json.dumps(document))
    return GalleryManifest.model_validate(document)
