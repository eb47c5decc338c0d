"""One JSON object per line on stdout. Never an image, a coordinate, a query string, a file name.

Whatever a caller sends, a line stays one line: all but plain ASCII is written as JSON escapes.
"""

import json
import logging
import math
import sys
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from starlette.types import Scope

from crossfix.errors import CrossfixError
from service.logs.log_writer import LineWriter, WriterHandler
from service.settings import Settings
from service.version import service_version

REQUESTS = logging.getLogger("service.request")
EVENTS = logging.getLogger("service.event")
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"))
PROBES = frozenset(("/livez", "/readyz", "/metrics"))  # asked every few seconds, by machines
LONGEST_TEXT = 2000
LONGEST_TRACE = 6000
# They quote bytes of bodies, one line per odd request.
CHATTY = ("python_multipart", "PIL", "urllib3")


class JsonFormatter(logging.Formatter):
    """A record as one line; `extra={"fields": {...}}` adds keys, a traceback becomes `trace`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": _plain(record.getMessage()),
        }
        if not record.name.startswith("service."):
            line["logger"] = record.name
        for name, value in getattr(record, "fields", {}).items():
            line.setdefault(str(name), _plain(value))
        if record.exc_info:
            # The end of a trace says most.
            line["trace"] = self.formatException(record.exc_info)[-LONGEST_TRACE:]
        return json.dumps(line).replace("\x7f", "\\u007f")


def _plain(value: Any) -> Any:  # noqa: ANN401
    """What JSON can hold: finite numbers, texts of bounded length."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)[:LONGEST_TEXT]


def log_request(scope: Scope, *, status: int, seconds: float) -> None:
    """Writes one request's line; `request.state.log` and `request.state.error` add to it.

    Probes that went well are told at level DEBUG, which is not written: they would be most of the
    log.

    Args:
        scope: of the request, after it was answered: its route is known by then.
        status: sent, 0 if none was.
        seconds: from the first byte in to the last byte out.
    """
    state: dict[str, Any] = scope.get("state", {})
    error = state.get("error")
    # The route's template, not the path: a tile id tells a place.
    route = getattr(scope.get("route"), "path", "unmatched")
    fields = {
        "request_id": state.get("request_id", ""),
        "method": scope["method"] if scope["method"] in METHODS else "other",
        "route": route,
        "status": status,
        "duration_ms": round(seconds * 1000, 2),
    }
    if state.get("trace_id"):
        fields["trace_id"] = state["trace_id"]
    if getattr(state.get("caller"), "name", ""):
        fields["caller"] = state["caller"].name  # the key's name, never the key
    if isinstance(error, CrossfixError):
        fields["error"] = error.code
        if status >= 500:
            fields["reason"] = str(error)
    level = logging.DEBUG if route in PROBES and 200 <= status < 300 else logging.INFO
    REQUESTS.log(level, "request", extra={"fields": fields | state.get("log", {})})


def configure_logging() -> None:
    """Sends our INFO and everybody's warnings to stdout as JSON; for the process's entry point.

    A stdout that is slow, full or closed costs lines, never requests: a thread writes them from
    a bounded queue, and what is lost is counted (`lost_lines`) and said once stdout is back.
    """
    try:
        descriptor = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):
        descriptor = -1  # closed before we started, or not a file; a number may be reused by then
    handler = WriterHandler(LineWriter(descriptor))
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(True)
    logging.raiseExceptions = False
    logging.getLogger("service").setLevel(logging.INFO)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)


def lost_lines() -> int:
    """Log lines of this process that never reached stdout."""
    return sum(
        handler.writer.lost
        for handler in logging.getLogger().handlers
        if isinstance(handler, WriterHandler)
    )


def log_start(settings: Settings) -> None:
    """Writes how this service was set up, for whoever wonders later; call once at start."""
    EVENTS.info(
        "start", extra={"fields": {"version": service_version(), **safe_settings(settings)}}
    )


def safe_settings(settings: Settings) -> dict[str, Any]:
    """All settings but what may hold a secret: of addresses only scheme and host are told."""
    told = settings.model_dump(mode="json")
    for name in ("map_url", "otlp_endpoint"):
        parts = urlsplit(told[name])
        told[name] = f"{parts.scheme}://{parts.hostname}" if parts.hostname else ""
    return told
