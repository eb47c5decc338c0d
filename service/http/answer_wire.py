"""What one answer is written to: its head leaves together with the first of its body.

uvicorn sends an answer's head as soon as it is known, and the body in a second call. A process that
is killed between the two has said 200 and nothing more, and no proxy can send the request to
another process after that. Between the calls lies the wait for the interpreter's lock, which is
milliseconds on a busy machine. In one call an answer up to the size of the kernel's buffer is sent
as a whole or not at all; it also is one packet less.
"""

import asyncio
from typing import Protocol

_INTERIM = b"HTTP/1.1 100 "  # a head of its own, for which the client waits
_JOINED_BYTES = 1_000_000  # more would be a slow copy, and leaves in several pieces all the same


class Connection(Protocol):
    """The part of a connection that an answer needs."""

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop

    def close_gently(self) -> None:
        """Closes after the rest of the request's body has come."""


class AnswerWire:
    """Stands for the transport in one request's cycle; one for each request.

    A head without a body yet, as of answers that come in pieces, waits only until the event loop's
    next round.

    Args:
        has_body: false for answers to HEAD, of which the head is the end: the next answer, or the
            connection's end, must not come before it.
    """

    def __init__(self, connection: Connection, *, has_body: bool = True) -> None:
        self._connection = connection
        self._is_begun = not has_body
        self._held = b""

    def write(self, data: bytes) -> None:
        """Sends, or holds the head for a moment."""
        if self._is_begun:
            held, self._held = self._held, b""
            if held and len(data) > _JOINED_BYTES:
                self._connection.transport.write(held)
                held = b""
            self._connection.transport.write(held + data if held else data)
        elif data.startswith(_INTERIM):
            self._connection.transport.write(data)
        else:
            self._is_begun, self._held = True, data
            self._connection.loop.call_soon(self._send_held)

    def is_closing(self) -> bool:
        """Whether the connection is about to end."""
        return self._connection.transport.is_closing()

    def close(self) -> None:
        """Sends what is held; ends the connection when the request's body has come."""
        self._send_held()
        self._connection.close_gently()

    def _send_held(self) -> None:
        if self._held:
            self.write(b"")
