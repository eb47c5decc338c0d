"""When to open again a shard that could not be opened: that may read all of its files."""

import time
from pathlib import Path

from service.galleries.file_states import FileStates, file_states
from service.galleries.hanging_calls import call_within

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 20.0, 600.0
_LOOK_WITHIN_S = 5.0


class Reopening:
    """After a failure: once the files have changed, else after pauses that double.

    Args:
        folder: the shard's files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._failures = 0
        self.note_failure()

    def note_failure(self) -> None:
        """It could not be opened once more."""
        self._failed_on = self._seen = self._look()
        pause_s = min(_FIRST_PAUSE_S * 2 ** min(self._failures, 10), _LONGEST_PAUSE_S)
        self._failures += 1
        self._retry_at = time.monotonic() + pause_s

    def is_due(self) -> bool:
        """Whether to try now. Files that then stay the same between two looks were copied whole."""
        if time.monotonic() >= self._retry_at:
            return True
        files = self._look()
        mended = files not in (self._failed_on, ()) and files == self._seen
        self._seen = files
        return mended

    def _look(self) -> FileStates:
        """Nothing where the disk hangs."""
        folder = self._folder
        try:
            return call_within(
                ("look", folder), lambda: file_states([folder]), timeout_s=_LOOK_WITHIN_S
            )
        except TimeoutError:
            return ()
