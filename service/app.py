"""The FastAPI application, made from settings."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware

from crossfix.errors import CrossfixError
from service.galleries.snapshot import Snapshot
from service.guard.rate_limit import address_key
from service.http.body_limit import MULTIPART_OVERHEAD_BYTES, BodyLimit, BodyRule
from service.http.error_answers import install_handlers
from service.http.middleware import CrossOrigin, RequestContext
from service.observing.tracing import NO_OTHER_TELEMETRY, TraceRequests
from service.routes import activate as routes_activate
from service.routes import api_docs, page
from service.routes import batch as routes_batch
from service.routes import gallery as routes_gallery
from service.routes import health as routes_health
from service.routes import jobs as routes_jobs
from service.routes import localize as routes_localize
from service.routes import map as routes_map
from service.routes.access import BEARER, KEY_HEADER
from service.runtime import Runtime
from service.schemas import ErrorAnswer
from service.settings import Settings
from service.version import service_version

DENIED: dict[int | str, dict[str, Any]] = {
    401: {"model": ErrorAnswer, "description": "An API key is needed, or the one sent is wrong."},
    403: {"model": ErrorAnswer, "description": "The API key, or its lack, does not allow this."},
}
OPEN_ROUTERS: tuple[APIRouter, ...] = (page.router, api_docs.router)
GUARDED_ROUTERS: tuple[APIRouter, ...] = (
    routes_localize.router,
    routes_batch.router,
    routes_gallery.router,
    routes_map.router,
    routes_activate.router,
    routes_jobs.router,
)


class Service(FastAPI):
    """FastAPI whose document says that keys are needed only where there is a keys file."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        made_before = self.openapi_schema is not None
        document = super().openapi()
        if not made_before:
            for operation in _operations(document):
                if "security" in operation:
                    operation["security"] = [{}, {BEARER: []}, {KEY_HEADER: []}]
        return document


def create_app(
    settings: Settings,
    *,
    snapshot: Snapshot | None = None,
    on_failed_start: Callable[[CrossfixError], None] | None = None,
) -> FastAPI:
    """The service as an ASGI app; loads in the background unless given a snapshot.

    Args:
        on_failed_start: called, in the event loop, when loading fails.

    Raises:
        CrossfixError: the settings cannot be served; see :class:`Runtime`.
    """
    runtime = Runtime(settings, snapshot=snapshot, on_failed_start=on_failed_start)
    runtime.metrics.build_info.labels(service_version()).set(1)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await runtime.start()
        yield
        await runtime.stop()

    app = Service(
        title="Crossfix",
        version=service_version(),
        lifespan=lifespan,
        description="Where was this photo taken? Matches ground and drone photos against "
        "geo-tagged satellite tiles.",
        docs_url=None,
        redoc_url=None,  # both load scripts from elsewhere
        redirect_slashes=False,  # redirects would name whatever host the caller made up
        middleware=_middleware(settings, runtime),
        telemetry=NO_OTHER_TELEMETRY,
    )
    app.state.runtime = runtime
    install_handlers(app)
    for router in GUARDED_ROUTERS:
        app.include_router(router, responses=DENIED)
    app.include_router(routes_health.router)
    for router in OPEN_ROUTERS:
        app.include_router(router)
    routers = (*GUARDED_ROUTERS, routes_health.router, *OPEN_ROUTERS)
    app.state.all_routes = [route for router in routers for route in router.routes]
    return app


def _middleware(settings: Settings, runtime: Runtime) -> list[Middleware]:
    """Outermost first."""
    layers = [
        Middleware(
            RequestContext,
            metrics=runtime.metrics,
            private=settings.readers_need_key,
            other_origins=bool(settings.cors_origins),
            is_draining=lambda: runtime.draining,
        ),
        Middleware(TraceRequests, tracing=runtime.tracing),
    ]
    if settings.cors_origins:
        layers.append(Middleware(CrossOrigin, origins=settings.cors_origins))
    limit = Middleware(
        BodyLimit,
        rules=_body_rules(settings),
        upload_s=settings.upload_s,
        uploads=runtime.uploads,
        sender_of=address_key,
    )
    return [*layers, limit]


def _body_rules(settings: Settings) -> dict[str, BodyRule]:
    return {
        "/localize": BodyRule(
            settings.max_body_bytes + MULTIPART_OVERHEAD_BYTES,
            hint="send a smaller or more strongly compressed image",
            holds_photos=True,
        ),
        "/localize/batch": BodyRule(
            settings.max_batch_body_bytes + MULTIPART_OVERHEAD_BYTES,
            hint="send fewer, smaller or more strongly compressed images",
            holds_photos=True,
        ),
        "/gallery/rebuild": BodyRule(routes_jobs.ORDER_BYTES, hint="simplify the order's areas"),
    }


def _operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        operation
        for path in document["paths"].values()
        for operation in path.values()
        if isinstance(operation, dict)
    ]
