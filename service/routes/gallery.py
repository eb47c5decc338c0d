"""GET /gallery, /gallery/tiles, /tiles/{tile_id} and /encoder: what answers are made of."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from crossfix.encoder import GOLDEN_MIN_COSINE
from crossfix.encoder_manifest import EncoderManifest
from crossfix.variants import Precision
from service.galleries.footprints import MOST_FOOTPRINTS, Box, footprints
from service.galleries.listing import VersionShelf, credits_of
from service.galleries.schemas import (
    EncoderInfo,
    GalleryInfo,
    GoldenCheck,
    MultiPolygon,
    ViewInfo,
)
from service.galleries.snapshot import Snapshot
from service.http.content_negotiation import preferred_type
from service.http.etag import is_known, not_modified, tag_of
from service.observing.metrics import fell_back
from service.photos.geojson import GEOJSON
from service.routes.access import Reader
from service.runtime import Runtime
from service.schemas import EncoderName, ErrorAnswer

JSON = "application/json"
FOR_EVER = "max-age=31536000, immutable"
BRIEFLY = "max-age=60"
ASK_AGAIN = "no-cache"  # may be kept, but not shown without asking
PARTIAL = "no-store"  # a part of the gallery did not answer
UNCHANGED = "Unchanged since the ETag given in If-None-Match."
NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {"model": ErrorAnswer, "description": "Nothing is loaded yet."}
}
router = APIRouter(tags=["gallery"], responses=NOT_READY)


@router.get(
    "/gallery",
    response_model=GalleryInfo,
    responses={
        200: {
            "description": "The gallery; as `application/geo+json` its coverage as a Feature.",
            "content": {GEOJSON: {"schema": {"type": "object"}}},
        },
        304: {"description": UNCHANGED},
    },
)
def describe_gallery(request: Request, caller: Reader) -> Response:  # noqa: ARG001
    """The live gallery version: where it covers, whom to credit, and which others there are.

    With `Accept: application/geo+json` a GeoJSON Feature of the area that the tiles cover.
    """
    runtime: Runtime = request.app.state.runtime
    snapshot = runtime.holder.current()
    info = gallery_info(snapshot, _shelf(request))
    media_type = preferred_type(request.headers.get("accept", ""), (JSON, GEOJSON))
    body: dict[str, Any] = info.model_dump(mode="json")
    if media_type == GEOJSON:
        body = {"type": "Feature", "id": info.version, "geometry": body.pop("coverage"),
                "properties": body}  # fmt: skip
    response = JSONResponse(body, media_type=media_type)
    headers = {
        "ETag": tag_of(bytes(response.body)),
        "Cache-Control": cache_control(ASK_AGAIN),
        "Vary": "Accept",
    }
    if is_known(request, headers["ETag"]):
        return not_modified(headers)
    response.headers.update(headers)
    return response


def gallery_info(snapshot: Snapshot, shelf: VersionShelf) -> GalleryInfo:
    """What is told about the live version and the others."""
    manifest = snapshot.gallery.manifest
    loaded = datetime.fromtimestamp(snapshot.loaded_at, UTC)
    return GalleryInfo(
        version=snapshot.version,
        tiles=manifest.tile_count,
        bounds=manifest.bounds,
        tile_sizes_m=manifest.tile_sizes_m,
        overlap=manifest.overlap,
        index=manifest.index,
        index_in_use=snapshot.gallery.index_kind,
        index_fallback=snapshot.gallery.index_fallback,
        sources=manifest.sources,
        credits=credits_of(manifest.sources),
        content_hash=manifest.content_hash,
        created=manifest.created,
        loaded=loaded.isoformat(timespec="seconds"),
        size_bytes=snapshot.size_bytes,
        shards_total=snapshot.gallery.shards_total,
        shards_lost=list(snapshot.gallery.lost_shards),
        coverage=MultiPolygon.model_validate(snapshot.coverage),
        version_on_disk=shelf.on_disk(),
        versions=shelf.list(snapshot),
        encoder=EncoderName(
            name=manifest.encoder_name, embedding_space_id=manifest.embedding_space_id
        ),
    )


def _shelf(request: Request) -> VersionShelf:
    """The app's one; made when it is first asked for."""
    state = request.app.state
    if not hasattr(state, "version_shelf"):
        state.version_shelf = VersionShelf(state.runtime.settings.gallery)
    shelf: VersionShelf = state.version_shelf
    return shelf


def cache_control(how: str) -> str:
    """For shared caches too; `complete_headers` says private where readers need a key."""
    return f"public, {how}"


