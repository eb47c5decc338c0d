"""Gallery versions that cannot be mistaken for each other: other tiles, ids and places."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from crossfix.encoder import Encoder
from crossfix.gallery_manifest import GalleryManifest
from crossfix.manifest import FileEntry, write_json_atomic
from crossfix.tile_table import PICTURE_SCHEMA, SCHEMA
from tests.service_world import publish_gallery

SHIFT_DEG = 1.0


def publish_marked(root: Path, encoder: Encoder, number: int) -> str:
    """Makes version `v<number>` live: its ids name it, its tiles lie `number` degrees east."""
    version = f"v{number}"
    publish_gallery(root, encoder, version, first_seed=100 * number)
    folder = root / "versions" / version
    tiles = pq.read_table(folder / "tiles.parquet").to_pydict()
    tiles["tile_id"] = [f"{version}/{row}" for row in range(len(tiles["tile_id"]))]
    for name in ("lon", "west", "east"):
        tiles[name] = [value + number * SHIFT_DEG for value in tiles[name]]
    pq.write_table(pa.table(tiles, schema=SCHEMA), folder / "tiles.parquet")
    pictures = pq.read_table(folder / "pictures.parquet").to_pydict()
    pictures["tile_id"] = tiles["tile_id"]
    pq.write_table(
        pa.table(pictures, schema=PICTURE_SCHEMA), folder / "pictures.parquet", row_group_size=8
    )
    sign_again(folder)
    return version


def sign_again(folder: Path, **changes: object) -> None:
    """Writes a version's manifest again, with the files as they are now."""
    path = folder / "manifest.json"
    document = json.loads(path.read_text()) | changes
    document["files"] = {
        name: FileEntry.of(folder / name).model_dump() for name in document["files"]
    }
    manifest = GalleryManifest.model_validate(document)
    write_json_atomic(path, manifest.model_dump(mode="json"))


def mixed(answer: dict) -> str:
    """What in an answer of /localize does not belong to the version it names; empty if all does."""
    version = answer["gallery"]["version"]
    place = 8.0 + SHIFT_DEG * int(version.removeprefix("v"))
    for match in answer["matches"]:
        if not match["tile_id"].startswith(f"{version}/"):
            return f"{version} answers tile {match['tile_id']}"
        if not match["picture_url"].endswith(f"?v={version}"):
            return f"{version} answers picture {match['picture_url']}"
        if abs(match["lon"] - place) > 0.1 or abs(match["bounds"]["west"] - place) > 0.1:
            return f"{version} answers a tile at {match['lon']}"
    if abs(answer["estimate"]["lon"] - place) > 0.1:
        return f"{version} answers an estimate at {answer['estimate']['lon']}"
    return ""
