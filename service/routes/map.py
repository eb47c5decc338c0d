"""GET /map/{zoom}/{x}/{y}: the gallery's own imagery as a base map."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Path, Query, Request
from fastapi.responses import Response

from crossfix.errors import InvalidParameter
from crossfix.geodesy import TileId
from service.errors import ClientGone, Overloaded
from service.galleries.map_tiles import MAX_ZOOM, MapPicture, MapTiles
from service.galleries.snapshot import Snapshot
from service.http.etag import is_known, not_modified, tag_of
from service.observing.metric_families import MAP_QUEUE_FULL
from service.routes.access import Reader
from service.routes.gallery import BRIEFLY, FOR_EVER, PARTIAL, cache_control
from service.runtime import Runtime
from service.schemas import ErrorAnswer

WAITING_AT_MOST = 64
FAILURES: dict[int | str, dict[str, Any]] = {
    422: {"model": ErrorAnswer, "description": "There is no such map tile."},
    503: {"model": ErrorAnswer, "description": "Nothing is loaded yet, or too many are waiting."},
}


class MapDesk:
    """Draws map tiles one after the other on a thread of its own, so that photos never wait."""

    def __init__(self, tiles: MapTiles, *, waiting_at_most: int = WAITING_AT_MOST) -> None:
        self._tiles = tiles
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="map")
        self._turn = asyncio.Semaphore(1)
        self._waiting = 0
        self._waiting_at_most = waiting_at_most

    async def draw(self, request: Request, snapshot: Snapshot, tile: TileId) -> MapPicture:
        """The map tile.

        Raises:
            Overloaded: too many are waiting.
            ClientGone: nobody waits for it any more.
        """
        known = self._tiles.remembered(snapshot.version, tile)
        if known is not None:
            return known
        if self._waiting >= self._waiting_at_most:
            raise Overloaded(
                f"{self._waiting} map tiles are already waiting",
                reason=MAP_QUEUE_FULL,
                retry_after_s=1.0,
            )
        self._waiting += 1
        try:
            async with self._turn:
                if await request.is_disconnected():
                    raise ClientGone("the client closed the connection")
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._pool, self._tiles.draw, snapshot, tile)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Ends the thread once it is idle."""
        self._pool.shutdown(wait=False, cancel_futures=True)


@asynccontextmanager
async def _open_desk(app: FastAPI) -> AsyncIterator[None]:
    app.state.map_desk = MapDesk(MapTiles())
    yield
    app.state.map_desk.close()


router = APIRouter(tags=["gallery"], lifespan=_open_desk)


@router.get(
    "/map/{zoom}/{x}/{y}",
    response_class=Response,
    responses={
        200: {
            "content": {"image/jpeg": {}, "image/png": {}},
            "description": "256 x 256 pixels; transparent where the gallery has no imagery.",
        },
        304: {"description": "Unchanged since the ETag given in If-None-Match."},
        **FAILURES,
    },
)
async def send_map_tile(
    request: Request,
    caller: Reader,  # noqa: ARG001 - asked for its check
    zoom: Annotated[int, Path(ge=0, le=MAX_ZOOM)],
    x: Annotated[int, Path(ge=0, description="Column, 0 at 180 degrees west.")],
    y: Annotated[int, Path(ge=0, description="Row, 0 in the north.")],
    v: Annotated[
        str | None,
        Query(
            description="Gallery version; when it is the live one, the tile may be cached for ever."
        ),
    ] = None,
) -> Response:
    """A Web-Mercator map tile (XYZ) put together from the live gallery's pictures."""
    if max(x, y) >= 2**zoom:
        raise InvalidParameter(
            f"zoom {zoom} has no map tile {x}, {y}", hint="x and y are below 2 to the power of zoom"
        )
    runtime: Runtime = request.app.state.runtime
    snapshot = runtime.holder.current()
    tag = tag_of("map", snapshot.version, zoom, x, y)
    how = FOR_EVER if v == snapshot.version else BRIEFLY
    headers = {"ETag": tag, "Cache-Control": cache_control(how)}
    if is_known(request, tag):
        return not_modified(headers)
    desk: MapDesk = request.app.state.map_desk
    picture = await desk.draw(request, snapshot, TileId(zoom=zoom, x=x, y=y))
    if not picture.is_complete:
        headers = {"Cache-Control": PARTIAL}
    return Response(picture.data, media_type=picture.media_type, headers=headers)
