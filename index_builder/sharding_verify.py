"""Checking what ties the shards of a gallery together; each is also checked as a gallery."""

from pathlib import Path

from crossfix.errors import GalleryCorrupt
from crossfix.sharded_gallery import ShardedGallery
from crossfix.sharded_gallery_manifest import ShardEntry, shard_root
from index_builder.assembly.content import hash_content
from index_builder.sharding_split import read_codes


def check_epoch(root: Path, epoch: str | None = None) -> None:
    """Every shard is there, is the one the epoch names, and keeps to its Morton range.

    All shards together have the content the epoch names, however they are cut.

    Raises:
        GalleryNotFound: nothing sharded there, or no such epoch.
        GalleryError: a shard cannot be opened.
        GalleryCorrupt: one is another's, holds what another is in charge of, or has other content.
    """
    with ShardedGallery.open(root, epoch=epoch, verify=False, strict=True) as gallery:
        for number, shard in enumerate(gallery.manifest.shards):
            _check_range(shard_root(root, shard), gallery.shards[number].directory, shard)
        _check_content(root, gallery)


def _check_content(root: Path, gallery: ShardedGallery) -> None:
    shards = (gallery.shards[number].directory for number in range(len(gallery.manifest.shards)))
    if hash_content(*shards) != gallery.manifest.content_hash:
        raise GalleryCorrupt(
            f"the shards of {root} together do not have the content hash of epoch "
            f"{gallery.manifest.epoch}",
            hint="build the gallery again",
        )


def _check_range(folder: Path, version: Path, shard: ShardEntry) -> None:
    codes = read_codes(version)
    if not shard.morton_low <= int(codes[0]) <= int(codes[-1]) < shard.morton_high:
        raise GalleryCorrupt(
            f"{folder} holds tiles outside the Morton range the epoch gives it",
            hint="build the gallery again",
        )
