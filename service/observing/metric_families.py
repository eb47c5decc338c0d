"""Every metric's name, meaning, labels and buckets.

Labels only ever hold words that this service chose: routes' templates, statuses, error codes,
pools, views. Nothing a caller sends becomes a label, or memory would grow with their fantasy.
"""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

from crossfix.view import QUERY_VIEWS
from service.photos.localization import STAGES

MS = 0.001
STAGE_BUCKETS_S = tuple(
    ms * MS for ms in (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 30000)
)
LAG_BUCKETS_S = tuple(ms * MS for ms in (1, 2, 5, 10, 20, 50, 100, 250, 500, 1000, 5000))
RELOAD_BUCKETS_S = (0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 900)
BODY_BUCKETS = (1e4, 1e5, 5e5, 1e6, 2e6, 5e6, 1e7, 2e7, 5e7, 1e8)
MEGAPIXEL_BUCKETS = (0.1, 0.3, 1, 2, 5, 8, 12, 16, 24, 48, 80)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64)
SCORE_BUCKETS = tuple(round(-0.2 + 0.1 * step, 1) for step in range(13))
MARGIN_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
CONFIDENCE_BUCKETS = tuple(round(0.1 * step, 1) for step in range(1, 11))
POOLS = ("decode", "encode", "search")
FORMATS = ("jpeg", "png", "webp", "tiff", "heif")
OTHER = "other"
MAP_QUEUE_FULL = "map_queue_full"  # why map tiles, not photos, are answered 503

# The moment a series was made says nothing here and doubles what is scraped.
disable_created_metrics()  # type: ignore[no-untyped-call]


class MetricFamilies:
    """Defines all metrics in a registry of its own, so that two apps share none."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._define_http()
        self._define_queues()
        self._define_answers()
        self._define_photos()
        self._define_snapshot()
        self._define_process()
        self._define_access()
        self._define_jobs()
        self._begin_at_zero()

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
            "request_body_bytes", "Size of a request's body, as far as it was read.", BODY_BUCKETS
        )
        self.errors = self._counter("errors", "Failures answered, by error code.", "code")
        self.upload_failures = self._counter(
            "upload_failures", "Bodies that did not arrive whole, by error code.", "code"
        )

    def _define_queues(self) -> None:
        self.batch_size = self._histogram("batch_size", "Items per batch.", BATCH_BUCKETS, "pool")
        self.queue_depth = self._gauge("queue_depth", "Photos waiting for a pool.", "pool")
        self.queue_limit = self._gauge(
            "queue_limit", "Photos that may wait for one pool; more are answered 503."
        )
        self.rejected = self._counter(
            "rejected", "Photos refused with 503, by the limit that was hit.", "reason"
        )
        self.map_rejected = self._counter(
            "map_tiles_rejected", "Map tiles refused with 503: too many were waiting."
        )
        self.expired = self._counter(
            "expired", "Photos dropped in a queue because their deadline passed.", "pool"
        )
        self.cancelled = self._counter(
            "cancelled", "Photos dropped in a queue because their caller left.", "pool"
        )

    def _define_answers(self) -> None:
        self.answer_seconds = self._histogram(
            "answer_seconds",
            "From a photo's complete body to its answer; of answered photos only.",
            STAGE_BUCKETS_S,
            "view",
        )
        self.stage_seconds = self._histogram(
            "stage_seconds",
            "Time per photo and stage; preprocessing counts as encode.",
            STAGE_BUCKETS_S,
            "stage",
        )
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

    def _define_photos(self) -> None:
        self.photo_formats = self._counter("photo_formats", "Photos decoded, by format.", "format")
        self.photo_megapixels = self._histogram(
            "photo_megapixels", "Size of decoded photos as their headers state it.",
            MEGAPIXEL_BUCKETS,
        )  # fmt: skip
        self.images_kept = self._counter("images_kept", "Photos written to the keep_images folder.")
        self.images_not_kept = self._counter(
            "images_not_kept", "Photos that could not be written there; the answer went out."
        )

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
        self.snapshot_age = self._gauge(
            "snapshot_age_seconds", "Time since the live gallery was loaded."
        )
        self.gallery_built = self._gauge(
            "gallery_built_timestamp_seconds",
            "When the live gallery was built, Unix time; NaN where it does not say.",
        )
        self.gallery_built.set(float("nan"))
        self.index_fallback = self._gauge(
            "index_fallback", "1 when another index than the gallery's is searched."
        )
        self.shards = self._gauge(
            "shards", "Shards of the live epoch; 1 for a gallery of one piece."
        )
        self.shards_answering = self._gauge(
            "shards_answering", "Shards of the live epoch that can be searched now."
        )
        self.partial_answers = self._counter(
            "partial_answers", "Photos answered although a shard that was asked did not."
        )
        self.reload_seconds = self._histogram(
            "reload_seconds", "Time to load and verify a new gallery version.", RELOAD_BUCKETS_S
        )
        self.reloads = self._counter(
            "reload_results", "Gallery reloads by result: ok or an error code.", "result"
        )
        self.activations = self._counter(
            "activations", "POST /gallery/activate by result: ok or an error code.", "result"
        )
        self.reload_failing = self._gauge(
            "reload_failing", "1 when the newest gallery version was refused; an older one serves."
        )
        self.provider_info = self._gauge(
            "provider_info", "Execution provider of the encoder; always 1.", "device", "provider"
        )
        self.provider_fallback = self._gauge(
            "provider_fallback", "1 when a GPU was wished for and the CPU is used."
        )

    def _define_process(self) -> None:
        self.build_info = self._gauge("build_info", "This service; always 1.", "version")
        self.ready = self._gauge("ready", "1 when /readyz answers 200.")
        self.draining = self._gauge("draining", "1 after SIGTERM, while requests are still taken.")
        self.loop_lag = self._histogram(
            "loop_lag_seconds",
            "How late the event loop wakes a sleeper; everything waits when it is blocked.",
            LAG_BUCKETS_S,
        )
        self.disk_free = self._gauge(
            "disk_free_bytes", "Free space of the disk that holds a folder of ours.", "folder"
        )

    def _define_access(self) -> None:
        self.denied = self._counter("denied", "Requests answered 401 or 403, by reason.", "reason")
        self.rate_limited = self._counter(
            "rate_limited", "Requests answered 429: the caller sends more than it may."
        )

        self.keys_problem = self._gauge(
            "keys_problem", "1 when the keys file is broken; the keys read before still count."
        )

    def _define_jobs(self) -> None:
        self.jobs = self._counter("jobs", "Rebuild jobs that ended, by how.", "state")
        self.job_running = self._gauge("job_running", "1 while a rebuild runs.")
        self.job_progress = self._gauge(
            "job_progress_ratio", "Share of the running rebuild's tiles that are done, 0 to 1."
        )

    def _begin_at_zero(self) -> None:
        """A counter that first appears as 1 has no rise that `rate` could see."""
        self.reloads.labels("ok")
        self.activations.labels("ok")
        for pool in POOLS:
            for family in (self.queue_depth, self.expired, self.cancelled, self.batch_size):
                family.labels(pool)
        for stage in STAGES:
            self.stage_seconds.labels(stage)
        for view in QUERY_VIEWS:
            self.refusals.labels(view)
            self.answer_seconds.labels(view)
        for name in FORMATS:
            self.photo_formats.labels(name)
