"""What happens, told to Prometheus: one registry per app."""

import asyncio
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from crossfix.errors import CrossfixError
from crossfix.onnx_session import CPU, Device
from service.errors import (
    BodyTooLarge,
    ClientGone,
    Forbidden,
    MalformedBody,
    Overloaded,
    RateLimited,
    Unauthorized,
    UploadTooSlow,
)
from service.galleries.snapshot import Snapshot
from service.logs.log import lost_lines
from service.observing.metric_families import (
    FORMATS,
    MAP_QUEUE_FULL,
    OTHER,
    POOLS,
    MetricFamilies,
)
from service.photos.localization import Localization
from service.settings import Settings

__all__ = ["POOLS", "Metrics", "PoolMetrics", "fell_back", "watch_loop_lag"]

LAG_INTERVAL_S = 0.25
UPLOAD_FAILURES = (BodyTooLarge, ClientGone, MalformedBody, UploadTooSlow)


class Metrics(MetricFamilies):
    """Everything an operator can see; its counters and histograms are its attributes.

    Attributes:
        last_reload_failure: error code of the last reload; empty after a good one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._live: Snapshot | None = None
        self._scrape: asyncio.Task[bytes] | None = None
        self.last_reload_failure = ""
        self.snapshot_age.set_function(self._age_s)
        self.shards_answering.set_function(self._shards_answering)
        self.registry.register(_LostLines())

    def _age_s(self) -> float:
        return time.time() - self._live.loaded_at if self._live else 0.0

    def _shards_answering(self) -> float:
        gallery = self._live.gallery if self._live else None
        return float(gallery.shards_total - len(gallery.lost_shards)) if gallery else 0.0

    def describe_settings(self, settings: Settings) -> None:
        """Shows the limits that gauges come near to, and the disks that can fill."""
        self.queue_limit.set(settings.queue_limit)
        folders = {
            "gallery": settings.gallery,
            "jobs": settings.jobs_folder,
            "keep_images": settings.keep_images,
        }
        for name, folder in folders.items():
            if folder is not None:
                self.disk_free.labels(name).set_function(_DiskFree(folder))

    def describe_snapshot(self, snapshot: Snapshot, settings: Settings) -> None:
        """Shows the live versions and where the encoder runs."""
        self._live = snapshot
        manifest = snapshot.encoder.manifest
        self.snapshot_info.clear()
        self.snapshot_info.labels(snapshot.version, manifest.name, manifest.embedding_space_id).set(
            1
        )
        self.snapshot_tiles.set(len(snapshot.gallery))
        self.snapshot_bytes.set(snapshot.size_bytes)
        self.gallery_built.set(_unix_time(snapshot.gallery.manifest.created))
        if snapshot.load_s > 0:
            self.reload_seconds.observe(snapshot.load_s)
        self.shards.set(snapshot.gallery.shards_total)
        self.index_fallback.set(int(bool(snapshot.gallery.index_fallback)))
        self.provider_info.clear()
        self.provider_info.labels(settings.device, snapshot.encoder.provider).set(1)
        self.provider_fallback.set(int(fell_back(settings, snapshot.encoder.provider)))
        self.describe_settings(settings)

    def observe_reload(self, result: str) -> None:
        """Counts one reload of the gallery: `ok` or an error code."""
        self.reloads.labels(result).inc()
        self.last_reload_failure = "" if result == "ok" else result
        self.reload_failing.set(int(result != "ok"))

    def observe_request(
        self, *, route: str, status: int, seconds: float, error: BaseException | None
    ) -> None:
        """Counts one request.

        Args:
            route: the matched route's template, or `unmatched`; never a path.
            error: that was answered, if any.
        """
        self.requests.labels(route, str(status)).inc()
        self.request_seconds.labels(route).observe(seconds)
        if isinstance(error, CrossfixError):
            self.observe_failure(error)

    def observe_failure(self, error: CrossfixError) -> None:
        """Counts one failure, of a request or of one photo in a batch."""
        self.errors.labels(error.code).inc()
        if isinstance(error, Overloaded) and error.reason == MAP_QUEUE_FULL:
            self.map_rejected.inc()
        elif isinstance(error, Overloaded):
            self.rejected.labels(error.reason).inc()
        elif isinstance(error, RateLimited):
            self.rate_limited.inc()
        elif isinstance(error, Unauthorized | Forbidden):
            self.denied.labels(error.reason).inc()
        elif isinstance(error, UPLOAD_FAILURES):
            self.upload_failures.labels(error.code).inc()

    def observe_photo(self, *, image_format: str, pixels: int) -> None:
        """Records one decoded photo: its format as Pillow names it, and its size."""
        name = image_format.lower()
        self.photo_formats.labels(name if name in FORMATS else OTHER).inc()
        self.photo_megapixels.observe(pixels / 1e6)

    def observe_answer(self, answer: Localization, view: str, with_prior: bool) -> None:
        """Records one answered photo."""
        self.observe_photo(image_format=answer.photo_format, pixels=answer.photo_px)
        for stage, seconds in answer.stage_s.items():
            self.stage_seconds.labels(stage).observe(seconds)
        self.answer_seconds.labels(view).observe(answer.timeline[-1][2] - answer.timeline[0][1])
        self.top1_score.labels(view).observe(float(answer.scores[0]))
        if answer.margin is not None:
            self.top1_margin.labels(view).observe(answer.margin)
        if answer.estimate is not None:
            self.confidence.labels(view).observe(answer.estimate.confidence)
            self.refusals.labels(view).inc(int(answer.estimate.refused))
        self.priors.inc(int(with_prior))
        self.partial_answers.inc(int(answer.reach.shards_missing > 0))

    def render(self) -> bytes:
        """The Prometheus text format; milliseconds of work."""
        return generate_latest(self.registry)

    async def scrape(self) -> bytes:
        """As :meth:`render`, in a thread; however many ask at once, one of them works."""
        if self._scrape is None or self._scrape.done():
            self._scrape = asyncio.ensure_future(asyncio.to_thread(self.render))
        return await asyncio.shield(self._scrape)


@dataclass(frozen=True)
class PoolMetrics:
    """One pool's events into the metrics; a `BatchObserver`."""

    metrics: Metrics
    pool: str

    def batch_started(self, size: int) -> None:
        """Counts the batch's size."""
        self.metrics.batch_size.labels(self.pool).observe(size)

    def queue_changed(self, depth: int) -> None:
        """Shows the queue's depth."""
        self.metrics.queue_depth.labels(self.pool).set(depth)

    def expired(self) -> None:
        """Counts a photo whose deadline passed."""
        self.metrics.expired.labels(self.pool).inc()

    def cancelled(self) -> None:
        """Counts a photo whose caller left."""
        self.metrics.cancelled.labels(self.pool).inc()


