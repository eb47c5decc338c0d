"""What happens before a request reaches the app: slow, endless, odd and too many connections.

uvicorn with httptools sets no limit on the size of a request's head nor on the time it takes to
come, and refuses in plain text. This protocol adds both limits, a bound on connections below that
of open files (so that galleries can still be opened), and the one shape of errors. A connection
that ends before the whole body was read lingers for a moment: what the client still sends is read
and dropped, since the kernel answers unread bytes with a reset that takes our answer with it.
"""

import asyncio
import json
import resource
import socket
import uuid
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.http.answer_headers import SECURITY_HEADERS
from service.http.answer_wire import AnswerWire
from service.http.error_answers import error_body
from service.logs.log import REQUESTS
from service.observing.metrics import Metrics

HEAD_S = 10.0  # from the connection, or a later head's first byte, to the head's end
UNREAD_S = 60.0  # without a byte taken
LONGEST_URL_BYTES = 8_192
LONGEST_HEAD_BYTES = 32_768
LINGER_S = 2.0
LINGER_BYTES = 100_000_000  # read and dropped, never held
MOST_CONNECTIONS = 50_000
SPARE_FILES = 256  # open files kept for galleries, encoders, logs and jobs

REFUSALS: dict[HTTPStatus, tuple[str, str]] = {
    HTTPStatus.BAD_REQUEST: ("request_malformed", "this is not HTTP/1.1 as it is written"),
    HTTPStatus.REQUEST_TIMEOUT: ("head_too_slow", f"no whole request head came in {HEAD_S:g} s"),
    HTTPStatus.REQUEST_URI_TOO_LONG: (
        "url_too_long",
        f"the URL is longer than {LONGEST_URL_BYTES} bytes",
    ),
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: (
        "headers_too_large",
        f"the head is longer than {LONGEST_HEAD_BYTES} bytes",
    ),
    HTTPStatus.SERVICE_UNAVAILABLE: ("connections_exhausted", "too many connections are open"),
}


