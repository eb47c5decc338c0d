"""Embedding on the threads of this process."""

from collections.abc import Callable, Iterator

from index_builder.embedding.engine import OnResult
from index_builder.embedding.open_task import OpenTask
from index_builder.embedding.parts import Part
from index_builder.embedding.pipeline import Pipeline
from index_builder.embedding.task import EmbeddingTask


class LocalEngine:
    """An `Engine` of this machine.

    Args:
        opened: the task with encoder and sources that are open already; used once.
        tick: told a few times a second how many tiles of unfinished parts are settled.
    """

    def __init__(
        self,
        opened: OpenTask | None = None,
        tick: Callable[[int], None] = lambda _tiles: None,
    ) -> None:
        self._opened = opened
        self._tick = tick

    def run(self, task: EmbeddingTask, parts: Iterator[Part], on_result: OnResult) -> None:
        """Makes every part's file; see `Engine`."""
        opened = self._opened or OpenTask(task)
        try:
            task.parts_directory.mkdir(parents=True, exist_ok=True)
            with Pipeline(opened, parts) as pipeline:
                for result in pipeline.results(self._tick):
                    on_result(result)
        finally:
            opened.close()
