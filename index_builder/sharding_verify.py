"""Checking what ties the shards of a gallery together; each is also checked as a gallery."""

from pathlib import Path

from crossfix.errors import GalleryCorrupt
from crossfix.sharded_gallery import ShardedGallery
from crossfix.sharded_gallery_manifest import ShardEntry, shard_root
from index_builder.assembly.content import hash_content
from index_builder.sharding_split import read_codes


def check_epoch(root: Path, epoch: str | None = None, *, content_hash: str = "") -> None:
    """Every shard is there, is the one the epoch names, and keeps to its Morton range.

    All shards together have the content the epoch names, however they are cut.

    Args:
        content_hash: of all shards in their order; read from their files where it is not given.

    Raises:
        GalleryNotFound: nothing sharded there, or no such epoch.
        GalleryError: a shard cannot be opened.
        GalleryCorrupt: one is another's, holds what another is in charge of, or has other content.
    """
    with ShardedGallery.open(root, epoch=epoch, verify=False, strict=True) as gallery:
        for number, shard in enumerate(gallery.manifest.shards):
            _check_range(shard_root(root, shard), gallery.shards[number].directory, shard)
        directories = (gallery.shards[n].directory for n in range(len(gallery.manifest.shards)))
        _check_content(root, gallery, content_hash or hash_content(*directories))


def _check_content(root: Path, gallery: ShardedGallery, found: str) -> None:
    if found != gallery.manifest.content_hash:
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
