"""What one app holds while it lives: settings, metrics, the live snapshot, the localizer."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from crossfix.errors import CrossfixError
from service.errors import NotReady, Overloaded
from service.localizer import Localizer
from service.log import EVENTS
from service.metrics import POOLS, Metrics, PoolMetrics
from service.settings import Settings
from service.snapshot import Snapshot, SnapshotHolder


class Runtime:
    """One app's parts and their life.

    Args:
        snapshot: an already verified one, or None to load it in the background at start.
        on_failed_start: called when that load fails; the app then stays not ready.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        snapshot: Snapshot | None,
        on_failed_start: Callable[[CrossfixError], None] | None,
    ) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.metrics.ready.set_function(lambda: float(self.is_ready))
        self.holder = SnapshotHolder(settings, on_change=self._adopt, on_result=self._note_reload)
        self._given = snapshot
        self._on_failed_start = on_failed_start
        self._localizer: Localizer | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._admitted = 0
        self.draining = False

    @property
    def is_ready(self) -> bool:
        """Whether /readyz answers 200."""
        return self.holder.live is not None and not self.draining

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
        """Counts one photo from before its body is read until its answer.

        Raises:
            NotReady: nothing is loaded yet.
            Overloaded: `max_in_flight` photos are already here.
        """
        self.holder.current()
        if self._admitted >= self.settings.max_in_flight:
            raise Overloaded(
                f"{self._admitted} photos are already being worked on",
                reason="in_flight_limit",
                retry_after_s=1.0,
            )
        self._admitted += 1
        try:
            yield
        finally:
            self._admitted -= 1

    def start(self) -> None:
        """Adopts the given snapshot or starts loading one; then watches for new versions."""
        if self._given is not None:
            self.holder.replace(self._given)
        self._keeper = asyncio.get_running_loop().create_task(self._keep_snapshot())

    async def stop(self) -> None:
        """Ends the watcher and the pools."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        self.holder.close()
        if self._localizer is not None:
            self._localizer.close()

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
        self.metrics.reloads.labels(result).inc()
        log = EVENTS.info if result == "ok" else EVENTS.error
        log("reload", extra={"fields": {"result": result, "reason": sentence}})
