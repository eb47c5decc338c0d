"""Making another gallery version or epoch live on demand: on disk first, whole or not at all."""

from crossfix.errors import (
    EncoderError,
    EncoderGalleryMismatch,
    GalleryCorrupt,
    GalleryError,
    GalleryNotFound,
    PublishError,
)
from crossfix.gallery_versions import GalleryLocked, find_version, locked, make_live
from service.errors import ClusterUnavailable, JobRunning, VersionNotFound, VersionUnusable
from service.galleries.snapshot_loading import Snapshot, load_version
from service.settings import Settings


def switch_on_disk(settings: Settings, live: Snapshot, version: str | None) -> Snapshot:
    """Verifies, loads and tries a version, then makes it live on disk.

    The gallery stays locked all the while: nobody can prune the version, or publish another.

    Args:
        version: None for the newest one older than the one that is live on disk.

    Returns:
        the loaded version; swapping to it is left to the caller.

    Raises:
        CrossfixError, OSError: as they come; :func:`explain` makes answers of them.
    """
    root = settings.gallery
    with locked(root):
        wanted = find_version(root, version)
        snapshot = load_version(settings, wanted, live.encoder)
        try:
            make_live(root, wanted)
        except BaseException:
            snapshot.gallery.close()
            raise
    return snapshot


def explain(problem: Exception, version: str | None) -> Exception:
    """The answer to a failed switch: without paths and libraries' words, which the log has."""
    name = f"gallery version {version}" if version else "the gallery version before the live one"
    match problem:
        case GalleryLocked():
            return JobRunning(
                "another program is building or writing this gallery",
                hint="wait until it has finished, or cancel the rebuild",
            )
        case GalleryNotFound():
            there = f"no version {version!r}" if version else "no version older than the live one"
            return VersionNotFound(
                f"the gallery has {there}", hint="GET /gallery lists the versions"
            )
        case EncoderGalleryMismatch():
            return VersionUnusable(str(problem), hint=problem.hint)
        case GalleryCorrupt():
            return VersionUnusable(
                f"{name} is damaged or not whole; nothing was changed",
                hint="`python -m index_builder verify` names the file; so does the service's log",
            )
        case EncoderError():
            return VersionUnusable(
                f"the encoder that {name} needs cannot be used; nothing was changed",
                hint="the service's log has the cause",
            )
        case GalleryError() | ClusterUnavailable():  # of shards that their nodes could not open
            return VersionUnusable(
                f"{name} could not be loaded; nothing was changed",
                hint="the service's log has the cause",
            )
        case PublishError() | OSError():
            return VersionUnusable(
                "the service cannot write the gallery's folder; nothing was changed",
                hint="let the service write there, or use `python -m index_builder rollback`",
            )
        case _:
            return problem
