"""A collector for tests: takes OTLP over HTTP on a free port and keeps the spans."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Receiver:
    """What arrived; `behaviour` is `take`, `fail` (500) or `hang` (until the block ends)."""

    def __init__(self, behaviour: str) -> None:
        self.behaviour = behaviour
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []
        self.asked = threading.Event()
        self.over = threading.Event()
        self.url = ""

    def take(self, body: bytes) -> None:
        """Keeps one export's spans."""
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append(attributes_of(group.resource))
            for scope in group.scope_spans:
                self.spans.extend(scope.spans)

    def wait_for(self, name: str, patience_s: float = 20.0) -> Any:
        """The first span of this name."""
        give_up = time.monotonic() + patience_s
        while time.monotonic() < give_up:
            for span in list(self.spans):
                if span.name == name:
                    return span
            time.sleep(0.02)
        raise AssertionError(f"no span {name!r}, only {[span.name for span in self.spans]}")


def attributes_of(thing: Any) -> dict[str, Any]:
    """Attributes of a span or resource as a dictionary."""
    return {
        one.key: getattr(one.value, one.value.WhichOneof("value") or "string_value")
        for one in thing.attributes
    }


@contextmanager
def receive(behaviour: str = "take") -> Iterator[Receiver]:
    """A receiver that listens within the block."""
    receiver = Receiver(behaviour)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.asked.set()
            if receiver.behaviour == "hang":
                receiver.over.wait(60)
            elif receiver.behaviour == "take":
                receiver.take(body)
            self.send_response(500 if receiver.behaviour == "fail" else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Exporters that gave up waiting."""

    server = Server(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}/v1/traces"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
