"""GET /, /page.json and /static: one page for people, made of files of our own and Leaflet."""

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from crossfix.view import QUERY_VIEWS
from service.http.content_negotiation import accepts_coding
from service.http.etag import is_known, not_modified
from service.photos.schemas import LocalizeQuery
from service.runtime import Runtime
from service.settings_checks import map_origin

STATIC = Path(__file__).parent.parent / "static"
# Written down, since what Python guesses depends on the machine's mime.types.
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
PLAIN_TEXT = "text/plain; charset=utf-8"  # licences
WORTH_COMPRESSING_BYTES = 1000
# Leaflet and Swagger UI set styles through the DOM's own interface, without 'unsafe-inline'.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:{map_host}; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class StaticFile:
    """A file of the page, held in memory, and compressed where that makes it smaller."""

    data: bytes
    compressed: bytes | None
    media_type: str
    tag: str


@cache
def static_files() -> dict[str, StaticFile]:
    """All files of the page by their path under `static/`. Nothing else can be asked for."""
    paths = (path for path in sorted(STATIC.rglob("*")) if path.is_file())
    return {path.relative_to(STATIC).as_posix(): _read(path) for path in paths}


def _read(path: Path) -> StaticFile:
    data = path.read_bytes()
    packed = gzip.compress(data, mtime=0) if len(data) > WORTH_COMPRESSING_BYTES else data
    return StaticFile(
        data=data,
        compressed=packed if len(packed) < 0.9 * len(data) else None,
        media_type=MEDIA_TYPES.get(path.suffix, PLAIN_TEXT),
        tag=f'W/"{hashlib.sha256(data).hexdigest()[:20]}"',
    )


def answer_file(request: Request, name: str, headers: dict[str, str] | None = None) -> Response:
    """A file of the page; 304 when the browser holds it.

    Raises:
        HTTPException: 404, there is no such file.
    """
    file = static_files().get(name)
    if file is None:
        raise HTTPException(404)
    # `no-cache`: asked for again each time, so that a new version is never mixed with an old one.
    sent = {
        "ETag": file.tag,
        "Cache-Control": "no-cache",
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
        **(headers or {}),
    }
    if is_known(request, file.tag.removeprefix("W/")):
        return not_modified(sent)
    accepted = request.headers.get("accept-encoding", "")
    if file.compressed is not None and accepts_coding(accepted, "gzip"):
        sent["Content-Encoding"] = "gzip"
        return Response(file.compressed, media_type=file.media_type, headers=sent)
    return Response(file.data, media_type=file.media_type, headers=sent)


@router.get("/")
def send_page(request: Request) -> Response:
    """The page."""
    runtime: Runtime = request.app.state.runtime
    policy = POLICY.format(map_host=_after_space(map_origin(runtime.settings.map_url)))
    return answer_file(request, "page.html", {"Content-Security-Policy": policy})


@router.get("/static/{name:path}")
def send_static(request: Request, name: str) -> Response:
    """What the page is made of."""
    return answer_file(request, name)


@router.get("/page.json")
async def describe_page(request: Request) -> dict[str, Any]:
    """What the page must know before it has a key."""
    runtime: Runtime = request.app.state.runtime
    settings = runtime.settings
    return {
        "version": request.app.version,
        "needs_key": settings.readers_need_key,
        "keeps_images": settings.keep_images is not None,
        "map_url": settings.map_url if map_origin(settings.map_url) else "",
        "map_attribution": settings.map_attribution,
        "views": _views(runtime),
        "limits": {
            "max_body_bytes": settings.max_body_bytes,
            "max_pixels": settings.max_pixels,
            "default_k": settings.default_k,
            "max_k": _largest_k(),
        },
    }


def _views(runtime: Runtime) -> dict[str, Any] | None:
    """What can be asked of the loaded encoder; None while nothing is loaded."""
    live = runtime.holder.live
    if live is None:
        return None
    manifest = live.encoder.manifest
    return {
        view: {
            "calibrated": view in manifest.calibration,
            "takes_heading": manifest.views[view].fit == "panorama_canvas",
        }
        for view in QUERY_VIEWS
        if view in manifest.views
    }


def _largest_k() -> int:
    (limit,) = [part.le for part in LocalizeQuery.model_fields["k"].metadata if hasattr(part, "le")]
    return int(limit)


def _after_space(word: str) -> str:
    return f" {word}" if word else ""
