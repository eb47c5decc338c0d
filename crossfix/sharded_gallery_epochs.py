"""The epochs of a sharded gallery: listed, found, and one of them made live."""

from pathlib import Path

from crossfix.errors import GalleryNotFound
from crossfix.gallery_journal import find_orphan
from crossfix.manifest import write_json_atomic
from crossfix.sharded_gallery_manifest import CURRENT_EPOCH_FILE, EPOCHS_DIRECTORY, current_epoch


def list_epochs(root: Path) -> list[str]:
    """Epochs on disk, oldest first; without one that a killed build left before it was live.

    Raises:
        GalleryCorrupt: the journal of a killed build is not valid.
    """
    orphan = find_orphan(root)
    names = (path.stem for path in (root / EPOCHS_DIRECTORY).glob("[!.]*.json"))
    return sorted(name for name in names if name != orphan)


def find_epoch(root: Path, name: str | None) -> str:
    """An epoch that can be made live.

    Args:
        name: which; None for the newest one older than the live one.

    Raises:
        GalleryNotFound: no such epoch, or no live one or none that is older than it.
        GalleryCorrupt: a small file of the gallery is not valid.
    """
    epochs = list_epochs(root)
    if name is None:
        live = current_epoch(root)
        older = [one for one in epochs if one < live]
        if not older:
            raise GalleryNotFound(f"{root} has no epoch older than {live}", hint="name one")
        return older[-1]
    if name not in epochs:
        raise GalleryNotFound(
            f"{root} has no epoch {name!r}", hint=f"there are {', '.join(epochs)}"
        )
    return name


def make_epoch_live(root: Path, epoch: str) -> None:
    """The switch: one small file replaced, for all shards at once; only while it is locked.

    The epoch must have been verified: whoever reads the gallery takes it from now on.
    """
    write_json_atomic(root / CURRENT_EPOCH_FILE, {"epoch": epoch})
