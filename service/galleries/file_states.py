"""Whether files have changed, without reading them."""

from collections.abc import Iterable
from pathlib import Path

FileStates = tuple[tuple[str, int, int], ...]


def file_states(paths: Iterable[Path]) -> FileStates:
    """(name, size, time of change) of files and of what lies in folders.

    What is not there has none.
    """
    states = []
    for path in paths:
        try:
            files = list(path.iterdir()) if path.is_dir() else [path]
        except OSError:
            continue
        for file in files:
            try:
                state = file.stat()
            except OSError:  # it was renamed meanwhile
                continue
            states.append((str(file), state.st_size, state.st_mtime_ns))
    return tuple(sorted(states))
