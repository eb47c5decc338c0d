"""Whether a gallery and an encoder fit into the memory that is left, where that can be known."""

from collections.abc import Iterator
from pathlib import Path

from crossfix.encoder_manifest import EncoderManifest
from crossfix.gallery_manifest import INDEX_FILE, TILES_FILE, VECTORS_FILE, GalleryManifest
from service.errors import VersionUnusable

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")  # version 2; a container sees its own limit here
ROW_BYTES = 150  # numbers, texts and hashed id of one tile, as the tile table holds them
ENCODER_COPIES = 3  # the file while it is read, the session's weights, room to compute


class MemoryShort(VersionUnusable):
    """The gallery version does not fit into the memory that is left."""

    code = "memory_short"


def require_memory(
    gallery: GalleryManifest, encoder: EncoderManifest | None, *, free_bytes: int | None
) -> None:
    """Refuses what would push the live version out of memory, or end the process.

    What is served stays loaded beside the new one until the swap, and is counted already.

    Args:
        encoder: that will be loaded, too; None when the live one stays.
        free_bytes: as from :func:`find_free_bytes`; None lets everything pass.

    Raises:
        MemoryShort: naming needed and free bytes.
    """
    require_bytes(
        f"gallery version {gallery.version}",
        gallery_bytes(gallery) + (encoder_bytes(encoder) if encoder else 0),
        free_bytes=free_bytes,
    )


def require_bytes(what: str, needed: int, *, free_bytes: int | None) -> None:
    """Refuses what needs more than is free; None lets everything pass.

    Raises:
        MemoryShort: naming needed and free bytes.
    """
    if free_bytes is not None and needed > free_bytes:
        raise MemoryShort(
            f"{what} needs about {needed / 1e6:.0f} MB of memory but "
            f"{free_bytes / 1e6:.0f} MB are free",
            hint="give the service more memory, or build a smaller gallery or one with an index",
        )


def gallery_bytes(manifest: GalleryManifest) -> int:
    """What searching this version touches all the time, in bytes.

    Vectors and index are mapped files, but a search that must read them from the disk is no
    search: exact search goes through all vectors, an index through itself and few vectors.
    """
    sizes = {name: entry.size_bytes for name, entry in manifest.files.items()}
    searched = VECTORS_FILE if INDEX_FILE not in sizes else INDEX_FILE
    table = max(sizes.get(TILES_FILE, 0), ROW_BYTES * manifest.tile_count)
    return sizes.get(searched, 0) + table


def encoder_bytes(manifest: EncoderManifest) -> int:
    """What an encoder takes, in bytes."""
    models = manifest.model_names()
    return ENCODER_COPIES * sum(
        entry.size_bytes for name, entry in manifest.files.items() if name in models
    )


def find_free_bytes() -> int | None:
    """Memory this process may still take, page cache counted as free; None where unknown."""
    return min(
        (left for left in (_of_machine(), _of_container()) if left is not None), default=None
    )


def _of_machine() -> int | None:
    kilobytes = dict(_numbers(MEMINFO)).get("MemAvailable:")
    return None if kilobytes is None else kilobytes * 1024


def _of_container() -> int | None:
    limit, used = _number(CGROUP / "memory.max"), _number(CGROUP / "memory.current")
    if limit is None or used is None:
        return None
    counted = dict(_numbers(CGROUP / "memory.stat"))
    cache = counted.get("inactive_file", 0) + counted.get("active_file", 0)
    return max(0, limit - used + cache)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):  # not Linux, or `max`: no limit
        return None


def _numbers(path: Path) -> Iterator[tuple[str, int]]:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        words = line.split()
        if len(words) > 1 and words[1].isdigit():
            yield words[0], int(words[1])
