"""Around every request: its id, its metrics and log line, its body limit. Plain ASGI."""

import re
import time
import uuid
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crossfix.errors import CrossfixError
from service.error_answers import internal_error_response
from service.errors import BodyTooLarge, Overloaded
from service.log import REQUESTS
from service.metrics import Metrics

REQUEST_ID_HEADER = "X-Request-Id"
_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


class RequestContext:
    """Gives each request an id, counts and logs it, and answers the unforeseen with a bare 500."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the lifespan untouched."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        started, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        with self.metrics.in_flight.track_inprogress():
            try:
                await self.app(scope, receive, send_with_id)
            except Exception:
                REQUESTS.exception("unforeseen", extra={"fields": {"request_id": request_id}})
                if not status:
                    await internal_error_response(request_id)(scope, receive, send_with_id)
            finally:
                self._record(scope, status, time.perf_counter() - started)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        state: dict[str, Any] = scope["state"]
        # The route's template, not the path: a tile id tells a place.
        route = getattr(scope.get("route"), "path", "unmatched")
        error = state.get("error")
        self.metrics.requests.labels(route, str(status)).inc()
        self.metrics.request_seconds.labels(route).observe(seconds)
        if isinstance(error, Overloaded):
            self.metrics.rejected.labels(error.reason).inc()
        fields = {
            "request_id": state["request_id"],
            "method": scope["method"],
            "route": route,
            "status": status,
            "duration_ms": round(seconds * 1000, 2),
        }
        if isinstance(error, CrossfixError):
            fields["error"] = error.code
            if status >= 500:
                fields["reason"] = str(error)
        REQUESTS.info("request", extra={"fields": fields | state.get("log", {})})


def _request_id(scope: Scope) -> str:
    """The caller's id when it is short and harmless, else a new one."""
    given = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
    return given if _ACCEPTED_ID.fullmatch(given) else uuid.uuid4().hex


class BodyLimit:
    """Refuses longer bodies: by their Content-Length unread, chunked ones as soon as too long."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on with a counting `receive`; the error surfaces where the body is read."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        received = int(declared) if declared.isdigit() and int(declared) > self.max_bytes else 0

        async def receive_limited() -> Message:
            nonlocal received
            self._check(received)
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                self._check(received)
            return message

        await self.app(scope, receive_limited, send)

    def _check(self, received: int) -> None:
        if received > self.max_bytes:
            raise BodyTooLarge(
                f"the body is longer than {self.max_bytes} bytes",
                hint="send a smaller or more strongly compressed image",
            )