class GuardedProtocol(HttpToolsProtocol):
    """One connection; :func:`guarded_protocol` makes the class that uvicorn is given."""

    metrics: Metrics
    most_connections: int

    _clock: asyncio.TimerHandle | None = None
    _in_body = False  # of the newest request; also of one that was answered before its end
    _in_head = False
    _head_bytes = 0  # of this head, in packets before this one
    _parsed_bytes = 0  # of this head, in this packet; the parser tells of whole headers only
    _packet_bytes = 0
    _has_ended = False  # a request, within this packet
    _linger_end: asyncio.TimerHandle | None = None
    _dropped_bytes = 0
    _refusal = HTTPStatus.BAD_REQUEST

    @property
    def _is_idle(self) -> bool:
        """Whether no request of this connection is being worked on."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def _may_answer(self) -> bool:
        """Whether a refusal would stand in nobody else's answer or before it."""
        if self.pipeline:
            return False
        if self._is_idle:  # unless what is wrong is the rest of a body that was answered early
            return not self._in_body
        return self._in_body and not self.cycle.response_started

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the time for the first head."""
        super().connection_made(transport)
        _bound_unread_answers(transport)
        if len(self.connections) > self.most_connections:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)
        else:
            self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the times."""
        self._stop_clock()
        if self._linger_end is not None:
            self._linger_end.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feeds the parser; a head that does not end is refused."""
        if self._linger_end is not None:
            self._drop(data)
            return
        if self.transport.is_closing():
            return
        if self._is_idle:
            self._start_clock()
        self._parsed_bytes, self._packet_bytes, self._has_ended = 0, len(data), False
        super().data_received(data)
        if self._in_head and not self._is_over:
            # Behind another request's end a head is counted by what was parsed of it.
            self._head_bytes += self._parsed_bytes if self._has_ended else len(data)
            self._parsed_bytes = 0
            if self._head_bytes > LONGEST_HEAD_BYTES:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    @property
    def _is_over(self) -> bool:
        return self._linger_end is not None or self.transport.is_closing()

    def on_message_begin(self) -> None:
        """A head's first byte."""
        self._in_head, self._in_body = True, False
        self._head_bytes = self._parsed_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A piece of the URL."""
        super().on_url(url)
        if len(self.url) > LONGEST_URL_BYTES:
            self._refusal = HTTPStatus.REQUEST_URI_TOO_LONG
            raise ValueError(self._refusal)  # ends the parsing; `send_400_response` follows

    def on_header(self, name: bytes, value: bytes) -> None:
        """One whole header."""
        super().on_header(name, value)
        size_bytes = len(name) + len(value) + 4  # with the colon, a space, the line's end
        if self._in_head:
            self._parsed_bytes += size_bytes
        else:  # trailers, after a body in chunks
            self._head_bytes += size_bytes
        # This header may have begun in a packet before, which counted its part of it already.
        in_packet = min(self._parsed_bytes, self._packet_bytes)
        if self._head_bytes + in_packet > LONGEST_HEAD_BYTES:
            self._refusal = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            raise ValueError(self._refusal)

    def on_headers_complete(self) -> None:
        """Stops the time; the app has its own for the body and the answer."""
        self._stop_clock()
        super().on_headers_complete()
        self._in_head, self._in_body = False, True
        self._head_bytes = self._parsed_bytes = 0
        has_body = self.scope["method"] != "HEAD"
        self.cycle.transport = AnswerWire(self, has_body=has_body)  # type: ignore[assignment]

    def on_message_complete(self) -> None:
        """The body's end."""
        self._in_body, self._has_ended = False, True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Goes on to the next request, unless the connection is about to end."""
        if self._linger_end is None:
            super().on_response_complete()
        else:
            self.server_state.total_requests += 1

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the library's words
        """Called by uvicorn when the parser gives up."""
        self._refuse(self._refusal)

    def _start_clock(self) -> None:
        if self._clock is None:
            self._clock = self.loop.call_later(HEAD_S, self._time_is_up)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _time_is_up(self) -> None:
        self._clock = None
        if not self._is_idle or self._is_over:
            return
        if not self._in_head:  # the rest of a refused body, or nothing at all
            self.transport.close()
        else:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)

    def _refuse(self, status: HTTPStatus) -> None:
        """Closes the connection, with an answer of its own where no other one is due."""
        if self._is_over:
            return
        if not self._may_answer:
            self.transport.close()
            return
        if not self._is_idle:  # the app has nobody to answer any more
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        request_id = uuid.uuid4().hex
        self.transport.write(_answer(status, request_id))
        self._tell(status, request_id)
        if status == HTTPStatus.SERVICE_UNAVAILABLE:  # there is no room for it to linger in
            self.transport.close()
        else:
            self.linger()

    def close_gently(self) -> None:
        """Closes; where more of the body is to come, only after it has."""
        if self._in_body:
            self.linger()
        else:
            self.transport.close()

    def linger(self) -> None:
        """Sends no more, and drops what comes until the client closes or it was enough."""
        if self._is_over:
            return
        self._stop_clock()
        self._unset_keepalive_if_required()
        self._linger_end = self.loop.call_later(LINGER_S, self.transport.close)
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _drop(self, data: bytes) -> None:
        self._dropped_bytes += len(data)
        if self._dropped_bytes > LINGER_BYTES:
            self.transport.close()

    def _tell(self, status: HTTPStatus, request_id: str) -> None:
        self.metrics.requests.labels("unmatched", str(int(status))).inc()
        fields = {
            "request_id": request_id,
            "route": "unmatched",
            "status": int(status),
            "error": REFUSALS[status][0],
        }
        REQUESTS.info("request", extra={"fields": fields})


def _bound_unread_answers(transport: asyncio.Transport) -> None:
    """Lets the kernel (Linux) drop a client that takes none of its answer for `UNREAD_S`."""
    wire = transport.get_extra_info("socket")
    if wire is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        timeout_ms = round(1000 * UNREAD_S)
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)


def _answer(status: HTTPStatus, request_id: str) -> bytes:
    code, message = REFUSALS[status]
    body = json.dumps(error_body(code, message, "", request_id)).encode()
    headers = {
        b"content-type": b"application/json",
        b"content-length": str(len(body)).encode(),
        b"connection": b"close",
        b"x-request-id": request_id.encode(),
        **SECURITY_HEADERS,
    }
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers[b"retry-after"] = b"5"
    lines = [b"HTTP/1.1 %d %s" % (status, status.phrase.encode())]
    lines += [name + b": " + value for name, value in headers.items()]
    return b"\r\n".join([*lines, b"", body])


def guarded_protocol(
    metrics: Metrics, most_connections: int | None = None
) -> type[GuardedProtocol]:
    """The protocol for one server.

    Args:
        most_connections: at once; by default what the limit of open files allows.
    """
    most = most_connections or most_by_open_files()
    return type("Guarded", (GuardedProtocol,), {"metrics": metrics, "most_connections": most})


def most_by_open_files() -> int:
    """Connections that leave `SPARE_FILES` of the open files this process may have."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return min(MOST_CONNECTIONS, max(allowed - SPARE_FILES, allowed // 2))
