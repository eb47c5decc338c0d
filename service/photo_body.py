"""The photo out of a request body, and giving up when its sender does."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from crossfix.errors import InvalidParameter
from service.errors import ClientGone, MalformedBody, UnsupportedBody, UploadTooSlow
from service.settings import Settings

FIELD = "image"
ResultT = TypeVar("ResultT")


async def read_photo(request: Request, settings: Settings) -> bytes:
    """The image's bytes from a raw or multipart body.

    Raises:
        UnsupportedBody: another content type.
        MalformedBody: a multipart body that cannot be parsed.
        InvalidParameter: a multipart body without one file `image`.
        BodyTooLarge: from the body limit.
        UploadTooSlow: not complete within `upload_s`.
        ClientGone: the sender left.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind not in ("", "application/octet-stream", "multipart/form-data") and not kind.startswith(
        "image/"
    ):
        raise UnsupportedBody(
            f"a body of type {kind} cannot carry a photo",
            hint=f"send the file with Content-Type: image/jpeg, or as multipart field {FIELD}",
        )
    try:
        async with asyncio.timeout(settings.upload_s):
            if kind == "multipart/form-data":
                return await _read_multipart(request, settings.max_body_bytes)
            return await request.body()
    except TimeoutError:
        raise UploadTooSlow(
            f"the body did not arrive within {settings.upload_s:g} s", hint="send a smaller image"
        ) from None
    except ClientDisconnect:
        raise ClientGone("the client closed the connection") from None


async def _read_multipart(request: Request, max_bytes: int) -> bytes:
    parser = MultiPartParser(request.headers, request.stream(), max_files=1, max_fields=8)
    # Photos stay in memory: by default parts over 1 MiB are written to a file on disk.
    parser.spool_max_size = max_bytes
    try:
        form = await parser.parse()
    except MultiPartException as problem:
        raise MalformedBody(
            "the multipart body cannot be parsed", hint=f"send one file as field {FIELD}"
        ) from problem
    except KeyError as problem:
        raise MalformedBody(
            "the multipart body names no boundary", hint="let the HTTP client set the Content-Type"
        ) from problem
    try:
        photo = form.get(FIELD)
        if not isinstance(photo, UploadFile):
            raise InvalidParameter(
                f"the multipart body has no file in field {FIELD}",
                hint=f"send the photo as a file in field {FIELD}",
            )
        return await photo.read()
    finally:
        await form.close()


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
