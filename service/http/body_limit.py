"""How long a request's body may be, and how long it may take to come. Plain ASGI."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BodyTooLarge, UploadTooSlow
from service.http.uploads import CURRENT_UPLOAD, Upload, Uploads

JSON_BODY_BYTES = 65_536
# Room for a multipart body's boundaries, part headers and an area around photos of the full size.
MULTIPART_OVERHEAD_BYTES = 80_000
GRACE_S = 5.0
SLOWEST_BYTES_PER_S = 1000.0  # on average, once the grace is over


@dataclass(frozen=True)
class BodyRule:
    """What one route takes.

    Attributes:
        hint: what to do about a longer body.
        holds_photos: counted among the uploads.
    """

    max_bytes: int
    hint: str = "send less"
    holds_photos: bool = False


OTHERS = BodyRule(JSON_BODY_BYTES)


class BodyLimit:
    """Refuses longer bodies: by their Content-Length unread, chunked ones as soon as too long.

    Args:
        rules: of single routes, by path; all others take `JSON_BODY_BYTES`.
        upload_s: for the whole body, from when its route first asks for it. A body that has come
            at less than `SLOWEST_BYTES_PER_S` after `GRACE_S` is not waited for that long.
        uploads: counts the bodies of routes for photos.
        sender_of: whom an address stands for.
    """

    def __init__(
        self,
        app: ASGIApp,
        rules: Mapping[str, BodyRule],
        upload_s: float,
        uploads: Uploads | None = None,
        sender_of: Callable[[str], str] = str,
    ) -> None:
        self.app = app
        self.rules = rules
        self.upload_s = upload_s
        self.uploads = uploads
        self.sender_of = sender_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on with a counting `receive`; the error surfaces where the body is read."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        rule = self.rules.get(path, OTHERS)
        client = scope.get("client")
        sender = self.sender_of(client[0]) if client else ""
        upload = Upload(self.uploads if rule.holds_photos else None, sender)
        body = _Body(receive, rule, self.upload_s, upload)
        body.declare(Headers(scope=scope).get("content-length", ""))
        before = CURRENT_UPLOAD.set(upload)
        try:
            await self.app(scope, body.receive, send)
        finally:
            CURRENT_UPLOAD.reset(before)
            upload.end()


class _Body:
    """Counts one request's body."""

    def __init__(self, receive: Receive, rule: BodyRule, upload_s: float, upload: Upload) -> None:
        self._receive, self._rule, self._upload_s = receive, rule, upload_s
        self._upload = upload
        self._received = 0
        self._started = 0.0

    def declare(self, content_length: str) -> None:
        digits = content_length if content_length.isascii() and content_length.isdigit() else "0"
        if len(digits) > 18 or int(digits) > self._rule.max_bytes:
            self._received = self._rule.max_bytes + 1

    async def receive(self) -> Message:
        self._check()
        if self._upload.is_whole:  # what comes now is the connection's end, whenever that may be
            return await self._receive()
        self._upload.begin()
        self._started = self._started or asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(self._started + self._patience_s()):
                message = await self._receive()
        except TimeoutError:
            raise self._too_slow() from None
        if message["type"] == "http.request":
            size_bytes = len(message.get("body", b""))
            self._received += size_bytes
            self._check()
            self._upload.add(size_bytes)
            if not message.get("more_body", False):
                self._upload.finish()
        return message

    def _patience_s(self) -> float:
        """From the start; every byte that came buys time for the next."""
        return min(self._upload_s, max(GRACE_S, self._received / SLOWEST_BYTES_PER_S))

    def _too_slow(self) -> UploadTooSlow:
        if self._patience_s() >= self._upload_s:
            return UploadTooSlow(
                f"the body did not arrive within {self._upload_s:g} s", hint="send less"
            )
        return UploadTooSlow(
            f"the body came at less than {SLOWEST_BYTES_PER_S / 1000:g} kB/s",
            hint="try again over a better connection",
        )

    def _check(self) -> None:
        if self._received > self._rule.max_bytes:
            raise BodyTooLarge(
                f"the body is longer than {self._rule.max_bytes} bytes", hint=self._rule.hint
            )
