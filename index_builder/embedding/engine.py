"""What makes the files of all parts: threads here, or machines elsewhere."""

from collections.abc import Callable, Iterator
from typing import Protocol

from index_builder.embedding.part_file import PartResult
from index_builder.embedding.parts import Part
from index_builder.embedding.task import EmbeddingTask

OnResult = Callable[[PartResult], None]


class Engine(Protocol):
    """Embeds parts. What stops it leaves the parts that were finished."""

    def run(self, task: EmbeddingTask, parts: Iterator[Part], on_result: OnResult) -> None:
        """Makes every part's file; a part whose file is there is told and not done again.

        Args:
            on_result: told each part once, on the calling thread, in any order.

        Raises:
            SourceError: a tile cannot be read, unless the task skips those.
            EncoderError: the encoder cannot be opened or fails.
        """
        ...
