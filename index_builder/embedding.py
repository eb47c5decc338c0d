"""Reading and encoding at once: readers fill a short queue, the encoder empties it."""

import hashlib
import io
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crossfix.encoder import Encoder
from crossfix.errors import SourceError
from crossfix.images import Photo
from crossfix.preprocess import prepare
from crossfix.view import ViewSpec
from index_builder.sources.source import TilePlan, TileSource, UInt8
from index_builder.spool import Spool, TileRecord

Float32 = NDArray[np.float32]

PICTURE_PX = 256
PICTURE_QUALITY = 85
_QUEUE_BATCHES = 4
_POLL_S = 0.2


@dataclass(frozen=True)
class Progress:
    """Where a build stands; `eta_s` is None until a rate is known."""

    done: int
    total: int
    tiles_per_s: float
    eta_s: float | None


@dataclass
class EmbeddingStats:
    """What embedding did.

    Attributes:
        encoder_busy_share: share of the wall time the encoder was computing, 0..1.
        unreadable: one sentence for each tile left out with `skip_unreadable`.
    """

    tiles: int = 0
    empty_tiles: int = 0
    seconds: float = 0.0
    encoder_busy_share: float = 0.0
    unreadable: list[str] = field(default_factory=list)

    @property
    def tiles_per_s(self) -> float:
        """Tiles embedded per second of wall time."""
        return self.tiles / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Work:
    """One source and its tiles, ordered by group."""

    source: TileSource
    name: str
    plans: Sequence[TilePlan]


@dataclass(frozen=True)
class _Batch:
    records: list[TileRecord]
    tensors: Float32
    jpegs: list[bytes]
    empty: int
    unreadable: list[str]


class _Readers:
    """Threads that read whole groups and put batches; the first failure stops all of them."""

    def __init__(
        self, work: Sequence[Work], view: ViewSpec, *, threads: int, batch: int, skip: bool
    ) -> None:
        self._groups = _iterate_groups(work)
        self._view, self._batch, self._skip = view, batch, skip
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._queue: queue.Queue[_Batch | BaseException | None] = queue.Queue(_QUEUE_BATCHES)
        self._threads = [
            threading.Thread(target=self._run, name=f"reader-{number}", daemon=True)
            for number in range(threads)
        ]

    def batches(self) -> Iterator[_Batch]:
        """Batches as they come; raises what a reader raised."""
        for thread in self._threads:
            thread.start()
        running = len(self._threads)
        while running:
            item = self._queue.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                running -= 1
            else:
                yield item

    def stop(self) -> None:
        """Ends the threads, done or not."""
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                with self._lock:
                    group = next(self._groups, None)
                if group is None:
                    break
                for batch in self._read_group(*group):
                    self._put(batch)
            self._put(None)
        except BaseException as problem:
            self._put(problem)

    def _put(self, item: "_Batch | BaseException | None") -> None:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=_POLL_S)
                return
            except queue.Full:
                continue

    def _read_group(self, work: Work, plans: Sequence[TilePlan]) -> Iterator[_Batch]:
        # Batches never span groups: what an embedding is computed beside does not depend on
        # which thread was faster, so equal inputs give equal galleries.
        for start in range(0, len(plans), self._batch):
            if self._stop.is_set():
                return
            yield self._read_batch(work, plans[start : start + self._batch])

    def _read_batch(self, work: Work, plans: Sequence[TilePlan]) -> _Batch:
        records, tensors, jpegs, unreadable = [], [], [], []
        for plan in plans:
            try:
                pixels = work.source.read(plan)
            except SourceError as problem:
                if not self._skip:
                    raise
                unreadable.append(str(problem))
                continue
            if pixels is not None:
                resolution_m = plan.resolution_m or plan.size_m / pixels.shape[1]
                records.append(TileRecord(plan, work.name, resolution_m, hash_pixels(pixels)))
                tensors.append(prepare(Photo.of(pixels), self._view).tensor)
                jpegs.append(encode_picture(pixels))
        shape = (0, 3, self._view.height_px, self._view.width_px)
        stacked = np.stack(tensors) if tensors else np.zeros(shape, np.float32)
        empty = len(plans) - len(records) - len(unreadable)
        return _Batch(records, stacked, jpegs, empty, unreadable)


def embed_tiles(
    encoder: Encoder,
    work: Sequence[Work],
    spool: Spool,
    *,
    threads: int = 2,
    batch_size: int = 16,
    skip_unreadable: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> EmbeddingStats:
    """Reads and embeds every planned tile into the spool, `satellite` view.

    Args:
        threads: readers; the encoder runs on the calling thread.

    Raises:
        SourceError: a tile cannot be read, unless `skip_unreadable`.
        UnknownView: the encoder has no satellite view.
    """
    total = sum(len(part.plans) for part in work)
    stats, busy_s, started = EmbeddingStats(), 0.0, time.monotonic()
    readers = _Readers(
        work, encoder.view("satellite"), threads=threads, batch=batch_size, skip=skip_unreadable
    )
    try:
        for batch in readers.batches():
            began = time.monotonic()
            embeddings = encoder.encode(batch.tensors, "satellite")
            busy_s += time.monotonic() - began
            spool.add(batch.records, embeddings, batch.jpegs)
            stats.tiles += len(batch.records)
            stats.empty_tiles += batch.empty
            stats.unreadable += batch.unreadable
            if on_progress is not None:
                done = stats.tiles + stats.empty_tiles + len(stats.unreadable)
                on_progress(_progress(done, total, time.monotonic() - started))
    finally:
        readers.stop()
    stats.seconds = max(time.monotonic() - started, 1e-9)
    stats.encoder_busy_share = min(1.0, busy_s / stats.seconds)
    stats.unreadable.sort()
    return stats


def _progress(done: int, total: int, elapsed_s: float) -> Progress:
    rate = done / elapsed_s if elapsed_s > 0 else 0.0
    return Progress(done, total, rate, (total - done) / rate if rate else None)


def _iterate_groups(work: Sequence[Work]) -> Iterator[tuple[Work, list[TilePlan]]]:
    for part in work:
        for _, plans in groupby(part.plans, key=lambda plan: plan.group):
            yield part, list(plans)


def hash_pixels(pixels: UInt8) -> str:
    """Tells whether a tile's imagery has changed: 128 bits over shape and values."""
    digest = hashlib.blake2b(str(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def encode_picture(pixels: UInt8) -> bytes:
    """A JPEG for people to look at, at most `PICTURE_PX` on its longer side."""
    image = Image.fromarray(pixels)
    image.thumbnail((PICTURE_PX, PICTURE_PX), Image.Resampling.BICUBIC, reducing_gap=3.0)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=PICTURE_QUALITY)
    return buffer.getvalue()
