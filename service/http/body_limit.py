"""How long a request's body may be, and how long it may take to come. Plain ASGI."""

import asyncio
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BodyTooLarge, UploadTooSlow

JSON_BODY_BYTES = 65_536
# Room for a multipart body's boundaries and part headers around photos of the full size.
MULTIPART_OVERHEAD_BYTES = 16_384


class BodyLimit:
    """Refuses longer bodies: by their Content-Length unread, chunked ones as soon as too long.

    Args:
        max_bytes: of the routes that take photos, by path; all others take `JSON_BODY_BYTES`.
        upload_s: for the whole body, from when its route first asks for it.
    """

    def __init__(self, app: ASGIApp, max_bytes: Mapping[str, int], upload_s: float) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.upload_s = upload_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on with a counting `receive`; the error surfaces where the body is read."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        body = _Body(receive, self.max_bytes.get(path, JSON_BODY_BYTES), self.upload_s)
        body.declare(Headers(scope=scope).get("content-length", ""))
        await self.app(scope, body.receive, send)


class _Body:
    """Counts one request's body."""

    def __init__(self, receive: Receive, max_bytes: int, upload_s: float) -> None:
        self._receive, self._max_bytes, self._upload_s = receive, max_bytes, upload_s
        self._received = 0
        self._is_whole = False
        self._until = 0.0

    def declare(self, content_length: str) -> None:
        digits = content_length if content_length.isascii() and content_length.isdigit() else "0"
        if len(digits) > 18 or int(digits) > self._max_bytes:
            self._received = self._max_bytes + 1

    async def receive(self) -> Message:
        self._check()
        if self._is_whole:  # what comes now is the end of the connection, whenever that may be
            return await self._receive()
        self._until = self._until or asyncio.get_running_loop().time() + self._upload_s
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            raise UploadTooSlow(
                f"the body did not arrive within {self._upload_s:g} s", hint="send less"
            ) from None
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            self._is_whole = not message.get("more_body", False)
            self._check()
        return message

    def _check(self) -> None:
        if self._received > self._max_bytes:
            raise BodyTooLarge(
                f"the body is longer than {self._max_bytes} bytes",
                hint="send a smaller or more strongly compressed image, or fewer of them",
            )
