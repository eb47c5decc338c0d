"""POST /localize: a photo in, ranked tiles and coordinates out."""

import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from crossfix.gallery import Disc
from crossfix.geodesy import LonLat
from service.answers import answer_of, geojson_of, server_timing
from service.localizer import Localization, PhotoQuery
from service.photo_body import FIELD, read_photo, run_while_connected
from service.runtime import Runtime
from service.schemas import ErrorAnswer, LocalizeAnswer, LocalizeQuery

GEOJSON = "application/geo+json"
router = APIRouter()

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {
    "schema": {
        "type": "object",
        "required": [FIELD],
        "properties": {FIELD: {"type": "string", "format": "binary"}},
    }
}
REQUEST_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The photo: JPEG, PNG, WebP or TIFF. A raw body costs the server the least.",
        "content": {
            "image/jpeg": _BINARY,
            "image/png": _BINARY,
            "image/webp": _BINARY,
            "image/tiff": _BINARY,
            "application/octet-stream": _BINARY,
            "multipart/form-data": _FORM,
        },
    }
}
FAILURES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": text}
    for status, text in {
        400: "Empty or malformed body.",
        408: "The body arrived too slowly.",
        413: "Too many bytes or pixels.",
        415: "Not an image of an accepted format.",
        422: "Damaged image, or a parameter that is out of range, incomplete or unknown.",
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
            "description": f"Accept: {GEOJSON} answers a FeatureCollection.",
            "content": {GEOJSON: {"schema": {"type": "object"}}},
        },
        **FAILURES,
    },
)
async def localize(request: Request, query: Annotated[LocalizeQuery, Query()]) -> Response:
    """Where was this photo taken? Ranked tiles, coordinates, radius and confidence."""
    runtime: Runtime = request.app.state.runtime
    with runtime.admitted():
        data = await read_photo(request, runtime.settings)
        runtime.metrics.body_bytes.observe(len(data))
        started = time.perf_counter()
        photo = _photo_query(query, data, runtime.settings.default_k)
        found = await run_while_connected(
            request, runtime.localizer.localize(runtime.holder.current(), photo)
        )
    runtime.metrics.observe_answer(found, query.view, photo.prior is not None)
    request.state.log = _log_fields(found, len(data))
    answer = answer_of(
        found,
        request_id=request.state.request_id,
        root_path=request.scope.get("root_path", ""),
        total_s=time.perf_counter() - started,
    )
    headers = {"Server-Timing": server_timing(answer.stage_ms), "Cache-Control": "no-store"}
    if GEOJSON in request.headers.get("accept", ""):
        return JSONResponse(geojson_of(answer), media_type=GEOJSON, headers=headers)
    return Response(answer.model_dump_json(), media_type="application/json", headers=headers)


def _photo_query(query: LocalizeQuery, data: bytes, default_k: int) -> PhotoQuery:
    prior = None
    if query.lat is not None and query.lon is not None and query.radius_m is not None:
        prior = Disc(centre=LonLat(lon=query.lon, lat=query.lat), radius_m=query.radius_m)
    return PhotoQuery(
        data=data,
        view=query.view,
        k=query.k or default_k,
        prior=prior,
        heading_deg=query.heading_deg,
        hfov_deg=query.hfov_deg,
    )


def _log_fields(found: Localization, size_bytes: int) -> dict[str, Any]:
    return {
        "bytes": size_bytes,
        "stage_ms": {stage: round(1000 * seconds, 2) for stage, seconds in found.stage_s.items()},
        "gallery_version": found.snapshot.version,
        "refused": found.estimate is None or found.estimate.refused,
    }
