"""POST /gallery/activate: another gallery version goes live, or the one before comes back."""

from typing import Annotated

from fastapi import APIRouter, Body, Request

from service.galleries.schemas import Activated, ActivateRequest
from service.routes.access import Admin
from service.runtime import Runtime
from service.schemas import EncoderName, ErrorAnswer

router = APIRouter(tags=["gallery"])


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
        503: {"model": ErrorAnswer, "description": "Nothing is loaded yet."},
    },
)
async def activate_version(
    request: Request,
    caller: Admin,  # noqa: ARG001
    wanted: Annotated[ActivateRequest | None, Body()] = None,
) -> Activated:
    """Verifies, loads and tries a version, then makes it live on disk and here.

    Photos that are being worked on are answered from the old version; none is turned away.
    """
    runtime: Runtime = request.app.state.runtime
    old = runtime.holder.current()
    fresh = await runtime.holder.activate(wanted.version if wanted else None)
    manifest = fresh.encoder.manifest
    return Activated(
        old_version=old.version,
        version=fresh.version,
        tiles=len(fresh.gallery),
        encoder=EncoderName(name=manifest.name, embedding_space_id=manifest.embedding_space_id),
        encoder_changed=fresh.encoder is not old.encoder,
        load_s=round(fresh.load_s, 4),
    )
