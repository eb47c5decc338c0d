"""Pictures on several processes: each forks with the town in memory and renders what it is told.

The result of a task depends on the task alone, so any number of workers gives the same pixels.
"""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from tqdm import tqdm

from crossfix.errors import DataError

Task = TypeVar("Task")
Result = TypeVar("Result")

_log = logging.getLogger(__name__)
_SECONDS_BETWEEN_LINES = 15.0
# The function of the running job; set before forking, so that workers inherit the town with it.
_job: Callable[[Any], Any] | None = None


def _start_worker(job: Callable[[Any], Any]) -> None:
    global _job
    _job = job
    threading.Thread(target=_exit_with_parent, args=(os.getppid(),), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops its workers


def _exit_with_parent(parent: int) -> None:
    """A parent that was killed cannot stop its workers: they watch for it."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _run_task(task: Any) -> Any:  # noqa: ANN401 - the job's own types
    assert _job is not None
    return _job(task)


def run_all(
    job: Callable[[Task], Result], tasks: Sequence[Task], *, workers: int, label: str
) -> Iterator[Result]:
    """Results of `job` for each task, in order, with progress on standard error.

    Args:
        job: may be a closure over large data; it is inherited, never pickled.
        tasks: small and picklable.
        workers: processes; 1 runs here.
        label: shown beside the progress.

    Raises:
        DataError: a process died.
    """
    if workers <= 1 or len(tasks) <= 1:
        yield from show_progress(map(job, tasks), len(tasks), label)
        return
    executor = ProcessPoolExecutor(
        min(workers, len(tasks)), multiprocessing.get_context("fork"), _start_worker, (job,)
    )
    try:
        yield from show_progress(executor.map(_run_task, tasks), len(tasks), label)
    except BrokenProcessPool as error:
        raise DataError(
            f"a process rendering {label} pictures was killed",
            hint="if memory ran out, use fewer --workers or a smaller town",
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


def show_progress(results: Iterator[Result], total: int, label: str) -> Iterator[Result]:
    """Pass results on: a bar on a terminal, otherwise a log line now and then."""
    is_terminal = sys.stderr.isatty()
    last, count = time.monotonic(), 0
    for result in tqdm(results, total=total, desc=label, disable=not is_terminal):
        yield result
        count += 1
        if not is_terminal and time.monotonic() - last > _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            _log.info("%s: %d of %d", label, count, total)
