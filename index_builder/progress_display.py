"""A build's progress on stderr: a bar on a terminal, a line every few seconds elsewhere."""

import logging
import shutil
import sys
import time
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from index_builder.embedding import Progress

LOG_EVERY_S = 5.0
_BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} tiles, {rate_noinv_fmt}, {remaining} left"
_NARROW_BAR = "{percentage:3.0f}% {rate_noinv_fmt}, {remaining} left"
_NARROW = 64  # columns
_STEPS = {
    "embedded": "all tiles embedded; putting the version together",
    "assembled": "making it searchable",
    "indexed": "checking and publishing",
}
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
            self._move_bar(progress)
        elif time.monotonic() - self._last_log >= LOG_EVERY_S:
            self._last_log = time.monotonic()
            _LOG.info("%s", progress_line(progress))

    def step(self, name: str) -> None:
        """Says what goes on after embedding; what takes no time is not worth a line."""
        said = _STEPS.get(name)
        if said:
            self._close_bar()
            _LOG.info("%s", said)

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _move_bar(self, progress: Progress) -> None:
        if self._bar is None:
            size = shutil.get_terminal_size()  # tqdm draws nothing where a terminal says 0 x 0
            # `initial`: the rate is that of this run, not of what an interrupted one had done.
            self._bar = tqdm(
                total=progress.total,
                initial=progress.resumed,
                unit=" tiles",
                file=sys.stderr,
                bar_format=_NARROW_BAR if size.columns < _NARROW else _BAR,
                ncols=size.columns,
                nrows=size.lines,
            )
        self._bar.update(progress.done - self._bar.n)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close_bar()


def progress_line(progress: Progress) -> str:
    """Where a build stands, in words."""
    share = progress.done / progress.total if progress.total else 1.0
    text = (
        f"{progress.done:,} of {progress.total:,} tiles ({share:.0%}), "
        f"{progress.tiles_per_s:.1f} tiles/s"
    )
    if progress.eta_s is None:
        return text
    minutes, seconds = divmod(round(progress.eta_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{text}, {hours}:{minutes:02}:{seconds:02} left"
