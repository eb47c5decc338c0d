"""The photo's path: decode -> encode -> search -> estimate, on one immutable snapshot."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from crossfix.estimate import CANDIDATES, Candidates, LocationEstimate, estimate
from crossfix.gallery import Disc
from crossfix.images import ImageLimits, decode
from crossfix.preprocess import Prepared, prepare
from crossfix.vector_search import SearchResult
from crossfix.view import ViewName
from service.batching import BatchObserver, MicroBatcher
from service.errors import DeadlineExceeded
from service.settings import Settings
from service.snapshot import Snapshot

ResultT = TypeVar("ResultT")
Float32 = NDArray[np.float32]
EncodeKey = tuple[Snapshot, ViewName]

STAGES = ("decode", "queue", "encode", "search", "estimate")


@dataclass(frozen=True)
class PhotoQuery:
    """One photo and what is known about it."""

    data: bytes
    view: ViewName
    k: int
    prior: Disc | None = None
    heading_deg: float | None = None
    hfov_deg: float | None = None


@dataclass(frozen=True)
class Localization:
    """Ranked gallery rows and the estimate.

    Attributes:
        rows, scores: (k',), best first.
        estimate: None when the encoder has no calibration for the view.
        margin: the best score less the second's, whatever k is; None with one tile in reach.
        stage_s: seconds per stage of `STAGES`; preprocessing counts as encode.
    """

    snapshot: Snapshot
    rows: NDArray[np.int64]
    scores: Float32
    margin: float | None
    estimate: LocationEstimate | None
    warnings: tuple[str, ...]
    stage_s: dict[str, float]


@dataclass(frozen=True)
class _Decoded:
    prepared: Prepared
    decode_s: float
    prepare_s: float


class Localizer:
    """Runs photos through the four stages, each on its own bounded pool.

    Args:
        provider: the encoder's execution provider; decides batch size and workers.
        observers: per pool (`decode`, `encode`, `search`), told what its queue does.
    """

    def __init__(
        self, settings: Settings, provider: str, observers: dict[str, BatchObserver]
    ) -> None:
        self._limits = settings.image_limits
        self._deadline_s = settings.deadline_s
        workers = {
            "decode": settings.decode_workers,
            "search": settings.search_threads,
            "encode": settings.encode_workers_for(provider),
        }
        self._pools = {
            name: ThreadPoolExecutor(count, thread_name_prefix=name)
            for name, count in workers.items()
        }

        def stage(
            name: str, run: Callable[..., Any], max_batch: int = 1
        ) -> MicroBatcher[Any, Any, Any]:
            async def run_batch(key: Any, items: list[Any]) -> Sequence[Any]:  # noqa: ANN401
                return await self._in_pool(name, run, key, items)

            return MicroBatcher(
                run_batch,
                name=name,
                max_batch=max_batch,
                workers=workers[name],
                queue_limit=settings.queue_limit,
                observer=observers[name],
            )

        self._decode = stage("decode", self._decode_batch)
        self._encode = stage("encode", _encode_batch, settings.max_batch_for(provider))
        self._search = stage("search", _search_batch)

    async def localize(self, snapshot: Snapshot, query: PhotoQuery) -> Localization:
        """Where the photo was taken.

        Raises:
            ImageError: the photo cannot be used.
            InvalidParameter: unknown view, bad field of view, prior outside the gallery.
            Overloaded: a queue is full, or its wait would outlast the deadline.
            DeadlineExceeded: no answer in `deadline_s`.
        """
        try:
            async with asyncio.timeout(self._deadline_s):
                return await self._localize(snapshot, query, time.monotonic() + self._deadline_s)
        except TimeoutError:
            raise DeadlineExceeded(
                f"no answer within {self._deadline_s:g} s",
                hint="try again later, or raise the deadline",
            ) from None

    async def _localize(
        self, snapshot: Snapshot, query: PhotoQuery, deadline: float
    ) -> Localization:
        snapshot.encoder.view(query.view)  # an unknown view must not cost a decode
        decoded = await self._decode.submit(snapshot, query, deadline=deadline)
        photo: _Decoded = decoded.result
        encoded = await self._encode.submit(
            (snapshot, query.view), photo.prepared.tensor, deadline=deadline
        )
        searched = await self._search.submit(snapshot, (encoded.result, query), deadline=deadline)
        found: SearchResult = searched.result
        started = time.perf_counter()
        place = estimate_place(snapshot, found, query.view)
        scores = found.scores[0]
        return Localization(
            snapshot=snapshot,
            rows=found.rows[0, : query.k],
            scores=scores[: query.k],
            margin=float(scores[0] - scores[1]) if len(scores) > 1 else None,
            estimate=place,
            warnings=photo.prepared.warnings,
            stage_s={
                "decode": photo.decode_s,
                "queue": decoded.queue_s + encoded.queue_s + searched.queue_s,
                "encode": photo.prepare_s + encoded.run_s,
                "search": searched.run_s,
                "estimate": time.perf_counter() - started,
            },
        )

    async def _in_pool(self, name: str, run: Callable[..., ResultT], *arguments: Any) -> ResultT:  # noqa: ANN401
        return await asyncio.get_running_loop().run_in_executor(self._pools[name], run, *arguments)

    def _decode_batch(self, snapshot: Snapshot, queries: list[PhotoQuery]) -> list[_Decoded]:
        return [decode_and_prepare(snapshot, query, self._limits) for query in queries]

    def close(self) -> None:
        """Ends the pools' threads once they are idle."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)


def decode_and_prepare(snapshot: Snapshot, query: PhotoQuery, limits: ImageLimits) -> _Decoded:
    """Bytes to the encoder's input; JPEGs are decoded no larger than the view needs."""
    view = snapshot.encoder.view(query.view)
    started = time.perf_counter()
    photo = decode(query.data, limits=limits, target_px=view.decode_px)
    decoded = time.perf_counter()
    prepared = prepare(photo, view, heading_deg=query.heading_deg, hfov_deg=query.hfov_deg)
    return _Decoded(prepared, decoded - started, time.perf_counter() - decoded)


def _encode_batch(key: EncodeKey, tensors: list[Float32]) -> list[Float32]:
    snapshot, view = key
    return list(snapshot.encoder.encode(np.stack(tensors), view))


def _search_batch(
    snapshot: Snapshot, items: list[tuple[Float32, PhotoQuery]]
) -> list[SearchResult]:
    return [
        snapshot.gallery.search(embedding[None], max(query.k, CANDIDATES), prior=query.prior)
        for embedding, query in items
    ]


def estimate_place(
    snapshot: Snapshot, found: SearchResult, view: ViewName
) -> LocationEstimate | None:
    """The estimate from the best candidates; None without a calibration for the view."""
    calibration = snapshot.encoder.manifest.calibration.get(view)
    if calibration is None:
        return None
    rows, tiles = found.rows[0, :CANDIDATES], snapshot.gallery.tiles
    return estimate(
        Candidates(
            scores=found.scores[0, :CANDIDATES].astype(np.float64),
            lon=tiles.lon[rows],
            lat=tiles.lat[rows],
            size_m=tiles.size_m[rows],
        ),
        calibration,
    )
