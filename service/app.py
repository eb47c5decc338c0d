"""The FastAPI application, made from settings."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI
from starlette.middleware import Middleware

from crossfix.errors import CrossfixError
from service import (
    api_docs,
    page,
    routes_activate,
    routes_batch,
    routes_gallery,
    routes_health,
    routes_jobs,
    routes_localize,
    routes_map,
)
from service.error_answers import install_handlers
from service.middleware import BodyLimit, RequestContext
from service.runtime import Runtime
from service.settings import Settings
from service.snapshot import Snapshot

# Room for a multipart body's boundaries and part headers around a photo of the full size.
MULTIPART_OVERHEAD_BYTES = 16_384


def create_app(
    settings: Settings,
    *,
    snapshot: Snapshot | None = None,
    on_failed_start: Callable[[CrossfixError], None] | None = None,
) -> FastAPI:
    """The service as an ASGI app; loads in the background unless given a snapshot.

    Args:
        on_failed_start: called, in the event loop, when loading fails.
    """
    runtime = Runtime(settings, snapshot=snapshot, on_failed_start=on_failed_start)
    runtime.metrics.build_info.labels(service_version()).set(1)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        runtime.start()
        yield
        await runtime.stop()

    app = FastAPI(
        title="Crossfix",
        version=service_version(),
        lifespan=lifespan,
        description="Where was this photo taken? Matches ground and drone photos against "
        "geo-tagged satellite tiles.",
        docs_url=None,
        redoc_url=None,  # both load scripts from elsewhere
        middleware=[
            Middleware(RequestContext, metrics=runtime.metrics),
            Middleware(BodyLimit, max_bytes=settings.max_body_bytes + MULTIPART_OVERHEAD_BYTES),
        ],
    )
    app.state.runtime = runtime
    install_handlers(app)
    for module in (
        routes_localize,
        routes_batch,
        routes_gallery,
        routes_map,
        routes_activate,
        routes_jobs,
        routes_health,
        page,
        api_docs,
    ):
        app.include_router(module.router)
    return app


def service_version() -> str:
    """The installed distribution's version, or `unknown` from a bare checkout."""
    try:
        return version("crossfix")
    except PackageNotFoundError:
        return "unknown"
