"""Embedding parts one at a time, with everything opened once."""

from index_builder.embedding.open_task import OpenTask
from index_builder.embedding.part_file import PartResult, read_result
from index_builder.embedding.parts import Part
from index_builder.embedding.pipeline import Pipeline
from index_builder.embedding.task import EmbeddingTask


class PartWorker:
    """Opens encoder and sources once and does parts one after the other.

    Raises:
        EncoderError: the encoder cannot be opened.
        SourceError: a source cannot be opened.
    """

    def __init__(self, task: EmbeddingTask) -> None:
        task.parts_directory.mkdir(parents=True, exist_ok=True)
        self._opened = OpenTask(task)

    def run(self, part: Part) -> PartResult:
        """Leaves the part's file; returns at once where it is there already.

        Raises:
            SourceError: a tile cannot be read, unless the task skips those.
            EncoderError: the encoder fails.
        """
        done = read_result(self._opened.task.parts_directory, part.number)
        if done is not None:
            return done
        with Pipeline(self._opened, iter([part])) as pipeline:
            (result,) = pipeline.results(lambda _tiles: None)
        return result

    def close(self) -> None:
        """Closes the sources."""
        self._opened.close()
