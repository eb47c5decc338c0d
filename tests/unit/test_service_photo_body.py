"""Reading bodies that come slowly, never, or from somebody who leaves."""

import asyncio
from pathlib import Path

import pytest
from fastapi import Request

from service.errors import BodyTooLarge, ClientGone, UploadTooSlow
from service.middleware import BodyLimit
from service.photo_body import read_photo, run_while_connected
from service.settings import Settings


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Client:
    """An ASGI `receive` that hands out messages, then waits until the test hangs up."""

    def __init__(self, *pieces: bytes, complete: bool = True) -> None:
        last = len(pieces) - 1
        self.messages = [
            {"type": "http.request", "body": piece, "more_body": not complete or i < last}
            for i, piece in enumerate(pieces)
        ]
        self.gone = asyncio.Event()
        self.taken = 0

    async def receive(self):
        if self.messages:
            self.taken += 1
            return self.messages.pop(0)
        await self.gone.wait()
        return {"type": "http.disconnect"}

    def request(self) -> Request:
        headers = [(b"content-type", b"image/jpeg")]
        scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
        return Request(scope, self.receive)


def settings(**changes) -> Settings:
    return Settings(encoder=Path("e"), gallery=Path("g"), **changes)


@pytest.mark.anyio
async def test_a_body_in_pieces_is_joined() -> None:
    assert await read_photo(Client(b"ab", b"cd").request(), settings()) == b"abcd"


@pytest.mark.anyio
async def test_a_body_that_never_ends_is_given_up() -> None:
    with pytest.raises(UploadTooSlow):
        await read_photo(Client(b"ab", complete=False).request(), settings(upload_s=0.05))


@pytest.mark.anyio
async def test_a_sender_who_leaves_in_the_middle_is_noticed() -> None:
    client = Client(b"ab", complete=False)
    client.gone.set()
    with pytest.raises(ClientGone):
        await read_photo(client.request(), settings())


@pytest.mark.anyio
async def test_work_is_cancelled_when_the_client_leaves() -> None:
    client, cancelled = Client(), asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    task = asyncio.create_task(run_while_connected(client.request(), work()))
    await asyncio.sleep(0.01)
    client.gone.set()
    with pytest.raises(ClientGone):
        await task
    await asyncio.wait_for(cancelled.wait(), 5)


@pytest.mark.anyio
async def test_work_of_a_patient_client_is_answered_and_its_errors_pass_through() -> None:
    async def work() -> int:
        return 7

    async def fail() -> int:
        raise ValueError("mine")

    assert await run_while_connected(Client().request(), work()) == 7
    with pytest.raises(ValueError, match="mine"):
        await run_while_connected(Client().request(), fail())


@pytest.mark.anyio
async def test_a_body_is_not_read_past_the_limit() -> None:
    client = Client(*[b"x" * 10] * 100)

    async def app(_scope, receive, _send):
        while (await receive())["more_body"]:
            pass

    scope = {"type": "http", "headers": []}
    with pytest.raises(BodyTooLarge):
        await BodyLimit(app, 25)(scope, client.receive, None)
    assert client.taken == 3


@pytest.mark.anyio
async def test_a_declared_length_over_the_limit_is_refused_unread() -> None:
    client = Client(b"x" * 10)

    async def app(_scope, receive, _send):
        await receive()

    scope = {"type": "http", "headers": [(b"content-length", b"26")]}
    with pytest.raises(BodyTooLarge):
        await BodyLimit(app, 25)(scope, client.receive, None)
    assert client.taken == 0
