"""Around every request: its id, its metrics and log line, its headers. Plain ASGI."""

import asyncio
import re
import time
import uuid
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.answer_headers import complete_headers
from service.http.error_answers import error_response, internal_error_response, stopping_response
from service.logs.log import REQUESTS, log_request
from service.observing.metrics import Metrics

REQUEST_ID_HEADER = "X-Request-Id"
_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


class RequestContext:
    """Gives each request an id, counts and logs it, and answers the unforeseen with a bare 500.

    HEAD is answered as GET without the body, so that probes may use it on every route.

    Args:
        private, other_origins: see :func:`complete_headers`.
        is_draining: whether the service is about to stop. Answers then end their connection, so
            that clients which keep theirs open have left before the end.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        *,
        private: bool = False,
        other_origins: bool = False,
        is_draining: Callable[[], bool] = lambda: False,
    ) -> None:
        self.app = app
        self.metrics = metrics
        self.private = private
        self.other_origins = other_origins
        self.is_draining = is_draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the lifespan untouched."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_head = scope["method"] == "HEAD"
        scope = {**scope, "method": "GET"} if is_head else scope
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        started, status = time.perf_counter(), 0

        async def send_completed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                complete_headers(
                    message,
                    request_id=request_id,
                    private=self.private,
                    other_origins=self.other_origins,
                    is_last=self.is_draining(),
                )
            elif is_head:
                message = {**message, "body": b""}
            await send(message)

        with self.metrics.in_flight.track_inprogress():
            try:
                await self.app(scope, receive, send_completed)
            except asyncio.CancelledError:  # the server's patience at its stop is over
                if not status:
                    answer = stopping_response(request_id)
                    await answer(scope, receive, send_completed)
                raise
            except Exception:
                REQUESTS.exception("unforeseen", extra={"fields": {"request_id": request_id}})
                if not status:
                    await internal_error_response(request_id)(scope, receive, send_completed)
            finally:
                asked = {**scope, "method": "HEAD"} if is_head else scope
                self._record(asked, status, time.perf_counter() - started)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        # The route's template, not the path: a tile id tells a place.
        route = getattr(scope.get("route"), "path", "unmatched")
        error = scope["state"].get("error")
        self.metrics.observe_request(route=route, status=status, seconds=seconds, error=error)
        log_request(scope, status=status, seconds=seconds)


def _request_id(scope: Scope) -> str:
    """The caller's id when it is short and harmless, else a new one."""
    given = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
    return given if _ACCEPTED_ID.fullmatch(given) else uuid.uuid4().hex


class CrossOrigin(CORSMiddleware):
    """Starlette's CORS, for the configured origins; refusals in the one shape of errors.

    Without credentials: keys travel in a header that the page's own script sets.
    """

    def __init__(self, app: ASGIApp, origins: tuple[str, ...]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=("GET", "HEAD", "POST", "DELETE"),
            allow_headers=("Authorization", "X-Api-Key", REQUEST_ID_HEADER, "traceparent"),
            expose_headers=(REQUEST_ID_HEADER, "Server-Timing", "Retry-After"),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a preflight, or adds headers to what the app answers."""
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        preflight = "origin" in headers and "access-control-request-method" in headers
        if not preflight or scope["method"] != "OPTIONS":
            await super().__call__(scope, receive, send)
            return
        answer = self.preflight_response(headers)
        if answer.status_code >= 400:
            kept = {k: v for k, v in answer.headers.items() if not k.startswith("content-")}
            answer = error_response(
                403,
                "origin_not_allowed",
                "pages of this origin, or this kind of request of theirs, are not answered",
                "the service's operator can name the origin in the setting cors_origins",
                request_id=scope["state"]["request_id"],
                headers=kept,
            )
        await answer(scope, receive, send)
