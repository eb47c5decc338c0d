"""GET /gallery, /tiles/{tile_id} and /encoder: what answers are made of."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from service.metrics import fell_back
from service.runtime import Runtime
from service.schemas import EncoderInfo, EncoderName, ErrorAnswer, GalleryInfo, ViewInfo

CACHE_FOR_EVER = "public, max-age=31536000, immutable"
CACHE_BRIEFLY = "public, max-age=60"
NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {"model": ErrorAnswer, "description": "Nothing is loaded yet."}
}
router = APIRouter(responses=NOT_READY)


@router.get("/gallery")
async def describe_gallery(request: Request) -> GalleryInfo:
    """The live gallery version: where it covers, from which sources."""
    runtime: Runtime = request.app.state.runtime
    snapshot = runtime.holder.current()
    manifest = snapshot.gallery.manifest
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
        content_hash=manifest.content_hash,
        created=manifest.created,
        encoder=EncoderName(
            name=manifest.encoder_name, embedding_space_id=manifest.embedding_space_id
        ),
    )


@router.get(
    "/tiles/{tile_id:path}",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {}}, "description": "The tile's picture."},
        304: {"description": "Unchanged since the ETag given in If-None-Match."},
        404: {"model": ErrorAnswer, "description": "No such tile in the live gallery."},
    },
)
def send_tile_picture(
    request: Request,
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
    tag = f'"{snapshot.version}-{row}"'
    headers = {
        "ETag": tag,
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": CACHE_FOR_EVER if v == snapshot.version else CACHE_BRIEFLY,
    }
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(snapshot.gallery.picture(row), media_type="image/jpeg", headers=headers)


@router.get("/encoder")
async def describe_encoder(request: Request) -> EncoderInfo:
    """The encoder in use: views, licences, what was measured, which device."""
    runtime: Runtime = request.app.state.runtime
    encoder = runtime.holder.current().encoder
    manifest = encoder.manifest
    views = {
        name: ViewInfo(
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
        views={str(name): view for name, view in views.items()},
        licence_weights=manifest.licence_weights,
        licence_data=manifest.licence_data,
        revision=manifest.revision,
        evaluation=manifest.evaluation,
        device=runtime.settings.device,
        provider=encoder.provider,
        provider_fallback=fell_back(runtime.settings, encoder.provider),
    )
