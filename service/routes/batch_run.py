"""One batch of photos through the localizer: a few at once, each failing alone."""

import asyncio
import json
import time
from typing import Any

from crossfix.errors import CrossfixError, InvalidParameter
from service.errors import INTERNAL_MESSAGE, DeadlineExceeded, Overloaded, status_of
from service.logs.log import REQUESTS
from service.photos.answers import answer_of
from service.photos.localization import STAGES, Localization
from service.photos.photo_body import SentForm, SentPhoto
from service.photos.photo_queries import overridden, photo_query
from service.photos.schemas import BatchAnswer, BatchResult, LocalizeQuery, StageTimes
from service.runtime import Runtime
from service.schemas import EncoderName, ErrorDetail, GalleryName

LONGEST_PAUSE_S = 1.0
SHORTEST_PAUSE_S = 0.02
PARAMETERS = "parameters"


def batch_parameters(query: LocalizeQuery, form: SentForm) -> list[LocalizeQuery]:
    """Each photo's parameters: those for all, and what the form's list says of this one.

    Raises:
        InvalidParameter: the list is none, or not as long as there are photos.
        RequestValidationError: one of its values is out of range.
    """
    unknown = form.fields.keys() - {PARAMETERS}
    if unknown:
        raise InvalidParameter(
            "the form has a field that is not known",
            hint=f"parameters for all photos stand in the address, others in {PARAMETERS}",
        )
    if PARAMETERS not in form.fields:
        return [query] * len(form.photos)
    try:
        listed = json.loads(form.fields[PARAMETERS])
    except (ValueError, RecursionError):
        listed = None
    if not isinstance(listed, list) or not all(isinstance(one, dict | None) for one in listed):
        raise InvalidParameter(
            f"{PARAMETERS} is not a JSON list of objects and nulls",
            hint='like [{"view": "drone"}, null]',
        )
    if len(listed) != len(form.photos):
        raise InvalidParameter(
            f"{PARAMETERS} lists {len(listed)} photos, and {len(form.photos)} were sent",
            hint="give one object or null for each photo, in their order",
        )
    return [
        query if own is None else overridden(query, own, "body", PARAMETERS, index)
        for index, own in enumerate(listed)
    ]


class _Unforeseen(CrossfixError):
    """Something else went wrong with one photo."""

    code = "internal_error"


class BatchRun:
    """The photos of one request; all are answered by the snapshot that is live at its start.

    Attributes:
        results: one per photo, in order, once :meth:`localize` has ended.
    """

    def __init__(self, runtime: Runtime, *, request_id: str, root_path: str) -> None:
        self._runtime, self._snapshot = runtime, runtime.holder.current()
        self._request_id, self._root_path = request_id, root_path
        self._stage_s = dict.fromkeys(STAGES, 0.0)
        self._bytes = 0
        self.results: list[BatchResult] = []

    async def localize(
        self, photos: list[tuple[SentPhoto, LocalizeQuery]], *, at_once: int
    ) -> None:
        """Fills `results`; empties `photos` on the way. Cancelling it cancels every photo.

        The batch's deadline is `deadline_s` for every round of `at_once` photos; until then a photo
        that finds the service full is tried again.
        """
        rounds = -(-len(photos) // at_once)
        deadline = time.monotonic() + rounds * self._runtime.settings.deadline_s
        waiting = list(enumerate(photos))[::-1]
        photos.clear()

        async def work() -> None:
            while waiting:
                index, (photo, query) = waiting.pop()
                self.results.append(await self._result(index, photo, query, deadline))

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(work())
        self.results.sort(key=lambda result: result.index)

    async def _result(
        self, index: int, photo: SentPhoto, query: LocalizeQuery, deadline: float
    ) -> BatchResult:
        metrics = self._runtime.metrics
        self._bytes += len(photo.data)
        started = time.perf_counter()
        try:
            found = await self._found(photo.data, query, deadline)
            return self._answered(index, photo, query, found, time.perf_counter() - started)
        except CrossfixError as problem:
            metrics.observe_failure(problem)
            return self._failed(index, photo, problem)
        except Exception:
            REQUESTS.exception("unforeseen", extra={"fields": {"request_id": self._request_id}})
            unforeseen = _Unforeseen(INTERNAL_MESSAGE)
            metrics.observe_failure(unforeseen)
            return self._failed(index, photo, unforeseen)

    async def _found(self, data: bytes, query: LocalizeQuery, deadline: float) -> Localization:
        asked = photo_query(query, data, self._runtime.settings.default_k)
        while True:
            try:
                async with asyncio.timeout_at(_loop_time(deadline)):
                    return await self._runtime.localizer.localize(self._snapshot, asked)
            except TimeoutError:
                raise DeadlineExceeded(
                    "the batch's deadline passed before this photo", hint="send fewer photos"
                ) from None
            except Overloaded as full:
                pause_s = min(max(full.retry_after_s, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)
                if time.monotonic() + pause_s >= deadline:
                    raise
                await asyncio.sleep(pause_s)
                if time.monotonic() >= deadline:
                    raise  # it slept longer than asked

    def _answered(
        self,
        index: int,
        photo: SentPhoto,
        query: LocalizeQuery,
        found: Localization,
        total_s: float,
    ) -> BatchResult:
        kept = self._runtime.kept_images
        with_prior = query.lat is not None or query.area is not None
        self._runtime.metrics.observe_answer(found, query.view, with_prior)
        self._runtime.tracing.stages(found.timeline, photo=index)
        for stage, seconds in found.stage_s.items():
            self._stage_s[stage] += seconds
        answer = answer_of(
            found,
            request_id=self._request_id,
            root_path=self._root_path,
            total_s=total_s,
            with_prior=with_prior,
            kept=kept is not None,
        )
        if kept is not None:
            kept.keep(photo.data, answer.model_dump_json(), f"{self._request_id[:56]}-{index}")
        return BatchResult(index=index, file_name=photo.file_name, status=200, answer=answer)

    def _failed(self, index: int, photo: SentPhoto, problem: CrossfixError) -> BatchResult:
        status = status_of(problem)
        known = status != 500  # such messages name files on our disk
        error = ErrorDetail(
            code=problem.code if known else "internal_error",
            message=str(problem) if known else INTERNAL_MESSAGE,
            hint=problem.hint if known else "",
            request_id=self._request_id,
        )
        return BatchResult(index=index, file_name=photo.file_name, status=status, error=error)

    def answer(self, total_s: float) -> BatchAnswer:
        """What is sent."""
        manifest = self._snapshot.encoder.manifest
        stages_ms = {stage: round(1000 * seconds, 3) for stage, seconds in self._stage_s.items()}
        return BatchAnswer(
            results=self.results,
            stage_ms=StageTimes(**stages_ms, total=round(1000 * total_s, 3)),
            encoder=EncoderName(name=manifest.name, embedding_space_id=manifest.embedding_space_id),
            gallery=GalleryName(version=self._snapshot.version, tiles=len(self._snapshot.gallery)),
            request_id=self._request_id,
        )

    def log_fields(self) -> dict[str, Any]:
        """For the request's log line: counts and times, nothing of the photos."""
        return {
            "photos": len(self.results),
            "failed": sum(result.answer is None for result in self.results),
            "bytes": self._bytes,
            "stage_ms": {name: round(1000 * value, 2) for name, value in self._stage_s.items()},
            "gallery_version": self._snapshot.version,
        }


def _loop_time(deadline: float) -> float:
    """A deadline of `time.monotonic` on the running loop's clock."""
    return asyncio.get_running_loop().time() + deadline - time.monotonic()
