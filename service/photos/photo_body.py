"""Photos out of a request body, and giving up when their sender does."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from crossfix.errors import InvalidParameter
from service.errors import ClientGone, MalformedBody, UnsupportedBody
from service.settings import Settings

FIELD = "image"
MULTIPART = "multipart/form-data"
MAX_FIELDS = 16
MAX_FIELD_BYTES = 1_000_000
MAX_NAME_CHARACTERS = 255
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
    """A body's photos and its other fields."""

    photos: list[SentPhoto]
    fields: dict[str, str] = field(default_factory=dict)


async def read_photo(request: Request, settings: Settings) -> SentForm:
    """The one photo of a raw or multipart body, and the form's other fields.

    Raises:
        UnsupportedBody: another content type.
        MalformedBody: a multipart body that cannot be parsed.
        InvalidParameter: a multipart body without one file `image`, or with a field twice.
        BodyTooLarge, UploadTooSlow: from the body limit around the app.
        ClientGone: the sender left.
    """
    kind = _content_type(request)
    if kind == MULTIPART:
        form = await _read_form(request, 1, settings.max_body_bytes)
        if len(form.photos) != 1:
            raise _no_photo()
        return form
    if kind not in ("", "application/octet-stream") and not kind.startswith("image/"):
        raise UnsupportedBody(
            f"a body of type {kind[:100]} cannot carry a photo",
            hint=f"send the file with Content-Type: image/jpeg, or as multipart field {FIELD}",
        )
    try:
        return SentForm([SentPhoto(await request.body())])
    except ClientDisconnect:
        raise ClientGone("the client closed the connection") from None


async def read_photos(request: Request, settings: Settings) -> SentForm:
    """The photos of a multipart body, `batch_limit` at most. Errors as :func:`read_photo`."""
    kind = _content_type(request)
    if kind != MULTIPART:
        raise UnsupportedBody(
            f"a body of type {kind[:100] or 'none'} cannot carry several photos",
            hint=f"send each photo as a file in field {FIELD} of a {MULTIPART} body",
        )
    form = await _read_form(request, settings.batch_limit, settings.max_batch_body_bytes)
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


async def _read_form(request: Request, max_files: int, max_bytes: int) -> SentForm:
    parser = MultiPartParser(
        request.headers,
        request.stream(),
        max_files=max_files,
        max_fields=MAX_FIELDS,
        max_part_size=MAX_FIELD_BYTES,
    )
    # Photos stay in memory: by default parts over 1 MiB are written to a file on disk.
    parser.spool_max_size = max_bytes
    try:
        form = await parser.parse()
    except MultiPartException as problem:
        raise MalformedBody(
            "the multipart body cannot be parsed",
            hint=f"send {max_files} file(s) at most as field {FIELD}, other fields once each",
        ) from problem
    except ClientDisconnect:
        raise ClientGone("the client closed the connection") from None
    except KeyError as problem:
        raise MalformedBody(
            "the multipart body names no boundary", hint="let the HTTP client set the Content-Type"
        ) from problem
    try:
        return await _sent_form(form)
    finally:
        await form.close()


async def _sent_form(form: FormData) -> SentForm:
    sent = SentForm([])
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name != FIELD:
                raise InvalidParameter(
                    "the multipart body has a file in another field",
                    hint=f"send photos as files in field {FIELD}",
                )
            file_name = (value.filename or "")[:MAX_NAME_CHARACTERS]
            sent.photos.append(SentPhoto(await value.read(), file_name))
        elif name == FIELD:
            raise _no_photo()
        elif name in sent.fields:
            raise InvalidParameter("a form field is given twice", hint="give each field once")
        else:
            sent.fields[name] = value
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
