"""What people see of a run: a bar on the terminal, a line of JSON, TensorBoard.

All of it comes from process 0 alone.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from crossfix.errors import DataError

LOGGER = logging.getLogger(__name__)

LOG_FILE, TENSORBOARD = "log.jsonl", "tensorboard"

# A short bar: the figures must fit beside it in 100 columns.
BAR = "{percentage:3.0f}% |{bar:12}| step {n_fmt}/{total_fmt} {elapsed}{postfix}"

Row = dict[str, Any]


class Throughput:
    """Images per second of training; pauses are no training time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._images, self._since_s = 0, clock()

    def add(self, images: int) -> None:
        """Counts images that have been trained on."""
        self._images += images

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The time inside does not count."""
        began_s = self._clock()
        yield
        self._since_s += self._clock() - began_s

    def take(self) -> float:
        """Images per second since the last call."""
        now_s = self._clock()
        rate = self._images / max(1e-9, now_s - self._since_s)
        self._images, self._since_s = 0, now_s
        return rate


class Progress:
    """The reports of one process of a run, from where it begins or goes on.

    Args:
        step: steps done so far; TensorBoard forgets what was written beyond.
        main: whether this process reports at all.
    """

    def __init__(self, run: Path, *, step: int, total_steps: int, main: bool) -> None:
        self.throughput = Throughput()
        self._path, self._main = run / LOG_FILE, main
        self._board = None
        if main:
            purge = step + 1 if step else None
            self._board = SummaryWriter(str(run / TENSORBOARD), purge_step=purge)
        self._bar = tqdm(
            total=total_steps, initial=step, unit="step", file=sys.stderr, dynamic_ncols=True,
            disable=not (main and sys.stderr.isatty()), bar_format=BAR,
        )  # fmt: skip
        self._redirected = nullcontext() if self._bar.disable else _above_the_bar()

    def __enter__(self) -> "Progress":
        self._redirected.__enter__()
        return self

    def __exit__(self, *reason: Any) -> None:  # noqa: ANN401 - passed through
        self._redirected.__exit__(*reason)
        self._bar.close()
        if self._board is not None:
            self._board.close()

    def step(self, images: int) -> None:
        """Counts one step of training."""
        self.throughput.add(images)
        self._bar.update()

    def report(self, row: Row) -> None:
        """Shows and keeps one row of figures; `kind`, `step` and `epoch` tell what they are of.

        Raises:
            DataError: the log cannot be written.
        """
        if not self._main:
            return
        append_row(self._path, row)
        figures = {name: value for name, value in row.items() if name not in ("kind", "step")}
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(f"{row['kind']}/{name}", value, row["step"])
        if row["kind"] == "train" and not self._bar.disable:
            self._bar.set_postfix_str(_short(row))
        elif row["kind"] == "train":
            LOGGER.info("step %d  epoch %d  %s", row["step"], row["epoch"], _short(row))


def _above_the_bar() -> AbstractContextManager[None]:
    return logging_redirect_tqdm()


def _short(row: Mapping[str, Any]) -> str:
    return (
        f"loss {row['loss']:.3f}  lr {row['lr']:.1e}  {row['images_per_s']:.0f} images/s  "
        f"{row['minutes_left']:.0f} min left"
    )


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Adds one line of JSON.

    Raises:
        DataError: it cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(row) + "\n")
    except OSError as problem:
        raise DataError(
            f"{path} cannot be written: {problem}",
            hint="free some disk space and pass --resume",
        ) from problem


def keep_rows(path: Path, keep: Callable[[Row], bool]) -> None:
    """Rewrites a log with the wanted rows only; a torn last line goes as well."""
    if not path.exists():
        return
    rows = [row for row in _rows(path) if keep(row)]
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    os.replace(partial, path)


def _rows(path: Path) -> Iterator[Row]:
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            return
