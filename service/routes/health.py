"""GET /livez, /readyz and /metrics: for orchestrators and Prometheus."""

from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field

from service.errors import NotReady
from service.galleries.served import is_answering
from service.observing.metrics import fell_back
from service.routes.access import MetricsReader
from service.runtime import Runtime
from service.schemas import ErrorAnswer
from service.version import service_version

router = APIRouter(tags=["operation"])


class Alive(BaseModel):
    """What /livez answers."""

    status: Literal["alive"] = "alive"


class Ready(BaseModel):
    """What /readyz answers with 200."""

    status: Literal["ready", "degraded"] = Field(
        description="degraded: shards of the gallery do not answer, so that answers are partial."
    )
    service: str = Field(description="Version of this service.")
    gallery_version: str
    encoder: str
    embedding_space_id: str
    shards_total: int = Field(description="Of the live gallery; 1 where it is of one piece.")
    shards_answering: int = Field(description="Those that can be searched now.")
    provider: str = Field(description="ONNX Runtime execution provider in use.")
    provider_fallback: bool = Field(description="True: a GPU was offered but the CPU is used.")
    index_fallback: bool = Field(description="True: another index than the gallery's is searched.")
    keeps_images: bool = Field(description="True: photos that are sent here are kept.")
    last_reload_failure: str = Field(
        description=(
            "Error code of the newest gallery version, if it was refused and this older one "
            "still serves; else empty."
        )
    )
    keys_problem: bool = Field(
        description="True: the keys file is broken; the keys that were read before still count."
    )


@router.get("/livez")
async def report_alive() -> Alive:
    """200 while the event loop turns."""
    return Alive()


@router.get(
    "/readyz",
    responses={
        503: {
            "model": ErrorAnswer,
            "description": "Nothing is loaded yet, no shard answers, or the service is stopping.",
        }
    },
)
async def report_ready(request: Request) -> Ready:
    """200 when photos can be answered; which versions answer, and on what.

    Full queues do not make a replica unready: its own 503 with Retry-After says so per photo,
    and under a load that fills all of them everybody would be turned away at once. Neither do lost
    shards while one answers: every replica would be without them, and answers say so.
    """
    runtime: Runtime = request.app.state.runtime
    if runtime.draining:
        raise NotReady("the service is stopping", hint="use another replica")
    snapshot = runtime.holder.current()
    provider = snapshot.encoder.provider
    total, lost = snapshot.gallery.shards_total, len(snapshot.gallery.lost_shards)
    if not is_answering(snapshot.gallery):
        raise NotReady(
            f"none of the gallery's {total} shards answers",
            hint="the service asks them again by itself; see crossfix_shards_answering",
        )
    return Ready(
        status="degraded" if lost else "ready",
        shards_total=total,
        shards_answering=total - lost,
        service=service_version(),
        gallery_version=snapshot.version,
        encoder=snapshot.encoder.manifest.name,
        embedding_space_id=snapshot.encoder.manifest.embedding_space_id,
        provider=provider,
        provider_fallback=fell_back(runtime.settings, provider),
        index_fallback=bool(snapshot.gallery.index_fallback),
        keeps_images=runtime.settings.keep_images is not None,
        last_reload_failure=runtime.metrics.last_reload_failure,
        keys_problem=_has_keys_problem(runtime),
    )


def _has_keys_problem(runtime: Runtime) -> bool:
    return runtime.keys is not None and bool(runtime.keys.problem)


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {}}, "description": "Prometheus text format."},
        401: {"model": ErrorAnswer, "description": "An API key is needed, or this one is wrong."},
        403: {"model": ErrorAnswer, "description": "The API key does not allow this."},
    },
)
async def send_metrics(request: Request, _caller: MetricsReader) -> Response:
    """Everything an operator can see."""
    runtime: Runtime = request.app.state.runtime
    runtime.metrics.draining.set(int(runtime.draining))
    runtime.metrics.keys_problem.set(int(_has_keys_problem(runtime)))
    return Response(await runtime.metrics.scrape(), media_type=CONTENT_TYPE_LATEST)
