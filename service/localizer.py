"""The photo's path: decode -> encode -> search -> estimate, on one immutable snapshot."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossfix.estimate import CANDIDATES, Candidates, LocationEstimate, estimate
from crossfix.images import decode
from crossfix.onnx_session import CPU
from crossfix.preprocess import Prepared, prepare
from crossfix.view import ViewName
from service.batching.micro_batcher import BatchObserver, MicroBatcher
from service.errors import DeadlineExceeded
from service.galleries.served import Hits
from service.galleries.snapshot import Snapshot
from service.photos.localization import STAGES, Localization, PhotoQuery, Span
from service.settings import Settings

Float32 = NDArray[np.float32]

PART_IS_MISSING = "a part of the gallery did not answer, and the place may be there"
_STAGE_OF = {
    "decode_queue": "queue",
    "decode": "decode",
    "prepare": "encode",
    "encode_queue": "queue",
    "encode": "encode",
    "search_queue": "queue",
    "search": "search",
    "estimate": "estimate",
}


@dataclass(eq=False)
class _Work:
    """One photo on its way; whoever works on it leaves here what the next one needs.

    Attributes:
        deadline: seconds of `time.monotonic`.
        is_wanted: False once its caller left.
    """

    query: PhotoQuery
    deadline: float
    is_wanted: bool = True
    photo_format: str = ""
    photo_px: int = 0
    prepared: Prepared | None = None
    embedding: Float32 | None = None
    timeline: list[Span] = field(default_factory=list)
    _since: float = field(default_factory=time.monotonic)

    def mark(self, name: str) -> None:
        """What happened since the last mark has this name."""
        now = time.monotonic()
        self.timeline.append((name, self._since, now))
        self._since = now

    def require_wanted(self) -> None:
        """Saves a run of the encoder for nobody.

        Raises:
            DeadlineExceeded: it is too late, or the caller left and will not hear of it.
        """
        if not self.is_wanted or time.monotonic() >= self.deadline:
            raise DeadlineExceeded(
                "the photo's deadline passed before it was encoded",
                hint="try again later, or raise the deadline",
            )


class Localizer:
    """Runs photos through the four stages.

    On a CPU with one thread per run, each of the `encode_workers` threads takes a photo from its
    bytes to its estimate: the only queue is at the door, where it is known best who would wait too
    long, and no core is given to decoding one photo while another's encoding waits for it.
    Elsewhere (a GPU, or several threads per run) decode, encode and search have pools of their own,
    so that the encoder never waits for a decoder and its batches form in the queue before it.

    Args:
        provider: the encoder's execution provider; decides batch size and workers.
        observers: per pool (`decode`, `encode`, `search`), told what its queue does.
    """

    def __init__(
        self, settings: Settings, provider: str, observers: dict[str, BatchObserver]
    ) -> None:
        self._limits = settings.image_limits
        self._deadline_s = settings.deadline_s
        self._queue_limit = settings.queue_limit
        self._max_wait_s = settings.max_wait_s
        self._observers = observers
        self._pools: list[ThreadPoolExecutor] = []
        workers, max_batch = settings.encode_workers_for(provider), settings.max_batch_for(provider)
        if provider == CPU and max_batch == 1 and settings.encode_threads == 1:
            self._stages = [self._stage("encode", self._do_all, workers)]
        else:
            self._stages = [
                self._stage("decode", self._do_decode, settings.decode_workers),
                self._stage("encode", _do_encode, workers, max_batch),
                self._stage("search", _do_search, settings.search_threads),
            ]

    def _stage(
        self,
        name: str,
        run: Callable[[Snapshot, list[_Work]], Sequence[Any]],
        workers: int,
        max_batch: int = 1,
    ) -> MicroBatcher[Any, _Work, Any]:
        pool = ThreadPoolExecutor(workers, thread_name_prefix=name)
        self._pools.append(pool)

        def start(key: tuple[Snapshot, ViewName], works: list[_Work]) -> asyncio.Future[Any]:
            return asyncio.get_running_loop().run_in_executor(pool, run, key[0], works)

        return MicroBatcher(
            start,
            name=name,
            max_batch=max_batch,
            workers=workers,
            queue_limit=self._queue_limit,
            observer=self._observers[name],
            standing_s=self._max_wait_s,
        )

    def require_room(self) -> None:
        """Refuses a photo before its body is read, when it would be refused afterwards.

        Raises:
            Overloaded: a queue is full, or its wait would be too long.
        """
        deadline = time.monotonic() + self._deadline_s
        for stage in self._stages:
            stage.require_room(deadline=deadline)

    async def localize(self, snapshot: Snapshot, query: PhotoQuery) -> Localization:
        """Where the photo was taken.

        Raises:
            ImageError: the photo cannot be used.
            InvalidParameter: unknown view, bad field of view, prior outside the gallery.
            Overloaded: a queue is full, or its wait would be too long.
            DeadlineExceeded: no answer in `deadline_s`.
            NotReady: the service is stopping.
        """
        snapshot.encoder.view(query.view)  # an unknown view must not cost a decode
        self.require_room()
        work = _Work(query, time.monotonic() + self._deadline_s)
        try:
            async with asyncio.timeout(self._deadline_s):
                return await self._work_on(snapshot, work)
        except TimeoutError:
            raise DeadlineExceeded(
                f"no answer within {self._deadline_s:g} s",
                hint="try again later, or raise the deadline",
            ) from None
        finally:
            work.is_wanted = False

    async def _work_on(self, snapshot: Snapshot, work: _Work) -> Localization:
        key = (snapshot, work.query.view)
        for stage in self._stages:
            served = await stage.submit(key, work, deadline=work.deadline)
        found: Localization = served.result
        return found

    def _do_all(self, snapshot: Snapshot, works: list[_Work]) -> list[Localization]:
        """Each photo from its bytes to its estimate, in this thread."""
        for work in works:
            work.mark("encode_queue")
            self._prepare(snapshot, work)
            work.require_wanted()
        _encode(snapshot, works)
        return [_search(snapshot, work) for work in works]

    def _do_decode(self, snapshot: Snapshot, works: list[_Work]) -> list[None]:
        for work in works:
            work.mark("decode_queue")
            self._prepare(snapshot, work)
        return [None] * len(works)

    def _prepare(self, snapshot: Snapshot, work: _Work) -> None:
        """Bytes to the encoder's input; JPEGs are decoded no larger than the view needs."""
        query, view = work.query, snapshot.encoder.view(work.query.view)
        photo = decode(query.data, limits=self._limits, target_px=view.decode_px)
        work.mark("decode")
        work.photo_format = photo.format
        work.photo_px = photo.full_width_px * photo.full_height_px
        work.prepared = prepare(photo, view, heading_deg=query.heading_deg, hfov_deg=query.hfov_deg)
        work.mark("prepare")

    def close(self) -> None:
        """Fails what waits and ends the pools' threads once they are idle."""
        for stage in self._stages:
            stage.close()
        for pool in self._pools:
            pool.shutdown(wait=False, cancel_futures=True)


