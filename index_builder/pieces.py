"""A gallery of one piece or of shards, looked at in the same way."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from crossfix.encoder import Encoder
from crossfix.errors import GalleryCorrupt, GalleryNotFound
from crossfix.gallery import version_directory
from crossfix.gallery_manifest import MANIFEST_FILE, TILES_FILE, BoundsModel, GalleryManifest
from crossfix.gallery_versions import list_versions, live_version
from crossfix.manifest import read_model
from crossfix.sharded_gallery_manifest import is_sharded, read_epoch, shard_root
from crossfix.tile_table import SCHEMA, TileTable
from index_builder.assembly.bounds import find_bounds
from index_builder.assembly.content import ContentHash
from index_builder.indexing.joining import least_exact
from index_builder.verify import VerifyReport, verify_gallery

_NUMBERS = [one.name for one in SCHEMA if pa.types.is_floating(one.type)]
_TEXTS = ["ids", *(name for name in SCHEMA.names if name not in (*_NUMBERS, "tile_id"))]


@dataclass(frozen=True)
class Piece:
    """One gallery's root and the version in it."""

    root: Path
    version: str

    @property
    def directory(self) -> Path:
        """Where the version's files are."""
        return version_directory(self.root, self.version)

    def read_manifest(self) -> GalleryManifest:
        """Its manifest.

        Raises:
            GalleryCorrupt: it is not valid.
        """
        return read_model(self.directory / MANIFEST_FILE, GalleryManifest, GalleryCorrupt)


def list_names(root: Path) -> tuple[list[str], str]:
    """Names of all versions (of a sharded gallery: epochs), oldest first, and of the live one.

    Raises:
        GalleryNotFound: no gallery there.
        GalleryCorrupt: what names the live one is not valid.
    """
    live = live_version(root)  # first: what becomes live meanwhile must not be missing
    return list_versions(root), live


def find_pieces(root: Path, version: str | None = None) -> tuple[str, list[Piece]]:
    """The name of the live (or a named) version or epoch, and what it consists of.

    Raises:
        GalleryNotFound: no gallery or no such version there.
        GalleryCorrupt: a small file of it is not valid.
    """
    names, live = list_names(root)
    wanted = version or live
    if wanted not in names:
        raise GalleryNotFound(
            f"{root} has no version {wanted!r}",
            hint=f"there are {', '.join(names)}" if names else "build the gallery again",
        )
    if not is_sharded(root):
        return wanted, [Piece(root, wanted)]
    shards = read_epoch(root, wanted).shards
    return wanted, [Piece(shard_root(root, shard), shard.version) for shard in shards]


def join_manifests(name: str, manifests: list[GalleryManifest]) -> GalleryManifest:
    """What one manifest would say of all pieces; that of a single piece as it is."""
    first = manifests[0]
    if len(manifests) == 1:
        return first
    boxes = [one.bounds for one in manifests]
    return first.model_copy(
        update={
            "version": name,
            "tile_count": sum(one.tile_count for one in manifests),
            "tile_sizes_m": sorted({size for one in manifests for size in one.tile_sizes_m}),
            "index": least_exact(one.index for one in manifests),
            "bounds": _join_boxes(boxes),
            "files": {
                f"{number:03d}/{file}": entry
                for number, one in enumerate(manifests)
                for file, entry in one.files.items()
            },
        }
    )


def _join_boxes(boxes: list[BoundsModel]) -> BoundsModel:
    west, south, east, north = np.array(
        [(box.west, box.south, box.east, box.north) for box in boxes], np.float64
    ).T
    return find_bounds(west, south, east, north)


def read_tiles(pieces: list[Piece]) -> TileTable:
    """The tiles of all pieces, one after the other.

    Raises:
        GalleryCorrupt: a table cannot be read.
    """
    tables = [TileTable.read(piece.directory / TILES_FILE) for piece in pieces]
    if len(tables) == 1:
        return tables[0]
    numbers: dict[str, Any] = {
        name: np.concatenate([getattr(one, name) for one in tables]) for name in _NUMBERS
    }
    texts: dict[str, Any] = {
        name: pa.chunked_array([pa.array(getattr(one, name), pa.string()) for one in tables])
        for name in _TEXTS
    }
    return TileTable(**numbers, **texts)


def verify_pieces(root: Path, version: str | None, encoder: Encoder | None) -> VerifyReport:
    """Verifies every piece; of samples the worst is told.

    Raises:
        GalleryError: as `verify_gallery`, of the first piece that is not sound.
    """
    name, pieces = find_pieces(root, version)
    whole = ContentHash()
    reports = [
        verify_gallery(piece.root, version=piece.version, encoder=encoder, whole=whole)
        for piece in pieces
    ]
    if is_sharded(root):
        from index_builder.sharding_verify import check_epoch

        check_epoch(root, name, content_hash=whole.hexdigest())
    cosines = [one.sample_cosine for one in reports if one.sample_cosine is not None]
    return replace(
        reports[0],
        version=name,
        tiles=sum(one.tiles for one in reports),
        bytes=sum(one.bytes for one in reports),
        max_norm_error=max(one.max_norm_error for one in reports),
        sample_cosine=min(cosines) if cosines else None,
        sample_reread=sum(one.sample_reread for one in reports),
        notes=tuple(dict.fromkeys(note for one in reports for note in one.notes)),
    )
