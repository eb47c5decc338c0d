"""Records of jobs: one small JSON file each, written whole or not at all."""

import re
import time
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from crossfix.manifest import write_json_atomic
from service.logs.log import EVENTS

JobState = Literal[
    "queued",
    "planning",
    "embedding",
    "publishing",
    "succeeded",
    "failed",
    "cancelled",
    "interrupted",
]
OVER: tuple[JobState, ...] = ("succeeded", "failed", "cancelled", "interrupted")
KEPT_RECORDS = 50
ORDER_ENDING, LOG_ENDING, LOCK_ENDING = ".order.json", ".log", ".lock"
_LEFT_AFTER_S = 600.0  # younger ones may be another service's, being written
_RECORD_NAME = re.compile(r"(\d{8}T\d{9}Z-[0-9a-f]{8})\.json")


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore")


class JobProgress(_Model):
    """How far the builder is."""

    done: int = Field(default=0, description="Tiles done, those of an earlier run included.")
    total: int = Field(default=0, description="Tiles planned; 0 while planning.")
    share: float = Field(default=0.0, description="done / total, 0 to 1.")
    resumed: int = Field(default=0, description="Of done, those an interrupted job had done.")
    tiles_per_s: float = Field(default=0.0, description="Rate of this run.")
    eta_s: float | None = Field(default=None, description="Embedding is done in so many seconds.")
    step: str = Field(default="", description="The last step that was passed.")


class JobError(_Model):
    """Why a job did not succeed."""

    code: str
    message: str
    hint: str = ""


class Job(_Model):
    """A rebuild, as its record and the answer tell it."""

    id: str
    state: JobState
    created: str = Field(description="ISO 8601, UTC.")
    started: str | None = Field(default=None, description="When the builder was started.")
    ended: str | None = None
    requested_by: str = Field(default="", description="Name of the API key; empty without one.")
    request: dict[str, Any] = Field(description="What was asked for.")
    progress: JobProgress = JobProgress()
    version: str | None = Field(
        default=None,
        description="The version it made live, or found unchanged (see `published`).",
    )
    published: bool = Field(
        default=False, description="Whether a new version went live; an update may find nothing."
    )
    error: JobError | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing will happen to it any more."""
        return self.state in OVER


def now() -> str:
    """This second, as records tell time."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JobRecords:
    """The folder of records; a disk that is full or gone costs records, never the service."""

    def __init__(self, folder: Path, *, keep: int = KEPT_RECORDS) -> None:
        self.folder = folder
        self._keep = keep

    def path(self, job_id: str, ending: str) -> Path:
        """A file that belongs to a job; `job_id` is one of ours, never a caller's words."""
        return self.folder / f"{job_id}{ending}"

    def read(self, *, but: Collection[str] = ()) -> list[Job]:
        """All records, oldest first; what is no record is left alone.

        Args:
            but: ids of jobs whose records are not wanted.
        """
        found = []
        for path in sorted(self._files()):
            if path.stem in but:
                continue
            try:
                job = Job.model_validate_json(path.read_bytes())
            except (OSError, ValidationError) as problem:
                _complain("job_record_unreadable", path.stem, problem)
                continue
            if f"{job.id}.json" == path.name:
                found.append(job)
        return found

    def read_one(self, job_id: str) -> Job | None:
        """A job's record as it is now; None where it cannot be read."""
        try:
            return Job.model_validate_json(self.path(job_id, ".json").read_bytes())
        except (OSError, ValidationError):
            return None

    def _files(self) -> Iterable[Path]:
        try:
            return [path for path in self.folder.iterdir() if _RECORD_NAME.fullmatch(path.name)]
        except OSError:  # before the first job there is no folder
            return []

    def write(self, job: Job) -> None:
        """Replaces the job's record; never raises."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json_atomic(self.path(job.id, ".json"), job.model_dump(mode="json"))
        except OSError as problem:
            _complain("job_record_not_written", job.id, problem)
            self.sweep()

    def write_order(self, job_id: str, order: dict[str, Any]) -> Path:
        """What the builder is told, as a file.

        Raises:
            OSError: it cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.path(job_id, ORDER_ENDING)
        write_json_atomic(path, order)
        return path

    def prune(self, jobs: list[Job]) -> list[Job]:
        """Removes the oldest; gives those that stay."""
        gone = jobs[: max(0, len(jobs) - self._keep)]
        for job in gone:
            for ending in (".json", ORDER_ENDING, LOG_ENDING, LOCK_ENDING):
                try:
                    self.path(job.id, ending).unlink(missing_ok=True)
                except OSError as problem:
                    _complain("job_record_not_removed", job.id, problem)
        return jobs[len(gone) :]

    def sweep(self) -> None:
        """Removes what a kill in the midst of writing left."""
        try:
            for path in self.folder.glob(".*.json.*"):
                if time.time() - path.stat().st_mtime > _LEFT_AFTER_S:
                    path.unlink(missing_ok=True)
        except OSError as problem:
            _complain("job_record_not_removed", "", problem)


def _complain(event: str, job_id: str, problem: Exception) -> None:
    EVENTS.error(event, extra={"fields": {"job": job_id, "reason": type(problem).__name__}})