@router.get(
    "/gallery/tiles",
    response_class=Response,
    responses={
        200: {
            "description": "A FeatureCollection: a footprint for each tile, with id, picture_url, "
            "date and whom to credit. `left_off` says how many tiles of the box are not in it; "
            "those of `shards_missing`, which did not answer, are not counted.",
            "content": {GEOJSON: {"schema": {"type": "object"}}},
        },
        304: {"description": UNCHANGED},
        422: {"model": ErrorAnswer, "description": "bbox or limit is wrong."},
    },
)
def send_footprints(
    request: Request,
    caller: Reader,  # noqa: ARG001
    bbox: Annotated[
        str | None,
        Query(
            max_length=200,
            description="west,south,east,north in degrees; west > east crosses the antimeridian. "
            "Without it the whole gallery.",
        ),
    ] = None,
    limit: Annotated[
        int,
        Query(
            ge=1,
            le=MOST_FOOTPRINTS,
            description="How many at most; more are thinned out evenly over the box.",
        ),
    ] = 500,
) -> Response:
    """Outlines of the live gallery's tiles, for maps."""
    runtime: Runtime = request.app.state.runtime
    box = None if bbox is None else Box.parse(bbox)
    snapshot = runtime.holder.current()
    root_path = str(request.scope.get("root_path", ""))
    headers = {
        "ETag": tag_of(snapshot.version, box, limit, root_path),
        "Cache-Control": cache_control(ASK_AGAIN),
    }
    if is_known(request, headers["ETag"]):
        return not_modified(headers)
    found = footprints(snapshot, box, limit=limit, root_path=root_path)
    if found["shards_missing"]:
        headers = {"Cache-Control": PARTIAL}
    return JSONResponse(found, media_type=GEOJSON, headers=headers)


@router.get(
    "/tiles/{tile_id:path}",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {}}, "description": "The tile's picture."},
        304: {"description": UNCHANGED},
        404: {"model": ErrorAnswer, "description": "No such tile in the live gallery."},
        503: {"model": ErrorAnswer, "description": "Nothing is loaded, or its shard is lost."},
    },
)
def send_tile_picture(
    request: Request,
    caller: Reader,  # noqa: ARG001
    tile_id: str,
    v: Annotated[
        str | None,
        Query(
            description="Gallery version; when it is the live one, the picture may be cached for "
            "ever."
        ),
    ] = None,
) -> Response:
    """A small JPEG of a tile, for people to look at."""
    runtime: Runtime = request.app.state.runtime
    snapshot = runtime.holder.current()
    row = snapshot.gallery.row_of(tile_id)
    headers = {
        "ETag": f'"{snapshot.version}-{row}"',
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": cache_control(FOR_EVER if v == snapshot.version else BRIEFLY),
    }
    if is_known(request, headers["ETag"]):
        return not_modified(headers)
    return Response(snapshot.gallery.picture(row), media_type="image/jpeg", headers=headers)


@router.get("/encoder", response_model=EncoderInfo, responses={304: {"description": UNCHANGED}})
async def describe_encoder(request: Request, caller: Reader) -> Response:  # noqa: ARG001
    """The encoder in use: views, licences, what was measured, which variant on which device."""
    runtime: Runtime = request.app.state.runtime
    response = JSONResponse(encoder_info(runtime).model_dump(mode="json"))
    headers = {
        "ETag": tag_of(bytes(response.body)),
        "Cache-Control": cache_control(ASK_AGAIN),
    }
    if is_known(request, headers["ETag"]):
        return not_modified(headers)
    response.headers.update(headers)
    return response


def encoder_info(runtime: Runtime) -> EncoderInfo:
    """What is told about the encoder in use."""
    encoder, settings = runtime.holder.current().encoder, runtime.settings
    manifest = encoder.manifest
    views = {
        str(name): ViewInfo(
            height_px=view.height_px,
            width_px=view.width_px,
            projection=view.projection,
            heading=view.heading,
            calibrated=name in manifest.calibration,
        )
        for name, view in manifest.views.items()
    }
    return EncoderInfo(
        name=manifest.name,
        architecture=manifest.architecture,
        embedding_dim=manifest.embedding_dim,
        embedding_space_id=manifest.embedding_space_id,
        precision=settings.precision,
        variants=["fp32", *(name for name, one in manifest.variants.items() if one.written)],
        golden=_golden_check(manifest, settings.precision),
        views=views,
        licence_weights=manifest.licence_weights,
        licence_data=manifest.licence_data,
        revision=manifest.revision,
        evaluation=manifest.evaluation,
        device=settings.device,
        provider=encoder.provider,
        provider_fallback=fell_back(settings, encoder.provider),
    )


def _golden_check(manifest: EncoderManifest, precision: Precision) -> GoldenCheck:
    """Passed wherever there are samples: an encoder that fails them is not loaded."""
    if not manifest.golden:
        return GoldenCheck(passed=None, samples=0, min_cosine=None)
    lowest = {name: one.golden_min_cosine for name, one in manifest.variants.items()}
    needed = GOLDEN_MIN_COSINE if precision == "fp32" else lowest.get(precision)
    return GoldenCheck(passed=True, samples=len(manifest.golden), min_cosine=needed)
