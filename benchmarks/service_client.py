"""A client that costs little: one photo over raw sockets, from many clients or at a Poisson rate.

    python -m benchmarks.service_client --port 8000 --photo a.jpg --clients 8 --seconds 10
    python -m benchmarks.service_client --port 8000 --photo a.jpg --rate 50 --seconds 10

With `--clients`, each sends its next photo when it has the answer to its last (closed loop), after
a 503 when Retry-After is over. With `--rate`, photos start at random times whatever became of the
others (open loop), and time counts from when a photo should have started, not from when it could.
Prints one JSON object: per status the milliseconds of each answer, how many 503s had no
Retry-After, how many got no answer, and the client's own CPU seconds.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import deque
from pathlib import Path

import uvloop

NAIVE_BOUNDARY = b"----photo"


def main() -> int:
    """Sends, prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.service_client")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--path", default="/localize?view=drone")
    parser.add_argument("--multipart", action="store_true", help="a form field `image` instead")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.0, help="photos per second, open loop")
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    message = request(options.path, options.photo.read_bytes(), multipart=options.multipart)
    client = Client(options.port, message)
    work = (
        client.at_rate(options.rate, options.seconds)
        if options.rate
        else client.in_turns(options.clients, options.seconds)
    )
    uvloop.run(work)
    print(json.dumps(client.report()))
    return 0


def request(path: str, photo: bytes, *, multipart: bool = False) -> bytes:
    """The whole HTTP request."""
    kind = b"image/jpeg"
    if multipart:
        kind = b"multipart/form-data; boundary=" + NAIVE_BOUNDARY
        photo = (
            b"--" + NAIVE_BOUNDARY + b'\r\nContent-Disposition: form-data; name="image"; '
            b'filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
            + photo
            + b"\r\n--" + NAIVE_BOUNDARY + b"--\r\n"
        )  # fmt: skip
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind.decode()}\r\n"
        f"Content-Length: {len(photo)}\r\n\r\n"
    )
    return head.encode() + photo


class Connection(asyncio.Protocol):
    """One kept connection; `answer` holds the status and Retry-After of the request in flight."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.answer: asyncio.Future[tuple[int, float | None]] | None = None
        self._received = bytearray()
        self._whole = 0  # bytes of head and body, once known

    @property
    def is_open(self) -> bool:
        """Whether another request can be sent."""
        return self.transport is not None and not self.transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        self.transport = transport  # type: ignore[assignment]

    def send(self, message: bytes) -> "asyncio.Future[tuple[int, float | None]]":
        """Sends one request."""
        if self.transport is None:
            raise ConnectionError("not connected")
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(message)
        return self.answer

    def data_received(self, data: bytes) -> None:
        """Collects one answer; only its length is read until it is whole."""
        self._received += data
        if not self._whole:
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                return
            length = _header(bytes(self._received[:end]), b"content-length")
            self._whole = end + 4 + int(length or 0)
        if len(self._received) < self._whole:
            return
        head = bytes(self._received[: self._received.find(b"\r\n\r\n")])
        pause = _header(head, b"retry-after")
        self._received.clear()
        self._whole = 0
        if self.answer is not None and not self.answer.done():
            self.answer.set_result((int(head[9:12]), float(pause) if pause else None))

    def connection_lost(self, problem: Exception | None) -> None:  # noqa: ARG002
        """Tells the one who waits."""
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(ConnectionError("closed before the answer"))


def _header(head: bytes, name: bytes) -> bytes | None:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip()
    return None


class Client:
    """Sends one request again and again and notes what comes back."""

    def __init__(self, port: int, message: bytes) -> None:
        self._port = port
        self._message = message
        self._idle: deque[Connection] = deque()
        self.answers_ms: dict[int, list[float]] = {}
        self.unanswered = 0
        self.without_retry_after = 0
        self._began = time.monotonic()

    async def in_turns(self, clients: int, seconds: float) -> None:
        """Closed loop."""
        until = time.monotonic() + seconds

        async def one() -> None:
            while (now := time.monotonic()) < until:
                pause_s = await self._ask(now)
                await asyncio.sleep(min(pause_s, max(0.0, until - time.monotonic())))

        await asyncio.gather(*(one() for _ in range(clients)))

    async def at_rate(self, rate: float, seconds: float) -> None:
        """Open loop, Poisson."""
        random_times, tasks = random.Random(0), []
        due = time.monotonic()
        until = due + seconds
        while (due := due + random_times.expovariate(rate)) < until:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            tasks.append(asyncio.create_task(self._ask(due)))
        await asyncio.gather(*tasks)

    async def _ask(self, due: float) -> float:
        """Sends once; how long the server wants to be left alone."""
        try:
            connection = await self._connect()
            status, pause_s = await asyncio.wait_for(connection.send(self._message), 120)
        except (OSError, TimeoutError):
            self.unanswered += 1
            return 0.1
        self.answers_ms.setdefault(status, []).append(1000 * (time.monotonic() - due))
        if connection.is_open:
            self._idle.append(connection)
        if status == 503 and pause_s is None:
            self.without_retry_after += 1
        return pause_s or 0.0

    async def _connect(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, "127.0.0.1", self._port)
        return connection

    def report(self) -> dict[str, object]:
        """What is printed."""
        return {
            "answers_ms": {str(status): times for status, times in self.answers_ms.items()},
            "unanswered": self.unanswered,
            "without_retry_after": self.without_retry_after,
            "wall_s": time.monotonic() - self._began,
            "cpu_s": time.process_time(),
        }


if __name__ == "__main__":
    sys.exit(main())
