"""Head and body leave in one call, so that a killed process never has sent half of them."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from service.http.answer_wire import AnswerWire


class Recorder:
    """A connection and its transport; notes what is sent and when it is closed."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.transport: Any = self
        self.sent: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def is_closing(self) -> bool:
        return False

    def close_gently(self) -> None:
        self.sent.append(b"<closed>")


def sent_by(work: Callable[[AnswerWire], Awaitable[None]]) -> list[bytes]:
    async def run() -> list[bytes]:
        recorder = Recorder()
        await work(AnswerWire(recorder))
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