def _do_encode(snapshot: Snapshot, works: list[_Work]) -> list[None]:
    for work in works:
        work.mark("encode_queue")
    _encode(snapshot, works)
    return [None] * len(works)


def _do_search(snapshot: Snapshot, works: list[_Work]) -> list[Localization]:
    for work in works:
        work.mark("search_queue")
    return [_search(snapshot, work) for work in works]


def _encode(snapshot: Snapshot, works: list[_Work]) -> None:
    tensors = [work.prepared.tensor for work in works if work.prepared is not None]
    batch = tensors[0][None] if len(tensors) == 1 else np.stack(tensors)  # a view, or a copy
    for work, embedding in zip(
        works, snapshot.encoder.encode(batch, works[0].query.view), strict=True
    ):
        work.embedding = embedding
        work.mark("encode")


def _search(snapshot: Snapshot, work: _Work) -> Localization:
    query = work.query
    if work.embedding is None or work.prepared is None:
        raise ValueError("a photo is searched for after it was encoded")
    found = snapshot.gallery.search(
        work.embedding[None], max(query.k, CANDIDATES), prior=query.prior
    )
    work.mark("search")
    place = estimate_place(snapshot, found, query.view)
    work.mark("estimate")
    scores = found.scores[0]
    return Localization(
        snapshot=snapshot,
        rows=found.rows[0, : query.k],
        tiles=found.tiles,
        at=found.at[: query.k],
        scores=scores[: query.k],
        margin=float(scores[0] - scores[1]) if len(scores) > 1 else None,
        estimate=place,
        reach=found.reach,
        warnings=work.prepared.warnings,
        stage_s=_stage_seconds(work.timeline),
        timeline=tuple(work.timeline),
        photo_format=work.photo_format,
        photo_px=work.photo_px,
    )


def _stage_seconds(timeline: Sequence[Span]) -> dict[str, float]:
    seconds = dict.fromkeys(STAGES, 0.0)
    for name, start, end in timeline:
        seconds[_STAGE_OF[name]] += end - start
    return seconds


def estimate_place(snapshot: Snapshot, found: Hits, view: ViewName) -> LocationEstimate | None:
    """The estimate from the best candidates; None without a calibration for the view.

    The calibration knows whole galleries. Where shards did not answer, the place may lie in one of
    them: the confidence is multiplied by the share of tiles that were looked at. Measured: what is
    then still answered is right as often as answers of the whole gallery
    (`results/partial_answers.csv`).
    """
    calibration = snapshot.encoder.manifest.calibration.get(view)
    if calibration is None:
        return None
    tiles, at = found.tiles, found.at[:CANDIDATES]
    place = estimate(
        Candidates(
            scores=found.scores[0, :CANDIDATES].astype(np.float64),
            lon=tiles.lon[at],
            lat=tiles.lat[at],
            size_m=tiles.size_m[at],
        ),
        calibration,
    )
    if found.reach.tiles_share == 1:
        return place
    confidence = place.confidence * found.reach.tiles_share
    refused = place.refused or confidence < calibration.refuse_below
    reason = PART_IS_MISSING if refused and not place.refused else place.reason
    return replace(place, confidence=confidence, refused=refused, reason=reason)
