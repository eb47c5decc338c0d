"""What runs on the cluster's nodes: one worker that embeds the parts it is handed."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import crossfix
from crossfix.errors import CrossfixError, PublishError
from index_builder.embedding.part_file import PartResult
from index_builder.embedding.parts import Part
from index_builder.embedding.task import EmbeddingTask

MAX_TRIES = 3  # Ray does a part again for ever; one that kills its worker would kill them all


class Worker(Protocol):
    """What `PartWorker` does."""

    def run(self, part: Part) -> PartResult:
        """Leaves the part's file."""
        ...


@dataclass(frozen=True)
class WorkOrder:
    """Everything a worker on another machine needs.

    Attributes:
        token: a file in the parts' directory, written by the builder: who sees it shares the
            directory, and does not just have one of the same name.
        version: of the builder's code.
    """

    task: EmbeddingTask
    make_worker: Callable[[EmbeddingTask], Worker]
    token: Path
    version: str


class PartStage:
    """A Ray actor's body: opens encoder and sources at its first part and keeps them.

    Answers with rows, failures included: an exception would end the whole execution with Ray's
    trace instead of one sentence.
    """

    def __init__(self, order: WorkOrder) -> None:
        self._order = order
        self._worker: Worker | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Does one part; `result` or `failure` is JSON, the other is empty."""
        part: Part = row["part"]
        answer = {"number": part.number, "node": socket.gethostname(), "result": "", "failure": ""}
        try:
            if self._worker is None:
                self._check_node()
                self._worker = self._order.make_worker(self._order.task)
            with self._tried(part):
                answer["result"] = json.dumps(asdict(self._worker.run(part)))
        except CrossfixError as problem:
            answer["failure"] = json.dumps(
                {"error": type(problem).__name__, "text": str(problem), "hint": problem.hint}
            )
        except Exception as problem:  # whatever it is must be told on the builder's machine
            text = f"part {part.number} failed with {type(problem).__name__}: {problem}"
            answer["failure"] = json.dumps({"error": "", "text": text, "hint": ""})
        return answer

    @contextmanager
    def _tried(self, part: Part) -> Iterator[None]:
        """Counts, in a file that outlives this process, how often the part was begun."""
        path = self._order.token.with_name(f"{self._order.token.name}-{part.number}")
        with path.open("ab") as handle:
            tries = handle.tell() + 1
            handle.write(b"x")
        if tries > MAX_TRIES:
            raise PublishError(
                f"part {part.number} (from tile {part.plans[0].tile_id} on) has ended "
                f"{MAX_TRIES} workers",
                hint="look for memory limits of the nodes, and at the imagery of this tile",
            )
        try:
            yield
        finally:
            path.unlink(missing_ok=True)

    def _check_node(self) -> None:
        if not self._order.token.is_file():
            raise PublishError(
                f"the directory {self._order.token.parent} is not that of the builder's machine",
                hint="all nodes must share one file system: the gallery, the encoder and the "
                "imagery under the same paths",
            )
        if crossfix.__version__ != self._order.version:
            raise PublishError(
                f"version {crossfix.__version__} of the builder is installed, not "
                f"{self._order.version}",
                hint="install the same version on every node",
            )
