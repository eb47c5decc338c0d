"""POST /localize: a photo in, ranked tiles and coordinates out."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from service.errors import NotReady, Overloaded
from service.http.content_negotiation import preferred_type
from service.photos.answers import answer_of, server_timing
from service.photos.geojson import GEOJSON, geojson_of
from service.photos.localization import Localization
from service.photos.photo_body import FIELD, MULTIPART, read_photo, run_while_connected
from service.photos.photo_queries import photo_query, refuse_contradictions, with_form_fields
from service.photos.schemas import LocalizeAnswer, LocalizeQuery
from service.routes.access import Reader
from service.runtime import Runtime
from service.schemas import ErrorAnswer

JSON = "application/json"
router = APIRouter(tags=["photos"])

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {
    "schema": {
        "type": "object",
        "required": [FIELD],
        "properties": {FIELD: {"type": "string", "format": "binary"}},
        "description": "The parameters may stand here as well, as text fields of the same names.",
    }
}
REQUEST_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The photo: JPEG, PNG, WebP, TIFF or HEIC, told by its content. A raw body "
        "costs the server the least; what `curl --data-binary` sends is one. Of a file with "
        "several images the first, or the one named primary, counts; places in its metadata are "
        "never read.",
        "content": {
            "image/jpeg": _BINARY,
            "image/png": _BINARY,
            "image/webp": _BINARY,
            "image/tiff": _BINARY,
            "image/heic": _BINARY,
            "application/octet-stream": _BINARY,
            MULTIPART: _FORM,
        },
    }
}
FAILURES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": text}
    for status, text in {
        400: "Empty or malformed body.",
        401: "No API key, or one that is not known.",
        403: "The key may not do this.",
        408: "The body arrived too slowly.",
        413: "Too many bytes or pixels.",
        415: "Not an image of an accepted format.",
        422: "Damaged image, or a parameter that is out of range, incomplete or unknown.",
        429: "More photos than the caller may send; see Retry-After.",
        503: "Overloaded or not ready; see Retry-After.",
        504: "No answer in time.",
    }.items()
}


@router.post(
    "/localize",
    response_model=LocalizeAnswer,
    openapi_extra=REQUEST_BODY,
    responses={
        200: {
            "description": f"Accept: {GEOJSON} answers a FeatureCollection: the estimate's point, "
            "a polygon of its radius, the tiles' footprints; `role` tells them apart.",
            "content": {GEOJSON: {"schema": {"type": "object"}}},
        },
        **FAILURES,
    },
)
async def localize(
    request: Request, caller: Reader, query: Annotated[LocalizeQuery, Query()]
) -> Response:
    """Where was this photo taken? Ranked tiles, coordinates, radius and confidence."""
    runtime: Runtime = request.app.state.runtime
    refuse_contradictions(request.query_params.multi_items())
    with counted(runtime, caller.rate_key), runtime.admitted():
        form = await read_photo(request)
        data = form.photos[0].data
        runtime.metrics.body_bytes.observe(form.body_bytes)
        started = time.perf_counter()
        query = with_form_fields(query, form.fields)
        photo = photo_query(query, data, runtime.settings.default_k)
        found = await run_while_connected(
            request, runtime.localizer.localize(runtime.holder.current(), photo)
        )
    runtime.metrics.observe_answer(found, query.view, photo.prior is not None)
    runtime.tracing.stages(found.timeline)
    request.state.log = _log_fields(found, len(data))
    kept = runtime.kept_images
    answer = answer_of(
        found,
        request_id=request.state.request_id,
        root_path=request.scope.get("root_path", ""),
        total_s=time.perf_counter() - started,
        with_prior=photo.prior is not None,
        kept=kept is not None,
    )
    text = answer.model_dump_json()
    if kept is not None:
        kept.keep(data, text, answer.request_id)
    headers = {
        "Server-Timing": server_timing(answer.stage_ms),
        "Cache-Control": "no-store",
        "Vary": "Accept",
    }
    if wants_geojson(request):
        return JSONResponse(geojson_of(answer), media_type=GEOJSON, headers=headers)
    return Response(text, media_type=JSON, headers=headers)


@contextmanager
def counted(runtime: Runtime, rate_key: str) -> Iterator[None]:
    """Counts one photo before its body is read; one that finds no room costs its sender nothing.

    Raises:
        RateLimited: the caller sends too many.
    """
    runtime.rate_limit.take(rate_key)
    try:
        yield
    except (NotReady, Overloaded):
        runtime.rate_limit.give_back(rate_key)
        raise


def wants_geojson(request: Request) -> bool:
    """Whether the client prefers GeoJSON to plain JSON."""
    return preferred_type(request.headers.get("accept", ""), (JSON, GEOJSON)) == GEOJSON


def _log_fields(found: Localization, size_bytes: int) -> dict[str, Any]:
    return {
        "bytes": size_bytes,
        "stage_ms": {stage: round(1000 * seconds, 2) for stage, seconds in found.stage_s.items()},
        "gallery_version": found.snapshot.version,
        "refused": found.estimate is None or found.estimate.refused,
    }