def _unix_time(told: str) -> float:
    """Of an ISO 8601 time, UTC where it does not say; NaN where it is none."""
    try:
        moment = datetime.fromisoformat(told)
    except ValueError:
        return float("nan")
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


@dataclass(frozen=True)
class _DiskFree:
    folder: Path

    def __call__(self) -> float:
        """Bytes free where the folder is, or will be; NaN where nobody can tell."""
        for place in (self.folder, *self.folder.absolute().parents):
            try:
                state = os.statvfs(place)
            except FileNotFoundError:
                continue
            except OSError:
                break
            return float(state.f_bavail * state.f_frsize)
        return float("nan")


class _LostLines(Collector):
    """Reads the log's own count at each scrape."""

    def collect(self) -> Iterator[Metric]:
        """One counter."""
        yield CounterMetricFamily(
            "crossfix_log_lines_lost",
            "Log lines that never reached stdout: it was too slow, full or closed.",
            value=lost_lines(),
        )


async def watch_loop_lag(metrics: Metrics) -> None:
    """Measures for ever how late the event loop wakes this task."""
    while True:
        due = time.monotonic() + LAG_INTERVAL_S
        await asyncio.sleep(LAG_INTERVAL_S)
        metrics.loop_lag.observe(max(0.0, time.monotonic() - due))


def fell_back(settings: Settings, provider: str) -> bool:
    """Whether the encoder runs on the CPU although the runtime offered a GPU for this device."""
    return provider == CPU and len(Device.parse(settings.device).providers()) > 1
