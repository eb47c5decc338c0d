"""Epochs of a sharded gallery: written and pruned."""

import os
import shutil
from pathlib import Path

from crossfix.errors import GalleryCorrupt, PublishError
from crossfix.gallery import current_version, version_directory
from crossfix.gallery_journal import PRUNED_PREFIX, announce, settle
from crossfix.gallery_manifest import CURRENT_FILE, MANIFEST_FILE, VERSIONS_DIRECTORY
from crossfix.gallery_versions import list_versions
from crossfix.manifest import fsync_directory, sha256_file, write_json_atomic
from crossfix.sharded_gallery_manifest import (
    CURRENT_EPOCH_FILE,
    EPOCHS_DIRECTORY,
    SHARDS_DIRECTORY,
    EpochManifest,
    current_epoch,
    epoch_path,
    is_sharded,
    read_epoch,
    shard_root,
)
from index_builder.publish import BUILDING_PREFIX


def require_kind(root: Path, *, sharded: bool) -> None:
    """Refuses to make a gallery in pieces where one of one piece lives, and the reverse.

    Raises:
        PublishError: naming what is there.
    """
    if sharded and (root / CURRENT_FILE).is_file():
        raise PublishError(
            f"{root} holds a gallery of one piece, which cannot become a sharded one",
            hint="choose another --out, or build without --shards",
        )
    if not sharded and is_sharded(root):
        raise PublishError(
            f"{root} holds a sharded gallery, which cannot become one of one piece",
            hint="choose another --out, or build with --shards",
        )


def require_own_manifests(root: Path, epoch: EpochManifest) -> None:
    """Makes sure that every shard's manifest, which names the rest, is the one the epoch names.

    Raises:
        GalleryCorrupt: one is another's.
        OSError: one cannot be read.
    """
    for shard in epoch.shards:
        directory = version_directory(shard_root(root, shard), shard.version)
        if sha256_file(directory / MANIFEST_FILE) != shard.manifest_sha256:
            raise GalleryCorrupt(
                f"{directory} is not the shard that epoch {epoch.epoch} names: its manifest has "
                "another checksum",
                hint="bring back the epoch's own, roll back, or build again",
            )


def write_epoch(root: Path, manifest: EpochManifest) -> Path:
    """Writes an epoch's manifest; it is not live yet, and removed again if it never becomes so."""
    path = epoch_path(root, manifest.epoch)
    path.parent.mkdir(exist_ok=True)
    announce(root, manifest.epoch)
    write_json_atomic(path, manifest.model_dump(mode="json"))
    fsync_directory(root)
    return path


def prune_epochs(root: Path, *, keep: int) -> list[str]:
    """Removes the oldest epochs beyond `keep`, never the live one, and what only they named.

    A kept epoch never misses a version: its manifest goes before the versions it named, and
    what a kill left over goes the next time.

    Returns:
        names of the removed epochs.
    """
    live = current_epoch(root)
    others = [name for name in list_versions(root) if name != live]
    surplus = others[: max(0, len(others) - max(0, keep - 1))]
    for name in surplus:
        epoch_path(root, name).unlink()
    fsync_directory(root / EPOCHS_DIRECTORY)
    kept = [read_epoch(root, name) for name in list_versions(root)]
    for folder in sorted((root / SHARDS_DIRECTORY).iterdir()):
        _prune_shard(folder, _versions_of(root, folder, kept))
    for path in [*root.glob(f".{CURRENT_EPOCH_FILE}.*"), *(root / EPOCHS_DIRECTORY).glob(".*")]:
        path.unlink()  # what a kill left of a small file
    return surplus


def _versions_of(root: Path, folder: Path, epochs: list[EpochManifest]) -> list[str]:
    """Versions of a shard that epochs name, in the order of the epochs."""
    return [
        shard.version
        for epoch in epochs
        for shard in epoch.shards
        if os.path.abspath(shard_root(root, shard)) == os.path.abspath(folder)
    ]


def _prune_shard(folder: Path, kept: list[str]) -> None:
    if not kept and not folder.is_symlink():
        _bury(folder)
        return
    settle(folder)
    for path in sorted(folder.iterdir()):
        if path.name.startswith((BUILDING_PREFIX, PRUNED_PREFIX, f".{CURRENT_FILE}.")):
            _remove(path)
    if kept and current_version(folder) not in kept:
        write_json_atomic(folder / CURRENT_FILE, {"version": kept[-1]})
    for path in sorted((folder / VERSIONS_DIRECTORY).iterdir()):
        if path.name not in kept:
            _bury(path, beside=folder)


def _bury(path: Path, *, beside: Path | None = None) -> None:
    """Renames and removes: a version is there whole or not at all."""
    grave = (beside or path.parent) / f"{PRUNED_PREFIX}{path.name}"
    os.rename(path, grave)
    _remove(grave)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
