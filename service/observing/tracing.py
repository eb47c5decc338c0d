"""OpenTelemetry traces, when `otlp_endpoint` is set: a span per request, one per stage below it.

Attributes follow the semantic conventions for HTTP servers, less what tells a place or a person:
no path (a tile id tells a place), no query, no file name, no client address.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crossfix.errors import CrossfixError
from service.logs.log import METHODS, PROBES
from service.observing.trace_export import make_provider
from service.settings import Settings

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig
    from opentelemetry.trace import Span

CLOSE_S = 3.0
Timeline = Iterable[tuple[str, float, float]]
# FastAPI's own telemetry writes paths, queries and clients' addresses wherever an operator's
# environment tells OpenTelemetry to: `FastAPI(telemetry=NO_OTHER_TELEMETRY)`.
NO_OTHER_TELEMETRY: "TelemetryConfig" = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
# Ours, not OpenTelemetry's: frameworks put spans of their own there that record nothing.
_CURRENT: "ContextVar[Span | None]" = ContextVar("crossfix_span", default=None)


class Tracing:
    """Makes spans and sends them in the background; does nothing without an endpoint.

    A caller's W3C `traceparent` is continued, and its decision to sample holds; `trace_share`
    decides for all others. Collectors that fail or hang cost nothing but their spans.

    Raises:
        InvalidParameter: an endpoint is set but is no address, or the extra is not installed.
    """

    def __init__(self, settings: Settings) -> None:
        self._provider = make_provider(settings) if settings.otlp_endpoint else None
        if self._provider is not None:
            self._tracer = self._provider.get_tracer("crossfix.service")

    @property
    def enabled(self) -> bool:
        """Whether spans are made at all."""
        return self._provider is not None

    def stages(self, timeline: Timeline, *, photo: int | None = None) -> None:
        """Makes child spans of the current request's span.

        Args:
            timeline: (name, start, end) in `time.monotonic` seconds.
            photo: position in a batch, from 0.
        """
        parent = _CURRENT.get()
        if self._provider is None or parent is None or not parent.is_recording():
            return
        from opentelemetry.trace import set_span_in_context

        context = set_span_in_context(parent)
        to_unix_ns = time.time_ns() - time.monotonic_ns()
        attributes = {} if photo is None else {"crossfix.photo": photo}
        for name, start, end in timeline:
            began_ns = to_unix_ns + round(start * 1e9)
            span = self._tracer.start_span(
                name, context, start_time=began_ns, attributes=attributes
            )
            span.end(to_unix_ns + round(end * 1e9))

    @contextmanager
    def request(self, scope: Scope) -> "Iterator[Span]":
        """The server span of one request, current within the block."""
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        headers = Headers(scope=scope)
        given = {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}
        span = self._tracer.start_span(
            _method(scope, "HTTP"),
            context=TraceContextTextMapPropagator().extract(given),
            kind=SpanKind.SERVER,
            attributes=_request_attributes(scope),
        )
        context = span.get_span_context()
        if context.is_valid:
            scope["state"]["trace_id"] = f"{context.trace_id:032x}"
        token = _CURRENT.set(span)
        try:
            yield span
        finally:
            _CURRENT.reset(token)
            span.end()

    def close(self) -> None:
        """Sends what is left, for `CLOSE_S` seconds at most."""
        if self._provider is not None:
            # The library waits half a minute for a collector that hangs.
            closing = threading.Thread(target=self._provider.shutdown, daemon=True)
            closing.start()
            closing.join(CLOSE_S)


class TraceRequests:
    """Wraps each request in a span; plain ASGI, so that a request's stages become its children."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self.app = app
        self.tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; all else untouched."""
        if not self.tracing.enabled or scope["type"] != "http" or scope["path"] in PROBES:
            await self.app(scope, receive, send)
            return
        status = 0

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        scope.setdefault("state", {})
        with self.tracing.request(scope) as span:
            try:
                await self.app(scope, receive, send_noting)
            except Exception as problem:
                _fail(span, type(problem).__name__)
                raise
            finally:
                _describe(span, scope, status)


def _method(scope: Scope, other: str) -> str:
    """The method, or `other` for words that no standard knows: callers choose them freely."""
    return scope["method"] if scope["method"] in METHODS else other


def _request_attributes(scope: Scope) -> dict[str, Any]:
    attributes = {
        "http.request.method": _method(scope, "_OTHER"),
        "url.scheme": scope.get("scheme", "http"),
        "network.protocol.version": scope.get("http_version", "1.1"),
        "crossfix.request_id": scope["state"].get("request_id", ""),
    }
    if scope.get("server"):
        host, port = scope["server"]
        attributes["server.address"] = host
        if port is not None:
            attributes["server.port"] = port
    return attributes


def _describe(span: "Span", scope: Scope, status: int) -> None:
    """What is known once the request is over."""
    route = getattr(scope.get("route"), "path", None)
    if route:
        span.update_name(f"{_method(scope, 'HTTP')} {route}")
        span.set_attribute("http.route", route)
    if status:
        span.set_attribute("http.response.status_code", status)
    error = scope["state"].get("error")
    if status >= 500:
        _fail(span, error.code if isinstance(error, CrossfixError) else str(status))
    elif isinstance(error, CrossfixError):
        span.set_attribute("crossfix.error_code", error.code)
    for name in ("bytes", "gallery_version", "refused"):
        if name in scope["state"].get("log", {}):
            span.set_attribute(f"crossfix.{name}", scope["state"]["log"][name])


def _fail(span: "Span", kind: str) -> None:
    from opentelemetry.trace import StatusCode

    span.set_status(StatusCode.ERROR)
    span.set_attribute("error.type", kind)
