"""POST /gallery/rebuild and /gallery/jobs: rebuilding the gallery, watching and cancelling it."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field

from service.errors import NotReady
from service.rebuild.commands import require_switched_on
from service.rebuild.jobs import Jobs
from service.rebuild.orders import RebuildOrder, inline_schema
from service.rebuild.records import Job
from service.routes.access import Admin
from service.routes.json_body import parse_json, read_json_body
from service.runtime import Runtime
from service.schemas import ErrorAnswer

ORDER_BYTES = 200_000  # an area of interest may have many corners; `app.py` sets the limit
NO_JOB: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorAnswer, "description": "No such job."}
}
OVER: dict[int | str, dict[str, Any]] = {
    **NO_JOB,
    409: {"model": ErrorAnswer, "description": "The job has ended, or its work is done."},
}


class JobList(BaseModel):
    """All jobs that are remembered."""

    jobs: list[Job] = Field(description="Newest first.")


def _jobs(request: Request) -> Jobs:
    """After the caller was found to be an admin."""
    runtime: Runtime = request.app.state.runtime
    require_switched_on(runtime.settings)
    jobs: Jobs = runtime.jobs
    return jobs


async def _read_order(request: Request, _caller: Admin) -> RebuildOrder:
    """The body; read only for admins, and where there may be rebuilds."""
    _jobs(request)
    return parse_order(await read_json_body(request))


def parse_order(body: bytes) -> RebuildOrder:
    """An order from its JSON; errors as in :func:`parse_json`."""
    return parse_json(body, RebuildOrder)


router = APIRouter(
    tags=["rebuild"],
    responses={403: {"model": ErrorAnswer, "description": "Not an admin, or switched off."}},
)


@router.post(
    "/gallery/rebuild",
    status_code=202,
    responses={
        400: {"model": ErrorAnswer, "description": "The order is not JSON."},
        409: {"model": ErrorAnswer, "description": "Another rebuild is running."},
        413: {"model": ErrorAnswer, "description": "The order is too long."},
        415: {"model": ErrorAnswer, "description": "Not application/json."},
        422: {"model": ErrorAnswer, "description": "It names what is not there."},
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": inline_schema(RebuildOrder)}},
        }
    },
)
async def rebuild_gallery(
    request: Request,
    response: Response,
    caller: Admin,
    order: Annotated[RebuildOrder, Depends(_read_order)],
) -> Job:
    """Builds a new gallery version in the background; photos are answered meanwhile."""
    if request.app.state.runtime.draining:
        raise NotReady("the service is stopping", hint="ask the next one")
    job = await _jobs(request).submit(order, requested_by=caller.name)
    response.headers["Location"] = f"/gallery/jobs/{job.id}"
    return job


@router.get("/gallery/jobs")
async def list_jobs(request: Request, _caller: Admin) -> JobList:
    """Every rebuild that is remembered, newest first."""
    return JobList(jobs=_jobs(request).newest_first())


@router.get("/gallery/jobs/{job_id}", responses=NO_JOB)
async def get_job(request: Request, job_id: str, _caller: Admin) -> Job:
    """How far a rebuild is, and how it ended."""
    return _jobs(request).get(job_id)


@router.delete("/gallery/jobs/{job_id}", status_code=202, responses=OVER)
async def cancel_job(request: Request, job_id: str, _caller: Admin) -> Job:
    """Cancels a rebuild; what is finished stays, and the same order goes on from there."""
    return _jobs(request).cancel(job_id)
