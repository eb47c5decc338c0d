"""POST /localize/batch: several photos in, one answer or error for each."""

import time
from contextlib import ExitStack
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from service.photos.answers import server_timing
from service.photos.geojson import GEOJSON, geojson_of_batch
from service.photos.photo_body import FIELD, MULTIPART, read_photos, run_while_connected
from service.photos.photo_queries import refuse_contradictions
from service.photos.schemas import BatchAnswer, LocalizeQuery
from service.routes.access import Reader
from service.routes.batch_run import BatchRun, batch_parameters
from service.routes.localize import FAILURES, JSON, wants_geojson
from service.runtime import Runtime
from service.settings import Settings

router = APIRouter(tags=["photos"])

REQUEST_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The photos, each a file in field `image`, and what is known about each.",
        "content": {
            MULTIPART: {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {
                        FIELD: {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "format": "binary"},
                        },
                        "parameters": {
                            "type": "string",
                            "description": "JSON list: for each photo an object of parameters "
                            "that go before those in the address, or null; `area` may be GeoJSON "
                            "itself or its text.",
                        },
                    },
                }
            }
        },
    }
}


@router.post(
    "/localize/batch",
    response_model=BatchAnswer,
    openapi_extra=REQUEST_BODY,
    responses={
        200: {
            "description": "One result per photo, in order; a photo that cannot be used fails "
            f"alone. Accept: {GEOJSON} answers a FeatureCollection whose features carry `index`.",
            "content": {GEOJSON: {"schema": {"type": "object"}}},
        },
        **FAILURES,
    },
)
async def localize_batch(
    request: Request, caller: Reader, query: Annotated[LocalizeQuery, Query()]
) -> Response:
    """Where were these photos taken? All are answered from one version of the gallery."""
    runtime: Runtime = request.app.state.runtime
    refuse_contradictions(request.query_params.multi_items())
    runtime.rate_limit.take(caller.rate_key, photos=0)  # whoever is in debt need not send a body
    slots = slots_of_batch(runtime.settings)
    with ExitStack() as admission:
        for _ in range(slots):
            admission.enter_context(runtime.admitted())
        form = await read_photos(request, runtime.settings)
        runtime.metrics.body_bytes.observe(form.body_bytes)
        parameters = batch_parameters(query, form)
        runtime.rate_limit.take(caller.rate_key, photos=len(form.photos))
        started = time.perf_counter()
        run = BatchRun(
            runtime,
            request_id=request.state.request_id,
            root_path=request.scope.get("root_path", ""),
        )
        photos = list(zip(form.photos, parameters, strict=True))
        form.photos.clear()  # the run lets go of each photo as soon as it is answered
        await run_while_connected(request, run.localize(photos, at_once=slots))
    answer = run.answer(time.perf_counter() - started)
    request.state.log = run.log_fields()
    headers = {
        "Server-Timing": server_timing(answer.stage_ms),
        "Cache-Control": "no-store",
        "Vary": "Accept",
    }
    if wants_geojson(request):
        return JSONResponse(geojson_of_batch(answer), media_type=GEOJSON, headers=headers)
    return Response(answer.model_dump_json(exclude_none=False), media_type=JSON, headers=headers)


def slots_of_batch(settings: Settings) -> int:
    """How many single photos a batch counts as, and how many of its photos run at once.

    As many as its body may hold in full size: so `max_in_flight` bounds memory whatever is sent,
    and a batch stands beside single requests as no more than these.
    """
    whole = -(-settings.max_batch_body_bytes // settings.max_body_bytes)
    return max(1, min(whole, settings.max_in_flight // 2))
