"""GET /livez, /readyz and /metrics: for orchestrators and Prometheus."""

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

from service.errors import NotReady
from service.metrics import fell_back
from service.runtime import Runtime
from service.schemas import Alive, ErrorAnswer, Ready

router = APIRouter()


@router.get("/livez")
async def report_alive() -> Alive:
    """200 while the event loop turns."""
    return Alive()


@router.get(
    "/readyz",
    responses={
        503: {
            "model": ErrorAnswer,
            "description": "Nothing is loaded yet, or the service is stopping.",
        }
    },
)
async def report_ready(request: Request) -> Ready:
    """200 when photos can be answered; which versions answer, and on what."""
    runtime: Runtime = request.app.state.runtime
    if runtime.draining:
        raise NotReady("the service is stopping", hint="use another replica")
    snapshot = runtime.holder.current()
    provider = snapshot.encoder.provider
    return Ready(
        gallery_version=snapshot.version,
        encoder=snapshot.encoder.manifest.name,
        provider=provider,
        provider_fallback=fell_back(runtime.settings, provider),
    )


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus text format."}},
)
async def send_metrics(request: Request) -> Response:
    """Everything an operator can see."""
    runtime: Runtime = request.app.state.runtime
    return Response(runtime.metrics.render(), media_type=CONTENT_TYPE_LATEST)
