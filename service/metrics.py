"""Prometheus metrics, one registry per app; each help text says what its number means."""

import time
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from crossfix.onnx_session import CPU, Device
from service.localizer import STAGES, Localization
from service.settings import Settings
from service.snapshot import Snapshot

MS = 0.001
STAGE_BUCKETS_S = tuple(
    ms * MS for ms in (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 30000)
)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64)
SCORE_BUCKETS = tuple(round(-0.2 + 0.1 * step, 1) for step in range(13))
MARGIN_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
CONFIDENCE_BUCKETS = tuple(round(0.1 * step, 1) for step in range(1, 11))
POOLS = ("decode", "encode", "search")


class Metrics:
    """Everything an operator can see."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._live: Snapshot | None = None
        self._define_http()
        self._define_queues()
        self._define_answers()
        self._define_snapshot()
        self._define_access()
        self._define_jobs()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"crossfix_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"crossfix_{name}", text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(f"crossfix_{name}", text, labels, buckets=buckets, registry=self.registry)

    def _define_http(self) -> None:
        self.requests = self._counter("requests", "Answered requests.", "route", "status")
        self.request_seconds = self._histogram(
            "request_seconds",
            "Whole request, first byte in to last byte out.",
            STAGE_BUCKETS_S,
            "route",
        )
        self.in_flight = self._gauge("in_flight_requests", "Requests being worked on.")
        self.body_bytes = self._histogram(
            "request_body_bytes",
            "Size of request bodies.",
            (1e4, 1e5, 5e5, 1e6, 2e6, 5e6, 1e7, 2e7, 5e7),
        )

    def _define_queues(self) -> None:
        self.batch_size = self._histogram("batch_size", "Items per batch.", BATCH_BUCKETS, "pool")
        self.queue_depth = self._gauge("queue_depth", "Photos waiting for a pool.", "pool")
        self.rejected = self._counter(
            "rejected", "Photos refused with 503, by the limit that was hit.", "reason"
        )
        self.expired = self._counter(
            "expired", "Photos dropped in a queue because their deadline passed.", "pool"
        )
        self.cancelled = self._counter(
            "cancelled", "Photos dropped in a queue because their caller left.", "pool"
        )
        for pool in POOLS:
            self.queue_depth.labels(pool)
            self.expired.labels(pool)
            self.cancelled.labels(pool)

    def _define_answers(self) -> None:
        self.stage_seconds = self._histogram(
            "stage_seconds",
            "Time per photo and stage; preprocessing counts as encode.",
            STAGE_BUCKETS_S,
            "stage",
        )
        for stage in STAGES:
            self.stage_seconds.labels(stage)
        self.top1_score = self._histogram(
            "top1_score",
            "Cosine of the best tile; drifts when photos or season change.",
            SCORE_BUCKETS,
            "view",
        )
        self.top1_margin = self._histogram(
            "top1_margin", "Best tile's cosine less the second's.", MARGIN_BUCKETS, "view"
        )
        self.confidence = self._histogram(
            "confidence",
            "Stated probability that the place is within the radius.",
            CONFIDENCE_BUCKETS,
            "view",
        )
        self.refusals = self._counter("refusals", "Photos answered as not in this gallery.", "view")
        self.priors = self._counter("priors", "Photos sent with a geographic prior.")

    def _define_snapshot(self) -> None:
        self.snapshot_info = self._gauge(
            "snapshot_info",
            "The live versions; always 1.",
            "gallery_version",
            "encoder",
            "embedding_space_id",
        )
        self.snapshot_tiles = self._gauge("snapshot_tiles", "Tiles of the live gallery.")
        self.snapshot_bytes = self._gauge(
            "snapshot_bytes", "Size of the live gallery version's files."
        )
        self.reload_seconds = self._histogram(
            "reload_seconds",
            "Time to load and verify a new gallery version.",
            (0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 900),
        )
        self.snapshot_age = self._gauge(
            "snapshot_age_seconds", "Time since the live gallery was loaded."
        )
        self.snapshot_age.set_function(self._age_s)
        self.ready = self._gauge("ready", "1 when /readyz answers 200.")
        self.reloads = self._counter(
            "reload_results", "Gallery reloads by result: ok or an error code.", "result"
        )
        self.reloads.labels("ok")
        self.provider_info = self._gauge(
            "provider_info", "Execution provider of the encoder; always 1.", "device", "provider"
        )
        self.provider_fallback = self._gauge(
            "provider_fallback", "1 when a GPU was wished for and the CPU is used."
        )
        self.build_info = self._gauge("build_info", "This service; always 1.", "version")

    def _define_access(self) -> None:
        self.denied = self._counter("denied", "Requests answered 401 or 403, by reason.", "reason")
        self.rate_limited = self._counter(
            "rate_limited", "Photos answered 429: the caller sends more than it may."
        )
        self.images_kept = self._counter("images_kept", "Photos written to the keep_images folder.")
        self.images_not_kept = self._counter(
            "images_not_kept", "Photos that could not be written there; the answer went out."
        )

    def _define_jobs(self) -> None:
        self.jobs = self._counter("jobs", "Rebuild jobs that ended, by how.", "state")
        self.job_running = self._gauge("job_running", "1 while a rebuild runs.")
        self.job_progress = self._gauge(
            "job_progress_ratio", "Share of the running rebuild's tiles that are done, 0 to 1."
        )

    def _age_s(self) -> float:
        return time.time() - self._live.loaded_at if self._live else 0.0

    def describe_snapshot(self, snapshot: Snapshot, settings: Settings) -> None:
        """Shows the live versions and where the encoder runs."""
        self._live = snapshot
        manifest = snapshot.encoder.manifest
        self.snapshot_info.clear()
        self.snapshot_info.labels(snapshot.version, manifest.name, manifest.embedding_space_id).set(
            1
        )
        self.snapshot_tiles.set(len(snapshot.gallery))
        self.provider_info.clear()
        self.provider_info.labels(settings.device, snapshot.encoder.provider).set(1)
        self.provider_fallback.set(int(fell_back(settings, snapshot.encoder.provider)))

    def observe_answer(self, answer: Localization, view: str, with_prior: bool) -> None:
        """Records one answered photo."""
        for stage, seconds in answer.stage_s.items():
            self.stage_seconds.labels(stage).observe(seconds)
        self.top1_score.labels(view).observe(float(answer.scores[0]))
        if answer.margin is not None:
            self.top1_margin.labels(view).observe(answer.margin)
        if answer.estimate is not None:
            self.confidence.labels(view).observe(answer.estimate.confidence)
            self.refusals.labels(view).inc(int(answer.estimate.refused))
        self.priors.inc(int(with_prior))

    def render(self) -> bytes:
        """The Prometheus text format."""
        return generate_latest(self.registry)


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


def fell_back(settings: Settings, provider: str) -> bool:
    """Whether the encoder runs on the CPU although the runtime offered a GPU for this device."""
    return provider == CPU and len(Device.parse(settings.device).providers()) > 1
