"""Whether files have changed, without reading them."""

import hashlib
from collections.abc import Iterable
from pathlib import Path


def hash_file_states(files: Iterable[Path], *, under: Path) -> str:
    """Hex digits of the names, sizes and times of files, in their order.

    The same wherever the folder lies.
    """
    digest = hashlib.sha256()
    for file in files:
        name = file.relative_to(under) if file.is_relative_to(under) else file
        try:
            state = file.stat()
            digest.update(f"{name}\n{state.st_size} {state.st_mtime_ns}\n".encode())
        except OSError:  # GDAL names members of archives, too
            digest.update(f"{name}\n".encode())
    return digest.hexdigest()[:16]
