"""Making a gallery version live: whole or not at all, one builder at a time."""

import errno
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from crossfix.errors import PublishError
from crossfix.gallery import Gallery, current_version, version_directory
from crossfix.gallery_journal import PRUNED_PREFIX, announce, conclude, settle
from crossfix.gallery_manifest import CURRENT_FILE
from crossfix.gallery_versions import list_versions, locked, make_live, rollback
from crossfix.manifest import fsync_directory, fsync_file

__all__ = [
    "BUILDING_PREFIX",
    "STEPS",
    "Staging",
    "Step",
    "disk_full_reported",
    "ignore_step",
    "list_versions",
    "locked",
    "new_version_name",
    "prune",
    "publish",
    "remove_leftovers",
    "require_space",
    "rollback",
    "staging",
]

BUILDING_PREFIX = ".building-"
_FULL_BYTES = 1 << 20  # less free space than this explains a failed write
_LOG = logging.getLogger("index_builder")

# The instants a publication passes; a kill at any of them leaves a whole gallery live.
STEPS = ("written", "synced", "verified", "renamed", "current_replaced", "pruned")
Step = Callable[[str], None]


def ignore_step(_name: str) -> None:
    """The default observer of `STEPS`."""


@dataclass(frozen=True)
class Staging:
    """Where a build works, inside the gallery's directory.

    Attributes:
        parts: finished parts; they stay when a build is interrupted.
        version: what will be published.
        kept_bytes: size of the parts that an interrupted build left.
    """

    directory: Path
    kept_bytes: int

    @property
    def parts(self) -> Path:
        """See the class."""
        return self.directory / "parts"

    @property
    def version(self) -> Path:
        """See the class."""
        return self.directory / "version"

    def fresh_version(self) -> Path:
        """The directory of the version, made empty."""
        if self.version.exists():
            shutil.rmtree(self.version)
        self.version.mkdir()
        self.version.chmod(0o755)
        return self.version

    def discard_parts(self) -> None:
        """Forgets what was done."""
        shutil.rmtree(self.parts)
        self.parts.mkdir()


@contextmanager
def staging(root: Path, fingerprint: str) -> Iterator[Staging]:
    """A directory to build in; only inside :func:`locked`.

    It is removed when the block ends well, or without any finished part; otherwise it stays for
    the next build of the same fingerprint. What other builds left goes first.
    """
    name = f"{BUILDING_PREFIX}{fingerprint}"
    for stale in remove_leftovers(root, keep=name):
        if stale.startswith(BUILDING_PREFIX):
            _LOG.info("removed %s, left by an interrupted build of something else", root / stale)
    directory = root / name
    (directory / "parts").mkdir(parents=True, exist_ok=True)
    kept = Staging(directory, sum(path.stat().st_size for path in directory.glob("parts/*.arrow")))
    try:
        yield kept
    except BaseException:
        shutil.rmtree(kept.version, ignore_errors=True)
        for path in directory.glob("parts/.*"):
            path.unlink(missing_ok=True)
        if not any((directory / "parts").iterdir()):
            shutil.rmtree(directory, ignore_errors=True)
        raise
    shutil.rmtree(directory, ignore_errors=True)


def remove_leftovers(root: Path, *, keep: str = "") -> list[str]:
    """Removes what killed builders left; the lock tells that they are dead.

    Args:
        keep: the name of the one that is to be resumed.
    """
    stale = [
        path
        for path in root.iterdir()
        if path.name.startswith((BUILDING_PREFIX, PRUNED_PREFIX, f".{CURRENT_FILE}."))
        and path.name != keep
    ]
    for path in stale:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return [path.name for path in stale]


def new_version_name(root: Path, content_hash: str) -> str:
    """`<UTC time>-<first 10 digits of the content hash>`, not taken yet.

    Names sort by age, so the time has milliseconds.
    """
    now = datetime.now(UTC)
    name = f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}Z-{content_hash[:10]}"
    candidate, number = name, 2
    while version_directory(root, candidate).exists():
        candidate, number = f"{name}-{number}", number + 1
    return candidate


def publish(
    root: Path, built: Path, version: str, *, keep: int = 3, step: Step = ignore_step
) -> list[str]:
    """Syncs, verifies, renames and makes a built version live, then prunes old ones.

    Args:
        built: the staging directory with all files of the version.
        keep: how many versions stay, the live one included.
        step: told each of `STEPS` as it is passed.

    Returns:
        names of the versions that were removed.

    Raises:
        GalleryCorrupt: what was written does not read back.
        OSError: the file system refused; the old version is still live.
    """
    settle(root)  # a shard's root is not locked itself
    step("written")
    for path in sorted(built.iterdir()):
        fsync_file(path)
    fsync_directory(built)
    step("synced")
    Gallery.open_directory(built, verify=True)
    step("verified")
    target = version_directory(root, version)
    target.parent.mkdir(exist_ok=True)
    announce(root, version)
    os.rename(built, target)
    fsync_directory(target.parent)
    fsync_directory(root)
    step("renamed")
    make_live(root, version)
    step("current_replaced")
    conclude(root)
    removed = prune(root, keep=keep)
    step("pruned")
    return removed


def prune(root: Path, *, keep: int) -> list[str]:
    """Removes the oldest versions beyond `keep`, never the live one; returns their names."""
    live = current_version(root)
    others = [name for name in list_versions(root) if name != live]
    surplus = others[: max(0, len(others) - max(0, keep - 1))]
    for name in surplus:
        # Renamed first: a version is there whole or not at all.
        grave = root / f"{PRUNED_PREFIX}{name}"
        os.rename(version_directory(root, name), grave)
        shutil.rmtree(grave, ignore_errors=True)
    return surplus


def require_space(root: Path, needed_bytes: int) -> None:
    """Refuses to start what will not fit.

    Raises:
        PublishError: naming needed and free bytes.
    """
    free = shutil.disk_usage(root).free
    if free < needed_bytes:
        raise PublishError(
            f"the build needs about {needed_bytes} bytes but {root} has {free} free",
            hint="free some space, keep fewer versions or use larger tiles",
        )


@contextmanager
def disk_full_reported(root: Path, needed_bytes: int) -> Iterator[None]:
    """Turns a full disk into a `PublishError` that tells how much is needed."""
    try:
        yield
    except (OSError, RuntimeError) as problem:  # FAISS raises RuntimeError
        if not _is_full(problem, root):
            raise
        raise PublishError(
            f"the disk of {root} is full; the build needs about {needed_bytes} bytes and "
            f"{shutil.disk_usage(root).free} are free",
            hint="free some space and build again: finished parts are kept, and the old version "
            "is still live",
        ) from problem


def _is_full(problem: Exception, root: Path) -> bool:
    if isinstance(problem, OSError) and problem.errno is not None:
        return problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return shutil.disk_usage(root).free < _FULL_BYTES
