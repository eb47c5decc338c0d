"""Uploads: places, memory, the slowest rate; and when a photo's place is taken."""

import asyncio

import pytest

from service.errors import Overloaded, UploadTooSlow
from service.http import body_limit
from service.http.body_limit import BodyLimit, BodyRule
from service.http.uploads import CURRENT_UPLOAD, Upload, Uploads

SCOPE = {"type": "http", "path": "/", "headers": [], "client": ("10.0.0.1", 1)}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def uploads(**changes) -> Uploads:
    return Uploads(**{"most": 4, "most_bytes": 100, "largest_bytes": 10} | changes)


def test_half_of_the_places_are_for_others() -> None:
    room = uploads()
    room.enter("a")
    room.enter("a")
    with pytest.raises(Overloaded):
        room.enter("a")
    room.enter("b")
    room.leave("a")
    room.enter("a")
    room.enter("b")
    with pytest.raises(Overloaded):
        room.enter("c")
    assert room.open == 4


def test_what_counts_is_what_has_come() -> None:
    room = uploads()
    room.hold("a", 50)
    with pytest.raises(Overloaded):
        room.hold("a", 1)
    room.hold("b", 50)
    with pytest.raises(Overloaded):
        room.hold("c", 1)
    room.drop("a", 50)
    room.hold("c", 1)
    assert room.held_bytes == 51


def test_an_address_may_always_send_one_body_of_full_size() -> None:
    uploads(most_bytes=10).hold("a", 10)
    uploads(most_bytes=1).hold("a", 10)


def test_everything_is_given_back_at_the_end() -> None:
    room = uploads()
    for way in ("whole", "left"):
        upload = Upload(room, "a")
        upload.begin()
        upload.add(7)
        if way == "whole":
            upload.finish()
            assert (room.open, room.held_bytes) == (0, 7)
        upload.end()
        assert (room.open, room.held_bytes) == (0, 0)


def test_places_are_taken_when_the_body_is_whole() -> None:
    upload, taken = Upload(None, "a"), []
    upload.when_whole(lambda: taken.append(1))
    upload.begin()
    upload.add(3)
    assert not taken
    upload.finish()
    upload.when_whole(lambda: taken.append(2))
    assert taken == [1, 2]


async def read_to_the_end(_scope, receive, _send) -> None:
    while (await receive())["more_body"]:
        pass


@pytest.mark.anyio
async def test_a_body_at_a_trickle_is_given_up_and_gives_its_place_back(monkeypatch) -> None:
    monkeypatch.setattr(body_limit, "GRACE_S", 0.05)
    room = uploads()

    async def drip():
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"x", "more_body": True}

    limit = BodyLimit(read_to_the_end, {"/": BodyRule(1000, holds_photos=True)}, 60.0, room)
    with pytest.raises(UploadTooSlow, match="kB/s"):
        await limit(SCOPE, drip, None)
    assert (room.open, room.held_bytes) == (0, 0)
    assert CURRENT_UPLOAD.get() is None


@pytest.mark.anyio
async def test_what_has_come_buys_time_for_the_rest(monkeypatch) -> None:
    monkeypatch.setattr(body_limit, "GRACE_S", 0.05)
    messages = [
        {"type": "http.request", "body": bytes(60_000), "more_body": True},
        {"type": "http.request", "body": b"x", "more_body": False},
    ]

    async def hesitate():
        await asyncio.sleep(0.15 * (len(messages) == 1))
        return messages.pop(0)

    await BodyLimit(read_to_the_end, {"/": BodyRule(100_000)}, 60.0)(SCOPE, hesitate, None)
    assert not messages
