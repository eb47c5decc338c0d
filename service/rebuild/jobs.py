"""Rebuild jobs: one builder at a time, in a process that must not hurt the service."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from crossfix.errors import CrossfixError
from crossfix.gallery import current_version
from service.errors import JobNotFound, JobOver, JobRunning, NotReady
from service.logs.log import EVENTS
from service.observing.metrics import Metrics
from service.rebuild.builder import Builder
from service.rebuild.commands import Plan, builder_command, builder_environment, make_plan
from service.rebuild.orders import RebuildOrder
from service.rebuild.owners import JobLock, Owners
from service.rebuild.records import KEPT_RECORDS, LOG_ENDING, OVER, Job, JobRecords, JobState, now
from service.rebuild.telling import (
    apply_event,
    explain_end,
    not_started,
    stopped_with_the_service,
)
from service.rebuild.wording import PathScrubber
from service.settings import Settings

CANCEL_PATIENCE_S = 10.0  # from SIGINT to SIGKILL
STOP_PATIENCE_S = 5.0
RECORD_EVERY_S = 2.0
LOOK_EVERY_S = 5.0
_LIVE_STEPS = ("current_replaced", "pruned")
P = ParamSpec("P")
T = TypeVar("T")


class Jobs:
    """All rebuild jobs of the services that share a folder of records; runs those of one service.

    Args:
        on_published: awaited when a builder has made a version live.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        metrics: Metrics,
        on_published: Callable[[], Awaitable[object]],
        cancel_patience_s: float = CANCEL_PATIENCE_S,
    ) -> None:
        self._settings, self._metrics, self._on_published = settings, metrics, on_published
        self._cancel_patience_s = cancel_patience_s
        self._records = JobRecords(settings.jobs_folder)
        self._owners = Owners(self._records)
        self._lock: JobLock | None = None
        self._watch: asyncio.Task[None] | None = None
        self._jobs: dict[str, Job] = {}
        self._ours: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        self._taking_over: asyncio.Future[object] | None = None
        self._builder: Builder | None = None
        self._running: str | None = None
        self._stopping: JobState | None = None
        self._killer: asyncio.TimerHandle | None = None
        self._closed = False
        self._recorded = 0.0
        # One thread, so that records are written in the order of what they tell.
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="jobs")
        self._scrubber = PathScrubber(
            [
                *((root, "") for root in settings.rebuild_roots),
                *([(settings.rebuild_recipes, "")] if settings.rebuild_recipes else []),
                (settings.gallery, "the gallery"),
                (settings.encoder, "the encoder"),
                (settings.jobs_folder, "jobs"),
            ]
        )
        for state in OVER:
            metrics.jobs.labels(state)

    async def start(self) -> None:
        """Reads the records; jobs that a killed service left running become `interrupted`."""
        found = await self._on_disk(self._read, frozenset())
        if found:
            await self._on_disk(self._records.sweep)
        for job in await self._on_disk(self._records.prune, found):
            self._jobs[job.id] = job
        self._watch = asyncio.get_running_loop().create_task(self._look_around())

    def _read(self, but: frozenset[str]) -> list[Job]:
        return [job if job.is_over else self._settle(job) for job in self._records.read(but=but)]

    def _settle(self, job: Job) -> Job:
        """A job of another service: left alone while that may live, else `interrupted`."""
        lock = self._owners.take_orphan(job.id)
        if lock is None:
            return job
        job = self._records.read_one(job.id) or job
        if not job.is_over:
            changes = {
                "state": "interrupted",
                "ended": now(),
                "error": stopped_with_the_service(),
            }
            job = job.model_copy(update=changes)
            self._records.write(job)
            self._metrics.jobs.labels(job.state).inc()
        lock.release()
        return job

    async def _look_around(self) -> None:
        """Shows that we live, and sees how other services' jobs are, for ever."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if self._lock is not None:
                await self._on_disk(self._lock.beat)
            over = frozenset(job.id for job in self._jobs.values() if job.is_over)
            theirs = await self._on_disk(self._read, over | self._ours)
            if theirs:
                known = sorted((self._jobs | {job.id: job for job in theirs}).items())
                self._jobs = dict(known[-KEPT_RECORDS:])
                if self._running is not None:
                    self._jobs.setdefault(self._running, dict(known)[self._running])

    async def stop(self) -> None:
        """Tells a running builder to stop; its finished parts stay for the next job."""
        self._closed = True
        if self._watch is not None:
            self._watch.cancel()
        if self._task is not None and not self._task.done():
            self._tell_to_stop("interrupted", patience_s=STOP_PATIENCE_S)
            if self._taking_over is not None:
                self._taking_over.cancel()  # the next service loads what is live by itself
            await asyncio.gather(self._task, return_exceptions=True)
        self._disk.shutdown(wait=False)

    def newest_first(self) -> list[Job]:
        """Every job that is remembered."""
        return list(reversed(self._jobs.values()))

    def get(self, job_id: str) -> Job:
        """One job.

        Raises:
            JobNotFound: none of this id.
        """
        try:
            return self._jobs[job_id]
        except KeyError:
            raise JobNotFound(
                "there is no such job", hint="GET /gallery/jobs lists them; old ones are forgotten"
            ) from None

    async def submit(self, order: RebuildOrder, *, requested_by: str = "") -> Job:
        """Starts a job.

        Raises:
            Forbidden: a setting that it needs is not set.
            InvalidParameter: it names what is not there.
            JobRunning: one at a time.
            NotReady: the service is stopping.
        """
        self._require_idle()
        plan = await asyncio.to_thread(make_plan, order, self._settings)
        self._require_idle()  # nothing is awaited from here to the job's start
        created = datetime.now(UTC)
        job = Job(
            id=f"{created:%Y%m%dT%H%M%S}{created.microsecond // 1000:03d}Z-{secrets.token_hex(4)}",
            state="queued",
            created=now(),
            requested_by=requested_by,
            request=order.model_dump(mode="json", exclude_defaults=True),
        )
        self._running, self._stopping = job.id, None
        self._jobs[job.id] = job
        self._ours.add(job.id)
        self._metrics.job_running.set(1)
        self._metrics.job_progress.set(0)
        self._task = asyncio.get_running_loop().create_task(self._run(job.id, plan))
        _log("job_started", job)
        return job

    def _require_idle(self) -> None:
        if self._closed:
            raise NotReady("the service is stopping", hint="ask the next one")
        if self._running is not None:
            raise JobRunning(
                f"job {self._running} is running", hint="wait until it has ended, or cancel it"
            )

    def cancel(self, job_id: str) -> Job:
        """Tells a job to stop; it is `cancelled` a moment later, what is finished stays.

        Raises:
            JobNotFound: none of this id.
            JobOver: it has ended, or has done all that there was to do.
        """
        job = self.get(job_id)
        if job.version is not None and not job.is_over:
            raise JobOver(
                "the job's work is done and can no longer be cancelled",
                hint="POST /gallery/activate brings the version before back",
            )
        if not job.is_over and job_id not in self._ours:
            raise JobOver(
                "the job runs in another service and cannot be cancelled here",
                hint="ask the service that was asked for it",
            )
        if job.is_over or self._running != job_id:
            raise JobOver(f"the job has ended: {job.state}", hint="GET its address for the result")
        self._tell_to_stop("cancelled", patience_s=self._cancel_patience_s)
        return job

    def _tell_to_stop(self, state: JobState, *, patience_s: float) -> None:
        """SIGINT now, SIGKILL later; the builder may be killed at any instant without harm."""
        if self._stopping is None:
            self._stopping = state
        if self._builder is None:
            return  # not started yet: `_run` looks
        self._builder.interrupt()
        if self._killer is not None:
            self._killer.cancel()
        loop = asyncio.get_running_loop()
        self._killer = loop.call_later(patience_s, self._builder.kill)

    async def _run(self, job_id: str, plan: Plan) -> None:
        self._lock = await self._on_disk(self._owners.hold, job_id)
        try:
            await self._record(job_id)
            code, tail = await self._build(job_id, plan)
            end = self._find_end(job_id, code, tail)
        except OSError as problem:
            end = {"state": "failed", "error": not_started(problem)}
        except Exception as problem:
            EVENTS.error("job_failed", exc_info=problem)
            end = {"state": "failed", "error": explain_end(1, ())}
        await self._finish(job_id, end)

    async def _build(self, job_id: str, plan: Plan) -> tuple[int, list[str]]:
        order_file = Path()
        if plan.content is not None:
            order_file = await self._on_disk(self._records.write_order, job_id, plan.content)
        if self._stopping is not None:
            return 0, []
        self._builder = await Builder.start(
            builder_command(plan, order_file, self._settings),
            builder_environment(plan, self._settings),
            log=self._records.path(job_id, LOG_ENDING),
        )
        self._change(job_id, state="planning", started=now())
        if self._stopping is not None:
            self._tell_to_stop(self._stopping, patience_s=self._cancel_patience_s)
        code = await self._builder.listen(lambda event: self._hear(job_id, event))
        return code, list(self._builder.tail)

    def _hear(self, job_id: str, event: dict[str, Any]) -> None:
        before = self._jobs[job_id]
        job = self._jobs[job_id] = apply_event(before, event, self._scrubber)
        self._metrics.job_progress.set(job.progress.share)
        if job.state != before.state or time.monotonic() - self._recorded > RECORD_EVERY_S:
            self._recorded = time.monotonic()
            self._disk.submit(self._records.write, job)

    def _find_end(self, job_id: str, code: int, tail: list[str]) -> dict[str, Any]:
        """What a builder's end means for its job."""
        job = self._jobs[job_id]
        if job.version is None and job.progress.step in _LIVE_STEPS:
            with contextlib.suppress(CrossfixError, OSError):  # it went live just before the end
                version = current_version(self._settings.gallery)
                job = self._change(job_id, version=version, published=True)
        if job.version is not None:
            return {"state": "succeeded", "error": None}
        if self._stopping == "interrupted":
            return {"state": "interrupted", "error": stopped_with_the_service()}
        if self._stopping is not None:
            return {"state": self._stopping, "error": None}
        return {"state": "failed", "error": job.error or explain_end(code, tail)}

    async def _finish(self, job_id: str, end: dict[str, Any]) -> None:
        if self._killer is not None:
            self._killer.cancel()
        self._killer = self._builder = None
        if self._jobs[job_id].published and not self._closed:
            # Before anyone is told of success: who then asks is answered by the new version.
            await self._take_over()
        job = self._change(job_id, ended=now(), **end)
        self._metrics.jobs.labels(job.state).inc()
        self._metrics.job_running.set(0)
        self._metrics.job_progress.set(0)
        self._running = None
        _log("job_ended", job)
        await self._record(job_id)
        lock, self._lock = self._lock, None
        if lock is not None:
            await self._on_disk(lock.release)
        known = list(self._jobs.values())
        kept = {one.id for one in await self._on_disk(self._records.prune, known)}
        for one in known:
            if one.id not in kept:
                self._jobs.pop(one.id, None)

    async def _take_over(self) -> None:
        self._taking_over = asyncio.ensure_future(self._on_published())
        (problem,) = await asyncio.gather(self._taking_over, return_exceptions=True)
        self._taking_over = None
        if isinstance(problem, Exception):  # not where `stop` gave it up
            EVENTS.error("reload_after_job_failed", exc_info=problem)

    def _change(self, job_id: str, **changes: Any) -> Job:  # noqa: ANN401 - fields of Job
        job = self._jobs[job_id] = self._jobs[job_id].model_copy(update=changes)
        return job

    async def _on_disk(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        call = partial(work, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._disk, call)

    async def _record(self, job_id: str) -> None:
        await self._on_disk(self._records.write, self._jobs[job_id])


def _log(event: str, job: Job) -> None:
    fields = {"job": job.id, "state": job.state, "gallery_version": job.version}
    EVENTS.info(event, extra={"fields": fields})
