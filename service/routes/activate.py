"""POST /gallery/activate: another gallery version goes live, or the one before comes back."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from crossfix.errors import CrossfixError
from service.galleries.schemas import Activated, ActivateRequest
from service.rebuild.orders import inline_schema
from service.routes.access import Admin
from service.routes.json_body import parse_json, read_json_body
from service.runtime import Runtime
from service.schemas import EncoderName, ErrorAnswer

router = APIRouter(tags=["gallery"])


async def _read_wish(request: Request, _caller: Admin) -> ActivateRequest:
    """What shall go live; no body is the version before the live one."""
    body = await read_json_body(request)
    return parse_json(body, ActivateRequest) if body else ActivateRequest()


@router.post(
    "/gallery/activate",
    responses={
        400: {"model": ErrorAnswer, "description": "The body is not JSON."},
        404: {"model": ErrorAnswer, "description": "The gallery has no such version."},
        409: {
            "model": ErrorAnswer,
            "description": "The version is damaged, of another encoder or too large, or another "
            "program is writing the gallery. What was live still is.",
        },
        413: {"model": ErrorAnswer, "description": "The body is too long."},
        415: {"model": ErrorAnswer, "description": "Not application/json."},
        422: {"model": ErrorAnswer, "description": "It has another form."},
        503: {"model": ErrorAnswer, "description": "Nothing is loaded yet."},
    },
    openapi_extra={
        "requestBody": {
            "required": False,
            "content": {"application/json": {"schema": inline_schema(ActivateRequest)}},
        }
    },
)
async def activate_version(
    request: Request,
    _caller: Admin,
    wanted: Annotated[ActivateRequest, Depends(_read_wish)],
) -> Activated:
    """Verifies, loads and tries a version, then makes it live on disk and here.

    Photos that are being worked on are answered from the old version; none is turned away.
    """
    runtime: Runtime = request.app.state.runtime
    old = runtime.holder.current()
    try:
        fresh = await runtime.holder.activate(wanted.version)
    except Exception as problem:
        code = problem.code if isinstance(problem, CrossfixError) else "internal_error"
        runtime.metrics.activations.labels(code).inc()
        raise
    runtime.metrics.activations.labels("ok").inc()
    manifest = fresh.encoder.manifest
    return Activated(
        old_version=old.version,
        version=fresh.version,
        tiles=len(fresh.gallery),
        encoder=EncoderName(name=manifest.name, embedding_space_id=manifest.embedding_space_id),
        encoder_changed=fresh.encoder is not old.encoder,
        load_s=round(fresh.load_s, 4),
    )
