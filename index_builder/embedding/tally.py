"""Counting what becomes of all tiles of a build, while it runs."""

import threading
import time
from collections.abc import Callable

from index_builder.embedding.part_file import PartResult
from index_builder.embedding.progress import EmbeddingStats, Progress


class Tally:
    """Adds up results; tells progress on the thread that brings them. Thread-safe.

    Args:
        total: planned tiles.
    """

    def __init__(self, total: int, on_progress: Callable[[Progress], None] | None) -> None:
        self._total = total
        self._on_progress = on_progress
        self._lock = threading.Lock()
        self._stats = EmbeddingStats()
        self._encode_s = 0.0
        self._busy_of_s = 0.0
        self._done = 0
        self.parts = 0
        self._started = time.monotonic()

    def add_resumed(self, result: PartResult) -> None:
        """A part that an interrupted build had finished."""
        with self._lock:
            self._add(result)
            self._stats.resumed += _tiles_of(result)

    def add(self, result: PartResult) -> None:
        """A part finished in this run."""
        with self._lock:
            self._add(result)
            self._stats.embedded += result.tiles - result.reused
            self._encode_s += result.encode_s
            self._busy_of_s += result.seconds
        self.tick(0)

    def _add(self, result: PartResult) -> None:
        self.parts += 1
        self._done += _tiles_of(result)
        self._stats.tiles += result.tiles
        self._stats.empty_tiles += result.empty
        self._stats.reused += result.reused
        self._stats.unreadable += result.unreadable

    def tick(self, unfinished: int) -> None:
        """Tells progress.

        Args:
            unfinished: settled tiles of parts that are not finished.
        """
        if self._on_progress is None:
            return
        done, resumed = self._done + unfinished, self._stats.resumed
        elapsed_s = time.monotonic() - self._started
        rate = (done - resumed) / elapsed_s if elapsed_s > 0 else 0.0
        eta_s = (self._total - done) / rate if rate else None
        self._on_progress(Progress(done, self._total, rate, eta_s, resumed))

    def finish(self, encoders: int | None) -> EmbeddingStats:
        """The sums.

        Args:
            encoders: how many runs of the encoder there could be at once; None where nobody
                knows: then the share is that of the workers' own time.
        """
        stats = self._stats
        stats.seconds = max(time.monotonic() - self._started, 1e-9)
        available_s = self._busy_of_s if encoders is None else stats.seconds * encoders
        stats.encoder_busy_share = min(1.0, self._encode_s / max(available_s, 1e-9))
        stats.unreadable.sort()
        return stats


def _tiles_of(result: PartResult) -> int:
    return result.tiles + result.empty + len(result.unreadable)
