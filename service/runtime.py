"""What one app holds while it lives: settings, metrics, keys, the live snapshot, the localizer."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from crossfix.errors import CrossfixError
from service.errors import NotReady, Overloaded
from service.galleries.served import is_answering
from service.galleries.snapshot import Snapshot, SnapshotHolder
from service.guard.key_ring import KeyRing
from service.guard.rate_limit import RateLimit
from service.http.body_limit import MULTIPART_OVERHEAD_BYTES
from service.http.uploads import CURRENT_UPLOAD, Uploads
from service.kept_images import KeptImages
from service.localizer import Localizer
from service.logs.log import EVENTS
from service.loopback import is_loopback
from service.observing.metrics import POOLS, Metrics, PoolMetrics, watch_loop_lag
from service.observing.tracing import Tracing
from service.rebuild.jobs import Jobs
from service.settings import Settings
from service.start_checks import refuse_unsafe_start

UPLOADS_PER_PLACE = 4  # bodies that may be on their way for each photo that may be worked on


class Runtime:
    """One app's parts and their life.

    Attributes:
        keys: of the callers; None without a keys file.
        rate_limit: how many photos each caller may send.
        uploads: bodies on their way in, and the bytes of all that are not answered.
        jobs: rebuilds of the gallery.
        kept_images: where photos are kept; None unless that is switched on.
        draining: whether the service is about to stop, and says so at /readyz.

    Args:
        snapshot: an already verified one, or None to load it in the background at start.
        on_failed_start: called when that load fails; the app then stays not ready.

    Raises:
        KeysUnusable: the keys file cannot be used.
        SettingsUnsafe: see :func:`refuse_unsafe_start`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        snapshot: Snapshot | None,
        on_failed_start: Callable[[CrossfixError], None] | None,
    ) -> None:
        self.settings = settings
        self.keys = KeyRing(settings.keys) if settings.keys else None
        refuse_unsafe_start(settings, self.keys)
        self.metrics = Metrics()
        self.metrics.ready.set_function(lambda: float(self.is_ready))
        self.tracing = Tracing(settings)
        self.rate_limit = RateLimit(per_minute=settings.rate_per_minute, burst=settings.rate_burst)
        self.uploads = Uploads(
            most=UPLOADS_PER_PLACE * settings.max_in_flight,
            most_bytes=settings.max_in_flight * settings.max_body_bytes,
            largest_bytes=settings.max_batch_body_bytes + MULTIPART_OVERHEAD_BYTES,
        )
        self.holder = SnapshotHolder(settings, on_change=self._adopt, on_result=self._note_reload)
        self.jobs = Jobs(
            settings,
            metrics=self.metrics,
            on_published=lambda: self.holder.reload_if_new(at_once=True),
        )
        self.kept_images: KeptImages | None = None
        self._given = snapshot
        self._on_failed_start = on_failed_start
        self._localizer: Localizer | None = None
        self._tasks: set[asyncio.Task[object]] = set()
        self._admitted = 0
        self.draining = False

    @property
    def is_ready(self) -> bool:
        """Whether /readyz answers 200."""
        live = self.holder.live
        return live is not None and not self.draining and is_answering(live.gallery)

    @property
    def localizer(self) -> Localizer:
        """The localizer; exists from the first snapshot on.

        Raises:
            NotReady: before.
        """
        if self._localizer is None:
            raise NotReady("no gallery is loaded yet", hint="wait until /readyz answers 200")
        return self._localizer

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Counts one photo from when its body is whole until its answer.

        Entered before the body is read: a body that could not be worked on is not asked for. If
        all places are taken by the time it is whole, reading it raises :class:`Overloaded`.

        Raises:
            NotReady: nothing is loaded yet.
            Overloaded: `max_in_flight` photos are already here, or the wait would be too long.
        """
        self.holder.current()
        self.localizer.require_room()  # before the body: refusing late costs both sides the upload
        self._require_place()
        taken = 0

        def take() -> None:
            nonlocal taken
            self._require_place()
            self._admitted += 1
            taken = 1

        upload = CURRENT_UPLOAD.get()
        if upload is None:
            take()
        else:
            upload.when_whole(take)
        try:
            yield
        finally:
            self._admitted -= taken

    def _require_place(self) -> None:
        if self._admitted >= self.settings.max_in_flight:
            raise Overloaded(
                f"{self._admitted} photos are already being worked on",
                reason="in_flight_limit",
                retry_after_s=1.0,
            )

    async def start(self) -> None:
        """Adopts the given snapshot or starts loading one; then watches for new versions."""
        self._warn_of_an_open_door()
        settings = self.settings
        if settings.keep_images is not None:
            self.kept_images = KeptImages(
                settings.keep_images, max_bytes=settings.keep_images_bytes, metrics=self.metrics
            )
        if self._given is not None:
            self.holder.replace(self._given)
        try:
            await self.jobs.start()
        except Exception as problem:
            self._fail_start(problem)
        self._spawn(self._keep_snapshot())
        self._spawn(watch_loop_lag(self.metrics))

    async def stop(self) -> None:
        """Ends the watchers, a running rebuild and the pools."""
        await self.jobs.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self.holder.close)
        if self._localizer is not None:
            self._localizer.close()
        if self.kept_images is not None:
            await asyncio.to_thread(self.kept_images.close)
        await asyncio.to_thread(self.tracing.close)

    def reload_now(self) -> None:
        """Reads the keys file again and looks for a new gallery version, for SIGHUP."""
        EVENTS.info("reload_asked")
        if self.keys is not None:
            self.keys.look_again(at_once=True)
        self._spawn(self.holder.reload_if_new(at_once=True))

    def _spawn(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep_snapshot(self) -> None:
        if self.holder.live is None:
            try:
                await self.holder.load_first()
            except Exception as problem:
                self._fail_start(problem)
                return
        await self.holder.watch()

    def _fail_start(self, problem: Exception) -> None:
        if not isinstance(problem, CrossfixError):
            EVENTS.error("start_failed", exc_info=problem)
            problem = CrossfixError(
                f"loading failed with {type(problem).__name__}", hint="the log has the trace"
            )
        if self._on_failed_start is None:
            EVENTS.error("start_failed", extra={"fields": {"reason": str(problem)}})
        else:
            self._on_failed_start(problem)

    def _adopt(self, snapshot: Snapshot) -> None:
        if self._localizer is None:
            observers = {pool: PoolMetrics(self.metrics, pool) for pool in POOLS}
            self._localizer = Localizer(self.settings, snapshot.encoder.provider, dict(observers))
        self.metrics.describe_snapshot(snapshot, self.settings)
        EVENTS.info(
            "snapshot_live",
            extra={
                "fields": {
                    "gallery_version": snapshot.version,
                    "tiles": len(snapshot.gallery),
                    "encoder": snapshot.encoder.manifest.name,
                    "provider": snapshot.encoder.provider,
                }
            },
        )

    def _note_reload(self, result: str, sentence: str) -> None:
        self.metrics.observe_reload(result)
        log = EVENTS.info if result == "ok" else EVENTS.error
        log("reload", extra={"fields": {"result": result, "reason": sentence}})

    def _warn_of_an_open_door(self) -> None:
        if self.keys is None and not is_loopback(self.settings.host):
            why = "no keys file: anybody who reaches this address may send photos"
            EVENTS.warning("open_to_all", extra={"fields": {"reason": why}})
