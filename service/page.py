"""GET /: one page for people, made of three files of our own and nothing from elsewhere."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

STATIC = Path(__file__).parent / "static"
PAGE_FILES = {"page.css": "text/css", "page.js": "text/javascript"}
POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'self'"
)
router = APIRouter(include_in_schema=False)


@router.get("/")
async def send_page() -> FileResponse:
    """The page."""
    return FileResponse(
        STATIC / "page.html",
        media_type="text/html",
        headers={"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"},
    )


@router.get("/static/page.css")
async def send_style() -> FileResponse:
    """Its looks."""
    return FileResponse(STATIC / "page.css", media_type=PAGE_FILES["page.css"])


@router.get("/static/page.js")
async def send_script() -> FileResponse:
    """Its behaviour."""
    return FileResponse(STATIC / "page.js", media_type=PAGE_FILES["page.js"])
