"""What is about to become live, noted so that what a kill left in between is known for an orphan.

A version is renamed into `versions/` before `CURRENT.json` names it. A kill between leaves one
that was never live and looks like an older good one; after a rollback age does not tell either.
"""

import logging
import os
import shutil
from pathlib import Path

from pydantic import Field

from crossfix.errors import GalleryCorrupt
from crossfix.gallery_manifest import CURRENT_FILE, VERSIONS_DIRECTORY, CurrentVersion
from crossfix.manifest import StrictModel, fsync_directory, read_model, write_json_atomic
from crossfix.sharded_gallery_manifest import CURRENT_EPOCH_FILE, EPOCHS_DIRECTORY, CurrentEpoch

JOURNAL_FILE = ".publishing.json"
PRUNED_PREFIX = ".pruned-"
_LOG = logging.getLogger(__name__)


class Announcement(StrictModel):
    """The version or epoch that is being published."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9._-]+$")


def announce(root: Path, name: str) -> None:
    """Notes, durably, that a version or epoch will be put there and then made live."""
    write_json_atomic(root / JOURNAL_FILE, {"name": name})


def conclude(root: Path) -> None:
    """Forgets the announcement: what it named is live, or gone."""
    (root / JOURNAL_FILE).unlink(missing_ok=True)
    fsync_directory(root)


def find_orphan(root: Path) -> str | None:
    """The version or epoch that was announced and is not live.

    Raises:
        GalleryCorrupt: the journal, or what names the live one, is not valid.
    """
    try:
        name = read_model(root / JOURNAL_FILE, Announcement, GalleryCorrupt).name
    except FileNotFoundError:
        return None
    return None if name in _live_names(root) else name


def settle(root: Path) -> None:
    """Removes what a killed publication left; only while no other process can be publishing.

    Must come before `CURRENT.json` changes again: a version that was live for a moment is none.

    Raises:
        GalleryCorrupt: as `find_orphan`.
    """
    for path in root.glob(f".{JOURNAL_FILE}.*"):
        path.unlink(missing_ok=True)
    if not (root / JOURNAL_FILE).exists():
        return
    orphan = find_orphan(root)
    if orphan is not None:
        _remove(root, orphan)
    conclude(root)


def _live_names(root: Path) -> set[str]:
    names = set()
    if (root / CURRENT_FILE).is_file():
        names.add(read_model(root / CURRENT_FILE, CurrentVersion, GalleryCorrupt).version)
    if (root / CURRENT_EPOCH_FILE).is_file():
        names.add(read_model(root / CURRENT_EPOCH_FILE, CurrentEpoch, GalleryCorrupt).epoch)
    return names


def _remove(root: Path, orphan: str) -> None:
    # Found by listing: a name from a file must not lead elsewhere.
    for path in [*root.glob(f"{VERSIONS_DIRECTORY}/*"), *root.glob(f"{EPOCHS_DIRECTORY}/*.json")]:
        if path.name not in (orphan, f"{orphan}.json"):
            continue
        _LOG.info("removed %s, which a killed build left and which was never live", path)
        if not path.is_dir():
            path.unlink()
            continue
        # Renamed first: a version is there whole or not at all.
        grave = root / f"{PRUNED_PREFIX}{orphan}"
        os.rename(path, grave)
        shutil.rmtree(grave, ignore_errors=True)
    for folder in (root / VERSIONS_DIRECTORY, root / EPOCHS_DIRECTORY):
        if folder.is_dir():
            fsync_directory(folder)
