"""Parts as a Ray data set that is never there as a whole: read from a short queue."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

from index_builder.embedding.parts import Part

_QUEUE_PARTS = 8
_POLL_S = 1.0


class PartFeed:
    """A thread that plans parts and puts them into a queue that Ray reads from.

    The queue is short: planning waits for the workers, so a billion tiles need no more memory
    than a thousand.
    """

    def __init__(self, ray: Any, parts: Iterator[Part], on_fed: Callable[[Part], None]) -> None:  # noqa: ANN401
        from ray.util.queue import Queue

        # What must not be lost while the build itself lives stays on the build's own node.
        self.here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
        self.queue: Any = Queue(
            maxsize=_QUEUE_PARTS,
            actor_options={"num_cpus": 0, "label_selector": self.here},
        )
        self._parts, self._on_fed = parts, on_fed
        self._stop = threading.Event()
        self._problem: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="part-feed", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread, done or not, and the queue.

        Raises:
            Exception: what planning raised.
        """
        self._stop.set()
        self._thread.join()
        self.queue.shutdown(force=True)
        if self._problem is not None:
            raise self._problem

    def _run(self) -> None:
        try:
            for part in self._parts:
                self._on_fed(part)
                if not self._put(part):
                    return
        except BaseException as problem:  # told by `stop`, on the caller's thread
            self._problem = problem
        self._put(None)

    def _put(self, item: Part | None) -> bool:
        from ray.util.queue import Full

        while not self._stop.is_set():
            try:
                self.queue.put(item, timeout=_POLL_S)
                return True
            except Full:
                continue
        return False


def read_parts(feed: PartFeed) -> Any:  # noqa: ANN401 - a ray.data.Dataset
    """A lazy data set of one row per part, read on this machine."""
    import ray.data
    from ray.data import Datasource, ReadTask
    from ray.data.block import BlockMetadata

    queue = feed.queue

    def read() -> Iterator[Any]:
        import pandas  # type: ignore[import-untyped]

        while (part := queue.get()) is not None:
            yield pandas.DataFrame({"part": [part]})

    class PartSource(Datasource):
        """One reader, which the queue feeds."""

        def get_read_tasks(self, *_unused: object, **_unused_too: object) -> list[Any]:
            unknown: dict[str, Any] = dict.fromkeys(
                ("num_rows", "size_bytes", "input_files", "exec_stats")
            )
            return [ReadTask(read, BlockMetadata(**unknown))]

        def estimate_inmemory_data_size(self) -> None:
            return None

    return ray.data.read_datasource(
        PartSource(),  # type: ignore[no-untyped-call]
        override_num_blocks=1,
        num_cpus=0,
        label_selector=feed.here,
    )
