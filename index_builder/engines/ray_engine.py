"""Embedding parts with Ray Data: on one machine or many, with nodes that may die."""

import json
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import crossfix
from crossfix import errors
from crossfix.errors import PublishError
from index_builder.embedding.engine import OnResult
from index_builder.embedding.part_file import PartResult, part_path, read_result
from index_builder.embedding.parts import Part
from index_builder.embedding.task import EmbeddingTask
from index_builder.embedding.worker import PartWorker
from index_builder.engines.ray_cluster import cluster_has_gpus, connected, shape_workers
from index_builder.engines.ray_parts import PartFeed, read_parts
from index_builder.engines.ray_worker import PartStage, Worker, WorkOrder

_log = logging.getLogger(__name__)

ROUND_PARTS = 20_000  # one Ray execution: what it keeps in memory for each of its blocks ends
MAX_IDLE_ROUNDS = 3
_SEEN_WITHIN_S = 20.0  # network file systems show new files late


@dataclass(frozen=True)
class RayEngine:
    """An `Engine`: parts are items of a Ray data set, workers are a pool of stateful actors.

    Every node must see the gallery, the encoder and the imagery under the same paths. Vectors do
    not travel: workers write part files there and answer with a few numbers. A part whose worker
    dies is done by another one; done twice it is the same file twice.

    Attributes:
        address: of the cluster's head; empty is `RAY_ADDRESS`, or this machine alone.
        workers: at most; 0 is as many as the cluster has room for.
        make_worker: what embeds on the nodes.
    """

    address: str = ""
    workers: int = 0
    make_worker: Callable[[EmbeddingTask], Worker] = PartWorker

    def run(self, task: EmbeddingTask, parts: Iterator[Part], on_result: OnResult) -> None:
        """Makes every part's file; those that are there are told and not done again.

        Raises:
            CrossfixError: what a worker raised, naming its node; nothing else is lost.
            PublishError: no cluster, nodes without the shared directory, or a part that kills
                every worker it meets.
        """
        with connected(self.address) as ray, _token(task.parts_directory) as token:
            gpu = task.device.startswith("cuda") or (
                task.device == "auto" and cluster_has_gpus(ray)
            )
            task = replace(task, device="cuda" if gpu else "cpu", threads=task.threads or 1)
            order = WorkOrder(task, self.make_worker, token, crossfix.__version__)
            _Run(ray, order, self.workers, parts, on_result).finish()


class _Run:
    """One call of the engine: rounds until no part is without its file."""

    def __init__(
        self,
        ray: Any,  # noqa: ANN401 - see ray_cluster
        order: WorkOrder,
        workers: int,
        parts: Iterator[Part],
        on_result: OnResult,
    ) -> None:
        self._ray, self._order, self._workers = ray, order, workers
        self._parts, self._on_result = parts, on_result
        self._open: dict[int, Part] = {}  # handed out, no answer yet
        self._found: deque[PartResult] = deque()  # there already; met by the feeding thread
        self._exhausted = False

    def finish(self) -> None:
        idle = 0
        while self._open or not self._exhausted:
            done = self._round()
            idle = 0 if done or not self._open else idle + 1
            if self._open:
                _log.warning("%d parts were lost with their workers; again", len(self._open))
            if idle == MAX_IDLE_ROUNDS:
                raise PublishError(
                    f"part {min(self._open)} and {len(self._open) - 1} more could not be "
                    f"embedded: their workers died {idle} times",
                    hint="look for memory limits; `ray status` shows the nodes",
                )

    def _round(self) -> int:
        """One Ray execution; returns how many parts it finished."""
        wanted = chain(list(self._open.values()), self._fresh())
        first = next(wanted, None)
        done = 0
        if first is not None:
            feed = PartFeed(self._ray, chain([first], wanted), self._note_open)
            try:
                with closing(self._execute(feed)) as rows:
                    for row in rows:
                        self._take(row)
                        done += 1
            finally:
                feed.stop()
        self._tell_found()
        return done

    def _fresh(self) -> Iterator[Part]:
        """Parts without a file, as many as one round takes."""
        directory = self._order.task.parts_directory
        taken = 0
        while taken < ROUND_PARTS:
            part = next(self._parts, None)
            if part is None:
                self._exhausted = True
                return
            result = read_result(directory, part.number)
            if result is not None:
                self._found.append(result)
                continue
            taken += 1
            yield part

    def _tell_found(self) -> None:
        while self._found:
            self._on_result(self._found.popleft())

    def _note_open(self, part: Part) -> None:
        self._open[part.number] = part

    def _execute(self, feed: PartFeed) -> Generator[dict[str, Any], None, None]:
        """Rows as workers answer; parts lost with a node are just missing."""
        from ray.data import ActorPoolStrategy, DataContext
        from ray.exceptions import RayError

        shape = shape_workers(
            self._ray, self._order.task.device, self._order.task.threads, self._workers
        )
        context = DataContext.get_current().copy()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.target_max_block_size = 1  # every row goes on at once instead of filling a block
        context.max_errored_blocks = -1  # what is lost for good is done in the next round
        with DataContext.current(context):
            answers = read_parts(feed).map(
                PartStage,
                fn_constructor_args=(self._order,),
                num_cpus=shape.num_cpus,
                num_gpus=shape.num_gpus,
                compute=ActorPoolStrategy(
                    min_size=1,  # idle workers end: a lost one's parts need their room
                    max_size=shape.at_most,
                    initial_size=shape.at_first,
                    max_tasks_in_flight_per_actor=2,
                ),
            )
            try:
                yield from answers.iter_rows()
            except RayError as problem:
                raise PublishError(
                    f"Ray could not go on: {str(problem).strip().splitlines()[0]}",
                    hint="build again: what is done stays done",
                ) from problem

    def _take(self, row: dict[str, Any]) -> None:
        self._tell_found()
        if row["failure"]:
            raise _failure(json.loads(row["failure"]), row["node"])
        result = PartResult(**_with_tuples(json.loads(row["result"])))
        path = part_path(self._order.task.parts_directory, result.number)
        patience = time.monotonic() + _SEEN_WITHIN_S
        while not path.is_file():
            if time.monotonic() > patience:
                raise PublishError(
                    f"node {row['node']} has made part {result.number}, but {path} is not there",
                    hint="all nodes must share one file system",
                )
            time.sleep(0.1)
        if self._open.pop(result.number, None) is not None:
            self._on_result(result)


def _with_tuples(values: dict[str, Any]) -> dict[str, Any]:
    """JSON knows lists only."""
    return {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}


def _failure(told: dict[str, str], node: str) -> errors.CrossfixError:
    """The worker's error, with its node, as the class it was."""
    kind = getattr(errors, told["error"], PublishError) if told["error"] else PublishError
    return kind(f"on node {node}: {told['text']}", hint=told["hint"])


@contextmanager
def _token(directory: Path) -> Iterator[Path]:
    """A file that only those see who share the directory; theirs beside it go with it."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f".shared-{uuid.uuid4().hex}"
    path.touch()
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        for left in directory.glob(f"{path.name}-*"):
            left.unlink(missing_ok=True)
