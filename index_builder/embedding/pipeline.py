"""Reading, encoding and writing at once, on threads of one process."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from crossfix.errors import CrossfixError, DeviceUnavailable
from index_builder.embedding.channel import Aborted, Channel
from index_builder.embedding.draft import PartDraft
from index_builder.embedding.old_tiles import Known
from index_builder.embedding.open_task import VIEW, OpenTask
from index_builder.embedding.part_file import LeftOut, PartResult, read_result, write_part
from index_builder.embedding.parts import Part
from index_builder.embedding.reading import KeptTile, ReadTile, read_tile

Float32 = NDArray[np.float32]

_QUEUE_BYTES = 64 << 20
_MAX_QUEUE_TILES = 256
_WRITES = 2
_TICK_S = 0.25


class _Waiting(NamedTuple):
    draft: PartDraft
    place: int
    tile: ReadTile


class _Group(NamedTuple):
    draft: PartDraft
    places: list[int]
    known: list[Known]  # of all tiles of the part


class Pipeline:
    """Embeds parts: readers fill a queue of tiles, the encoder's lanes empty it.

    The queue knows nothing of parts: at the end of one the encoder goes on with the next, while
    another thread writes the finished one. Memory is bounded by the queue, a few parts in the
    making, and what a source holds for each reader. Use as a context manager.
    """

    def __init__(self, opened: OpenTask, parts: Iterator[Part]) -> None:
        self._opened = opened
        self._groups = self._iterate_groups(parts)
        self._groups_lock = threading.Lock()
        view = opened.view
        tile_bytes = 4 * 3 * view.height_px * view.width_px
        room = min(_MAX_QUEUE_TILES, _QUEUE_BYTES // tile_bytes)
        self._tiles: Channel[_Waiting] = Channel(max(2 * opened.batch_tiles, opened.lanes, room))
        self._complete: Channel[PartDraft] = Channel(_WRITES)
        self._results: Channel[PartResult] = Channel(1 << 30)
        self._drafts: dict[int, PartDraft] = {}
        self._failure: BaseException | None = None
        readers = [self._read] * opened.task.readers
        lanes = [self._encode] * opened.lanes
        self._reading, self._encoding = _Countdown(len(readers)), _Countdown(len(lanes))
        self._threads = [
            threading.Thread(target=self._guard, args=(work,), name=f"{work.__name__}", daemon=True)
            for work in (*readers, *lanes, self._write)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._abort()
        for thread in self._threads:
            thread.join()

    def results(self, tick: Callable[[int], None]) -> Iterator[PartResult]:
        """Parts as they are finished; raises what a thread raised.

        Args:
            tick: told every so often how many tiles of unfinished parts are settled.
        """
        while not self._results.ended:
            try:
                yield from self._results.take(timeout_s=_TICK_S)
            except Aborted:
                break
            tick(sum(draft.done for draft in list(self._drafts.values())))
        if self._failure is not None:
            raise self._failure

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Aborted:
            pass
        except BaseException as problem:
            self._failure = self._failure or problem
            self._abort()

    def _abort(self) -> None:
        for channel in (self._tiles, self._complete, self._results):
            channel.abort()

    def _iterate_groups(self, parts: Iterator[Part]) -> Iterator[_Group]:
        for part in parts:
            done = read_result(self._opened.task.parts_directory, part.number)
            if done is not None:
                self._results.put(done)
                continue
            draft = PartDraft(part, self._opened.encoder.embedding_dim)
            self._drafts[part.number] = draft
            known = self._look_up(part)
            places = range(len(part.plans))
            for _, group in groupby(places, key=lambda place: part.plans[place].group):
                yield _Group(draft, list(group), known)

    def _look_up(self, part: Part) -> list[Known]:
        old = self._opened.old
        return [Known()] * len(part.plans) if old is None else old.look_up(part.plans)

    def _read(self) -> None:
        while True:
            with self._groups_lock:
                group = next(self._groups, None)
            if group is None:
                break
            for place in group.places:
                self._settle(group.draft, place, group.known[place])
        if self._reading.is_last():
            self._tiles.close()

    def _settle(self, draft: PartDraft, place: int, known: Known) -> None:
        outcome = read_tile(self._opened, draft.part.source, draft.part.plans[place], known)
        match outcome:
            case ReadTile():
                self._tiles.put(_Waiting(draft, place, outcome))
                return
            case KeptTile():
                last = draft.add(place, outcome.record, outcome.embedding, outcome.jpeg)
            case LeftOut():
                last = draft.leave_out(place, outcome)
        if last:
            self._complete.put(draft)

    def _encode(self) -> None:
        size = self._opened.batch_tiles
        while batch := self._tiles.take(size):
            started = time.monotonic()
            embeddings = self._embed(batch, size)
            each_s = (time.monotonic() - started) / len(batch)
            for waiting, embedding in zip(batch, embeddings.astype(np.float16), strict=True):
                tile, draft = waiting.tile, waiting.draft
                if draft.add(waiting.place, tile.record, embedding, tile.jpeg, encode_s=each_s):
                    self._complete.put(draft)
        if self._encoding.is_last():
            self._complete.close()

    def _embed(self, batch: list[_Waiting], size: int) -> Float32:
        """Always in runs of one shape, so that an embedding does not depend on its neighbours."""
        tensors = np.stack([waiting.tile.tensor for waiting in batch])
        missing = size - len(batch)
        if missing:
            tensors = np.concatenate([tensors, np.repeat(tensors[:1], missing, axis=0)])
        try:
            return self._opened.encoder.encode(tensors, VIEW)[: len(batch)]
        except CrossfixError:
            raise
        except Exception as problem:  # onnxruntime raises many private classes
            raise DeviceUnavailable(
                f"the encoder failed at tile {batch[0].tile.record.plan.tile_id} on "
                f"{self._opened.encoder.provider}: {str(problem).strip().splitlines()[0]}",
                hint="give it more memory, a smaller --batch-size or --device cpu; what is done "
                "stays done",
            ) from problem

    def _write(self) -> None:
        while drafts := self._complete.take():
            for draft in drafts:
                result, content = draft.finish()
                write_part(self._opened.task.parts_directory, result, content)
                del self._drafts[result.number]
                self._results.put(result)
        self._results.close()


@dataclass
class _Countdown:
    """Tells the last of several threads that it is the last."""

    left: int

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def is_last(self) -> bool:
        with self._lock:
            self.left -= 1
            return self.left == 0
