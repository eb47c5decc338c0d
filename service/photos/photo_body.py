"""Photos out of a request body, and giving up when their sender does."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from crossfix.errors import InvalidParameter
from service.errors import ClientGone, UnsupportedBody
from service.photos.form_parts import FormLimits, FormPart, FormParts
from service.settings import Settings

FIELD = "image"
MULTIPART = "multipart/form-data"
RAW = frozenset({"", "application/octet-stream", "application/x-www-form-urlencoded"})
FIELD_BYTES = 64_000  # the longest area, 16,000 characters, in any script
MOST_FIELD_BYTES = 1_000_000
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class SentPhoto:
    """One photo as sent.

    Attributes:
        file_name: as the sender calls it; empty for raw bodies. Never used as a path.
    """

    data: bytes
    file_name: str = ""


@dataclass(frozen=True)
class SentForm:
    """A body's photos and its other fields; `body_bytes` is the size of the whole body."""

    photos: list[SentPhoto]
    fields: dict[str, str] = field(default_factory=dict)
    body_bytes: int = 0


async def read_photo(request: Request) -> SentForm:
    """The one photo of a raw or multipart body, and the form's other fields.

    A raw body may call itself a form: so `curl --data-binary @photo.jpg` does.

    Raises:
        UnsupportedBody: another content type.
        MalformedBody: a multipart body that cannot be parsed, or is cut short.
        InvalidParameter: a multipart body without one file `image`, or with a field twice.
        BodyTooLarge: a field is too long; also from the body limit around the app.
        UploadTooSlow: from the body limit around the app.
        ClientGone: the sender left.
    """
    kind = _content_type(request)
    if kind == MULTIPART:
        form = await _read_form(request, FormLimits(files=1, field_bytes=FIELD_BYTES))
        if len(form.photos) != 1:
            raise _no_photo()
        return form
    if kind not in RAW and not kind.startswith("image/"):
        raise UnsupportedBody(
            f"a body of type {kind[:100]} cannot carry a photo",
            hint=f"send the file with Content-Type: image/jpeg, or as multipart field {FIELD}",
        )
    try:
        data = await request.body()
    except ClientDisconnect:
        raise ClientGone("the client closed the connection") from None
    return SentForm([SentPhoto(data)], body_bytes=len(data))


async def read_photos(request: Request, settings: Settings) -> SentForm:
    """The photos of a multipart body, `batch_limit` at most. Errors as :func:`read_photo`."""
    kind = _content_type(request)
    if kind != MULTIPART:
        raise UnsupportedBody(
            f"a body of type {kind[:100] or 'none'} cannot carry several photos",
            hint=f"send each photo as a file in field {FIELD} of a {MULTIPART} body",
        )
    most = settings.batch_limit
    field_bytes = min(FIELD_BYTES * most, MOST_FIELD_BYTES)  # `parameters` holds an area for each
    form = await _read_form(request, FormLimits(files=most, field_bytes=field_bytes))
    if not form.photos:
        raise _no_photo()
    return form


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


def _no_photo() -> InvalidParameter:
    return InvalidParameter(
        f"the multipart body has no file in field {FIELD}",
        hint=f"send the photo as a file in field {FIELD}",
    )


async def _read_form(request: Request, limits: FormLimits) -> SentForm:
    form = FormParts(request.headers.get("content-type", ""), limits)
    body_bytes = 0
    try:
        async for chunk in request.stream():
            body_bytes += len(chunk)
            form.write(chunk)
    except ClientDisconnect:
        raise ClientGone("the client closed the connection") from None
    form.close()
    return _sent_form(form.parts, body_bytes)


def _sent_form(parts: list[FormPart], body_bytes: int) -> SentForm:
    sent = SentForm([], body_bytes=body_bytes)
    for part in parts:
        if part.file_name is not None:
            if part.name != FIELD:
                raise InvalidParameter(
                    "the multipart body has a file in another field",
                    hint=f"send photos as files in field {FIELD}",
                )
            sent.photos.append(SentPhoto(part.data.getvalue(), part.file_name))
        elif part.name == FIELD:
            raise _no_photo()
        elif part.name in sent.fields:
            raise InvalidParameter("a form field is given twice", hint="give each field once")
        else:
            sent.fields[part.name] = part.text
    return sent


async def run_while_connected(request: Request, work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Awaits `work`, or cancels it as soon as the client closes the connection.

    Raises:
        ClientGone: it did.
    """
    task = asyncio.ensure_future(work)
    watcher = asyncio.ensure_future(_wait_for_disconnect(request))
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone("the client closed the connection")
        return task.result()
    finally:
        task.cancel()
        watcher.cancel()


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
