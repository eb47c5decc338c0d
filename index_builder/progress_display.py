"""A build's progress on stderr: a bar on a terminal, a line every few seconds elsewhere."""

import logging
import sys
import time
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from index_builder.embedding import Progress

LOG_EVERY_S = 5.0
_LOG = logging.getLogger("index_builder")


class ProgressDisplay:
    """Call it with each `Progress`; use as a context manager."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._last_log = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __call__(self, progress: Progress) -> None:
        """Shows it, or leaves it out when another was shown a moment ago."""
        if sys.stderr.isatty():
            if self._bar is None:
                self._bar = tqdm(total=progress.total, unit="tile", file=sys.stderr)
            self._bar.update(progress.done - self._bar.n)
        elif time.monotonic() - self._last_log >= LOG_EVERY_S:
            self._last_log = time.monotonic()
            left = "" if progress.eta_s is None else f", {progress.eta_s:.0f} s left"
            _LOG.info(
                "%d of %d tiles, %.1f tiles/s%s",
                progress.done,
                progress.total,
                progress.tiles_per_s,
                left,
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
