"""The versions of a gallery: listed, locked for one writer, and one of them made live.

Shared by the index builder, which adds versions, and the service, which may switch between them.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crossfix.errors import GalleryNotFound, PublishError
from crossfix.gallery import Gallery, current_version
from crossfix.gallery_journal import find_orphan, settle
from crossfix.gallery_manifest import CURRENT_FILE, MANIFEST_FILE, VERSIONS_DIRECTORY
from crossfix.manifest import write_json_atomic
from crossfix.sharded_gallery import ShardedGallery
from crossfix.sharded_gallery_manifest import (
    CURRENT_EPOCH_FILE,
    EPOCHS_DIRECTORY,
    current_epoch,
    epoch_path,
    is_sharded,
)

LOCK_FILE = ".lock"


class GalleryLocked(PublishError):
    """Another process is writing the gallery."""

    code = "gallery_locked"


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Holds the gallery for one writer; the lock goes with the process, however it ends.

    A version or epoch that a killed writer left and that was never live is removed first.

    Raises:
        GalleryLocked: another process, or another thread of this one, holds it.
        PublishError: the directory cannot be written.
        GalleryCorrupt: the journal of a killed writer is not valid.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        handle = (root / LOCK_FILE).open("a+", encoding="ascii")
    except OSError as problem:
        raise PublishError(
            f"gallery directory {root} cannot be written: {problem.strerror}",
            hint="choose another --out or change its permissions",
        ) from problem
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            handle.seek(0)
            raise GalleryLocked(
                f"another process ({handle.read().strip() or 'unknown'}) is writing {root}",
                hint="wait until it has finished",
            ) from problem
        handle.truncate(0)
        handle.write(f"pid {os.getpid()}\n")
        handle.flush()
        settle(root)
        yield


def live_version(root: Path) -> str:
    """The live version's name, or the live epoch's of a sharded gallery.

    Raises:
        GalleryNotFound: no gallery there.
        GalleryCorrupt: what names it is not valid.
    """
    return current_epoch(root) if is_sharded(root) else current_version(root)


def list_versions(root: Path) -> list[str]:
    """Versions, or epochs, on disk, oldest first.

    Without one that a killed build left before it was live.

    Raises:
        GalleryCorrupt: the journal of a killed build is not valid.
    """
    orphan = find_orphan(root)
    versions = (path.parent.name for path in (root / VERSIONS_DIRECTORY).glob(f"*/{MANIFEST_FILE}"))
    epochs = (path.stem for path in (root / EPOCHS_DIRECTORY).glob("[!.]*.json"))
    return sorted({*versions, *epochs} - {orphan})


def find_version(root: Path, name: str | None) -> str:
    """A version, or an epoch, that can be made live.

    Args:
        name: which; None for the newest one older than the live one.

    Raises:
        GalleryNotFound: no such version, or no live one or none that is older than it.
        GalleryCorrupt: a small file of the gallery is not valid.
    """
    versions = list_versions(root)
    if name is None:
        live = live_version(root)
        older = [one for one in versions if one < live]
        if not older:
            raise GalleryNotFound(
                f"{root} has no version older than {live}", hint="name one with --to"
            )
        return older[-1]
    if name not in versions:
        raise GalleryNotFound(
            f"{root} has no version {name!r}", hint=f"there are {', '.join(versions)}"
        )
    return name


def make_live(root: Path, version: str) -> None:
    """Replaces one small file, durably and in one step; only inside :func:`locked`.

    Of a sharded gallery it names the epoch, so that all shards are switched at once. The version
    must have been verified: whoever reads the gallery takes it from now on.
    """
    if epoch_path(root, version).is_file():
        write_json_atomic(root / CURRENT_EPOCH_FILE, {"epoch": version})
    else:
        write_json_atomic(root / CURRENT_FILE, {"version": version})


def rollback(root: Path, to: str | None = None) -> str:
    """Makes an older version, or epoch, live again, after verifying it; returns its name.

    Args:
        to: the version; default the newest one older than the live one.

    Raises:
        GalleryNotFound: no such version.
        GalleryError: a shard of it is not there, or its files do not match its manifest.
        PublishError: another process is writing the gallery, or it cannot be written.
    """
    live_version(root)  # nothing is created where there is no gallery
    with locked(root):
        version = find_version(root, to)
        if is_sharded(root):
            ShardedGallery.open(root, epoch=version, verify=True, strict=True).close()
        else:
            Gallery.open(root, version=version, verify=True)
        make_live(root, version)
    return version
