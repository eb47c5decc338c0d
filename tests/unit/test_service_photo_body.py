"""Reading bodies that come slowly, never, or from somebody who leaves."""

import asyncio
from pathlib import Path

import pytest
from fastapi import Request

from crossfix.errors import InvalidParameter
from service.errors import BodyTooLarge, ClientGone, MalformedBody, UploadTooSlow
from service.http.body_limit import BodyLimit, BodyRule
from service.photos.photo_body import (
    SentPhoto,
    read_photo,
    read_photos,
    run_while_connected,
)
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

    def request(self, kind: bytes = b"image/jpeg") -> Request:
        headers = [(b"content-type", kind)]
        scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
        return Request(scope, self.receive)


def settings(**changes) -> Settings:
    return Settings(encoder=Path("e"), gallery=Path("g"), **changes)


@pytest.mark.anyio
async def test_a_body_in_pieces_is_joined() -> None:
    form = await read_photo(Client(b"ab", b"cd").request())
    assert form.photos == [SentPhoto(b"abcd")]
    assert form.fields == {}


@pytest.mark.anyio
async def test_a_body_that_never_ends_is_given_up() -> None:
    async def app(scope, receive, _send):
        await read_photo(Request(scope, receive))

    client = Client(b"ab", complete=False)
    with pytest.raises(UploadTooSlow):
        await BodyLimit(app, {"/": BodyRule(25)}, 0.05)(
            client.request().scope, client.receive, None
        )


@pytest.mark.anyio
async def test_a_sender_who_leaves_in_the_middle_is_noticed() -> None:
    client = Client(b"ab", complete=False)
    client.gone.set()
    with pytest.raises(ClientGone):
        await read_photo(client.request())


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

    scope = {"type": "http", "path": "/", "headers": []}
    with pytest.raises(BodyTooLarge):
        await BodyLimit(app, {"/": BodyRule(25)}, 5.0)(scope, client.receive, None)
    assert client.taken == 3


@pytest.mark.anyio
async def test_a_declared_length_over_the_limit_is_refused_unread() -> None:
    client = Client(b"x" * 10)

    async def app(_scope, receive, _send):
        await receive()

    scope = {"type": "http", "path": "/", "headers": [(b"content-length", b"26")]}
    with pytest.raises(BodyTooLarge):
        await BodyLimit(app, {"/": BodyRule(25)}, 5.0)(scope, client.receive, None)
    assert client.taken == 0


FORM = b"multipart/form-data; boundary=xyz"


def part(name: str, data: bytes, file_name: str | None = None) -> bytes:
    named = f'; filename="{file_name}"' if file_name is not None else ""
    head = f'--xyz\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
    return head.encode() + data + b"\r\n"


def form(*parts: bytes) -> Request:
    return Client(b"".join(parts) + b"--xyz--\r\n").request(FORM)


@pytest.mark.anyio
async def test_a_form_carries_the_photo_and_parameters() -> None:
    sent = await read_photo(form(part("image", b"abc", "a.jpg"), part("k", b"3")))
    assert sent.photos == [SentPhoto(b"abc", "a.jpg")]
    assert sent.fields == {"k": "3"}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ([part("k", b"3")], InvalidParameter),
        ([part("image", b"abc")], InvalidParameter),
        ([part("photo", b"abc", "a.jpg")], InvalidParameter),
        ([part("image", b"a", "a"), part("k", b"3"), part("k", b"3")], InvalidParameter),
        ([part("image", b"a", "a"), part("image", b"b", "b")], InvalidParameter),
        ([part("image", b"a", "a"), *(part(f"f{i}", b"1") for i in range(20))], InvalidParameter),
        ([part("image", b"a", "a"), part("area", b"3" * 64_001)], BodyTooLarge),
        ([b"--xyz\r\nX: y\r\n\r\nabc\r\n"], MalformedBody),
        ([b"--xyz\r\nX: " + b"y" * 9000 + b"\r\n\r\nabc\r\n"], MalformedBody),
        ([b"hello"], MalformedBody),
    ],
    ids=[
        "none",
        "no file",
        "other field",
        "twice",
        "two files",
        "many fields",
        "long field",
        "no name",
        "long header",
        "no multipart",
    ],
)
async def test_forms_that_are_refused(parts, error) -> None:
    with pytest.raises(error):
        await read_photo(form(*parts))


