"""Head and body leave in one call, so that a killed process never has sent half of them."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import ServerState

from service.http.answer_wire import AnswerWire
from service.http.connection_guard import GuardedProtocol, guarded_protocol
from service.observing.metrics import Metrics


class Recorder:
    """A connection and its transport; notes what is sent and when it is closed."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.transport: Any = self
        self.sent: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def is_closing(self) -> bool:
        return b"<closed>" in self.sent

    def close_gently(self) -> None:
        self.sent.append(b"<closed>")

    close = close_gently

    def can_write_eof(self) -> bool:
        return False

    def get_extra_info(self, name: str) -> None:
        """There is no socket."""

    def resume_reading(self) -> None:
        """Nothing is read."""


def sent_by(work: Callable[[AnswerWire], Awaitable[None]], *, has_body: bool = True) -> list[bytes]:
    async def run() -> list[bytes]:
        recorder = Recorder()
        await work(AnswerWire(recorder, has_body=has_body))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return recorder.sent

    whole: Coroutine[Any, Any, list[bytes]] = run()
    return asyncio.run(whole)


def test_the_head_leaves_with_the_body() -> None:
    async def work(wire: AnswerWire) -> None:
        wire.write(b"head ")
        wire.write(b"body")

    assert sent_by(work) == [b"head body"]


def test_only_the_first_piece_is_joined() -> None:
    async def work(wire: AnswerWire) -> None:
        for piece in (b"head ", b"one", b"two"):
            wire.write(piece)

    assert sent_by(work) == [b"head one", b"two"]


def test_a_head_whose_body_is_late_does_not_wait_for_it() -> None:
    async def work(wire: AnswerWire) -> None:
        wire.write(b"head ")
        await asyncio.sleep(0.01)
        wire.write(b"body")

    assert sent_by(work) == [b"head ", b"body"]


def test_a_head_alone_is_sent() -> None:
    async def work(wire: AnswerWire) -> None:
        wire.write(b"head ")

    assert sent_by(work) == [b"head "]


def test_what_is_held_is_sent_before_the_end() -> None:
    async def work(wire: AnswerWire) -> None:
        wire.write(b"head ")
        wire.close()

    assert sent_by(work) == [b"head ", b"<closed>"]


def test_whoever_waits_for_100_is_told_at_once() -> None:
    async def work(wire: AnswerWire) -> None:
        wire.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        wire.write(b"head ")
        wire.write(b"body")

    assert sent_by(work) == [b"HTTP/1.1 100 Continue\r\n\r\n", b"head body"]


def test_an_answer_without_a_body_leaves_at_once() -> None:
    async def work(wire: AnswerWire) -> None:
        wire.write(b"head of 204 ")
        wire.write(b"")
        wire._connection.transport.write(b"the next answer")

    assert sent_by(work) == [b"head of 204 ", b"the next answer"]


def test_the_head_that_answers_head_is_not_held() -> None:
    async def work(wire: AnswerWire) -> None:
        wire.write(b"head ")
        wire._connection.transport.write(b"the next answer")

    assert sent_by(work, has_body=False) == [b"head ", b"the next answer"]


def test_a_large_body_is_not_copied() -> None:
    large = b"x" * 2_000_000

    async def work(wire: AnswerWire) -> None:
        wire.write(b"head ")
        wire.write(large)

    head, body = sent_by(work)
    assert head == b"head "
    assert body is large


@pytest.mark.parametrize(
    ("meanwhile", "then"),
    [
        (lambda guard: guard.data_received(b"what is this\r\n\r\n"), b"HTTP/1.1 400 Bad Request"),
        (lambda guard: guard.shutdown(), b"<closed>"),
    ],
)
def test_nothing_overtakes_the_answer_to_head(
    meanwhile: Callable[[GuardedProtocol], None], then: bytes
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
        # In the same round of the loop, behind this call.
        asyncio.get_running_loop().call_soon(meanwhile, guard)
        length = (b"content-length", b"2")
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": b""})

    async def work() -> list[bytes]:
        nonlocal guard
        config, recorder = Config(app, log_config=None, lifespan="off"), Recorder()
        config.load()
        guard = guarded_protocol(Metrics(), 9)(config, ServerState(), {})
        guard.connection_made(recorder.transport)
        guard.data_received(b"HEAD / HTTP/1.1\r\nHost: here\r\n\r\n")
        await asyncio.sleep(0.01)
        guard.connection_lost(None)
        return recorder.sent

    guard: Any = None
    answer, behind = asyncio.run(work())[:2]
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert behind.startswith(then)
