"""A build's progress for programs: one JSON object a line on stdout, and nothing else there.

``{"event": "planning"}``, then ``embedding`` with `done`, `total`, `tiles_per_s`, `eta_s` and
`resumed`, then ``step`` with the `name` of each step passed, and at last ``published``,
``unchanged`` (an update that found nothing to change), ``failed`` with `code`, `message` and
`hint`, or ``interrupted``.
"""

import json
import sys
import time
from types import TracebackType
from typing import Any, Self

from crossfix.errors import CrossfixError
from index_builder.build import BuildReport
from index_builder.embedding import Progress

TELL_EVERY_S = 0.5


class ProgressEvents:
    """Call it with each `Progress`; use as a context manager, as `ProgressDisplay`."""

    def __init__(self) -> None:
        self._told = -TELL_EVERY_S

    def __enter__(self) -> Self:
        tell("planning")
        return self

    def __call__(self, progress: Progress) -> None:
        """Tells it, or leaves it out when another was told a moment ago."""
        if time.monotonic() - self._told < TELL_EVERY_S and progress.done < progress.total:
            return
        self._told = time.monotonic()
        eta_s = None if progress.eta_s is None else round(progress.eta_s, 1)
        tell(
            "embedding",
            done=progress.done,
            total=progress.total,
            tiles_per_s=round(progress.tiles_per_s, 2),
            eta_s=eta_s,
            resumed=progress.resumed,
        )

    def step(self, name: str) -> None:
        """Tells a step that was passed."""
        tell("step", name=name)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing: the end is told by whoever knows how it ended."""


def tell(event: str, **fields: Any) -> None:  # noqa: ANN401 - any JSON values
    """Writes one line at once."""
    sys.stdout.write(json.dumps({"event": event, **fields}, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def tell_report(report: BuildReport) -> None:
    """The end of a build that went well."""
    stats, changes = report.stats, report.changes
    tell(
        "published" if report.published else "unchanged",
        version=report.version,
        tiles=report.manifest.tile_count,
        embedded=stats.embedded,
        reused=stats.reused,
        resumed=stats.resumed,
        empty=stats.empty_tiles,
        unreadable=len(stats.unreadable),
        removed_versions=report.removed_versions,
        changes=None if changes is None else vars(changes),
    )


def tell_problem(problem: BaseException) -> None:
    """The end of a build that went wrong; nobody may be left to read it."""
    try:
        if isinstance(problem, KeyboardInterrupt):
            tell("interrupted")
        elif isinstance(problem, CrossfixError):
            tell("failed", code=problem.code, message=str(problem), hint=problem.hint)
        else:
            tell("failed", code="system_error", message=str(problem), hint="")
    except OSError:
        pass
