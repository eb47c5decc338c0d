"""From the builder's events and its end to what a job says."""

import signal
from collections.abc import Sequence
from typing import Any

from service.rebuild.records import Job, JobError, JobProgress, JobState
from service.rebuild.wording import PathScrubber

_MOST = 1 << 53
_STAYS = "what is finished stays: ask for the same again and it goes on from there"


def apply_event(job: Job, event: dict[str, Any], scrubber: PathScrubber) -> Job:
    """The job as it stands after one line of the builder; what is not understood is left out."""
    match event:
        case {"event": "embedding", "done": int(done), "total": int(total)} if (
            0 <= done <= _MOST and 0 <= total <= _MOST
        ):
            progress = job.progress.model_copy(
                update={
                    "done": done,
                    "total": total,
                    "share": round(done / total, 4) if total else 1.0,
                    "resumed": int(_number(event.get("resumed")) or 0),
                    "tiles_per_s": _number(event.get("tiles_per_s")) or 0.0,
                    "eta_s": _number(event.get("eta_s")),
                }
            )
            return _advance(job, "embedding", progress)
        case {"event": "step", "name": str(name)}:
            progress = job.progress.model_copy(update={"step": name, "eta_s": None})
            if name == "embedded":
                progress = progress.model_copy(update={"share": 1.0, "done": progress.total})
            return _advance(job, "publishing", progress)
        case {"event": "published" | "unchanged" as kind, "version": str(version)}:
            return job.model_copy(update={"version": version, "published": kind == "published"})
        case {"event": "failed", "code": str(code), "message": str(message)}:
            error = JobError(
                code=code,
                message=scrubber.clean(message),
                hint=scrubber.clean(str(event.get("hint") or "")),
            )
            return job.model_copy(update={"error": error})
    return job


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= _MOST else None  # NaN is neither


def _advance(job: Job, state: JobState, progress: JobProgress) -> Job:
    return job.model_copy(update={"state": state, "progress": progress})


def explain_end(code: int, tail: Sequence[str]) -> JobError:
    """Why a builder ended that did not say so itself."""
    missing = next((line for line in tail if "No module named" in line), "")
    if missing:
        package = missing.rpartition("No module named")[2].strip(" '\"")
        return JobError(
            code="builder_missing",
            message=f"the gallery builder cannot run here: the Python package {package} is missing",
            hint='install it beside the service with pip install "crossfix[index]"',
        )
    if code < 0:
        return JobError(
            code="builder_killed",
            message=f"the builder was ended by {_signal_name(-code)}",
            hint=f"often the memory ran out; {_STAYS}",
        )
    return JobError(
        code="builder_failed",
        message=f"the builder ended with exit code {code} and did not say why",
        hint="the job's log, beside its record in the jobs folder, has its last words",
    )


def not_started(problem: OSError) -> JobError:
    """The order could not be written, or the process not started."""
    reason = (problem.strerror or type(problem).__name__).lower()
    return JobError(
        code="job_not_started",
        message=f"the builder could not be started: {reason}",
        hint="make room where the jobs folder lies, or change its permissions",
    )


def stopped_with_the_service() -> JobError:
    """The service ended while the job ran."""
    return JobError(
        code="service_stopped", message="the service ended while the job ran", hint=_STAYS
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