@pytest.mark.anyio
async def test_a_batch_reads_its_photos_in_order_and_not_more_than_allowed() -> None:
    parts = [part("image", bytes([i]), f"{i}.jpg") for i in range(3)]
    sent = await read_photos(form(*parts), settings(batch_limit=3))
    assert [(photo.data, photo.file_name) for photo in sent.photos] == [
        (b"\0", "0.jpg"),
        (b"\1", "1.jpg"),
        (b"\2", "2.jpg"),
    ]
    with pytest.raises(InvalidParameter, match="more than 2 photos"):
        await read_photos(form(*parts), settings(batch_limit=2))


@pytest.mark.anyio
async def test_the_reason_of_a_refused_form_is_told() -> None:
    photo = part("image", b"a", "a")
    with pytest.raises(InvalidParameter, match="more than one photo") as caught:
        await read_photo(form(photo, photo))
    assert "/localize/batch" in caught.value.hint
    with pytest.raises(InvalidParameter, match="more than 16 fields"):
        await read_photo(form(photo, *(part(f"f{i}", b"1") for i in range(20))))
    with pytest.raises(BodyTooLarge, match="longer than 64000 bytes"):
        await read_photo(form(photo, part("area", b"3" * 64_001)))


@pytest.mark.anyio
async def test_the_longest_area_and_a_list_of_them_pass() -> None:
    photo, area = part("image", b"a", "a"), b"x" * 16_000
    sent = await read_photo(form(photo, part("area", area)))
    assert len(sent.fields["area"]) == 16_000
    sent = await read_photos(form(photo, part("parameters", area * 8)), settings(batch_limit=8))
    assert len(sent.fields["parameters"]) == 128_000


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [FORM, b'multipart/form-data; boundary="xyz"'])
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_a_form_in_pieces_of_any_size_is_the_same(kind, size) -> None:
    photo = b"\r\n--xy\r\n\0" * 9
    body = part("image", photo, "a.jpg") + part("k", "3\r\n-ü".encode()) + b"--xyz--\r\n"
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    sent = await read_photo(Client(*pieces).request(kind))
    assert sent.photos == [SentPhoto(photo, "a.jpg")]
    assert sent.fields == {"k": "3\r\n-ü"}
    assert sent.body_bytes == len(body)


@pytest.mark.anyio
@pytest.mark.parametrize("cut", [1, 5, 12, 40, 90])
async def test_a_form_that_is_cut_short_is_refused(cut) -> None:
    body = part("image", b"abc" * 20, "a.jpg") + b"--xyz--"
    with pytest.raises(MalformedBody):
        await read_photo(Client(body[:-cut]).request(FORM))


@pytest.mark.anyio
async def test_a_body_without_a_usable_boundary_is_refused() -> None:
    for kind in (b"multipart/form-data", b"multipart/form-data; boundary=", FORM + b"z" * 5000):
        with pytest.raises(MalformedBody):
            await read_photo(Client(part("image", b"abc", "a")).request(kind))


CHARSETS = [
    b"punycode", b"idna", b"utf-7", b"unicode_escape", b"undefined", b"rot13", b"hex", b"utf-16",
    b"none at all", b"\xff",
]  # fmt: skip


@pytest.mark.anyio
@pytest.mark.parametrize("charset", CHARSETS)
async def test_text_is_utf_8_whatever_the_sender_calls_it(charset) -> None:
    """Python's punycode needs half a minute for a field of this size; others raise."""
    odd = rb"+2AA- \ud800 " + b"\xff\xed\xa0\x80 xn--a.\xc3\xbc.jpg"
    head = b'--xyz\r\nContent-Disposition: form-data; name="image"; filename="' + odd
    body = head + b'"\r\n\r\nabc\r\n' + part("area", b"a" * 60_000) + b"--xyz--\r\n"
    sent = await read_photo(Client(body).request(FORM + b"; charset=" + charset))
    name = sent.photos[0].file_name
    assert name.startswith(r"+2AA- \ud800 ")
    assert name.endswith("xn--a.ü.jpg")
    assert name.encode()  # no half of a surrogate pair
    assert sent.fields == {"area": "a" * 60_000}


@pytest.mark.anyio
@pytest.mark.parametrize(
    "kind", [b"application/x-www-form-urlencoded", b"application/octet-stream", b"IMAGE/JPEG; a=b"]
)
async def test_a_raw_body_may_call_itself_what_programs_do(kind) -> None:
    sent = await read_photo(Client(b"abc").request(kind))
    assert sent.photos == [SentPhoto(b"abc")]
    assert sent.body_bytes == 3


@pytest.mark.anyio
async def test_a_sender_of_a_form_who_leaves_is_noticed() -> None:
    client = Client(part("image", b"abc", "a.jpg"), complete=False)
    client.gone.set()
    with pytest.raises(ClientGone):
        await read_photo(client.request(FORM))
