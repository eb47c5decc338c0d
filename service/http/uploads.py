"""Bodies on their way in: how many there may be, and how many bytes of them lie in memory.

A place of a photo that is worked on (`max_in_flight`) is taken when its body is whole, so that
senders who do not send hold none of them. What bounds memory is what has really come.
"""

from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar

from service.errors import Overloaded

RETRY_S = 1.0


class Uploads:
    """Counts the uploads of one service; one client address gets half of everything at most.

    Args:
        most: bodies at once that are not whole yet.
        most_bytes: received and held at once, of requests that are read or worked on.
        largest_bytes: of one body; an address may always send one.
    """

    def __init__(self, *, most: int, most_bytes: int, largest_bytes: int) -> None:
        self._most, self._share = most, max(1, most // 2)
        self._most_bytes = max(most_bytes, largest_bytes)
        self._share_bytes = max(self._most_bytes // 2, largest_bytes)
        self._open: Counter[str] = Counter()
        self._held: Counter[str] = Counter()

    @property
    def open(self) -> int:
        """Bodies that are not whole yet."""
        return self._open.total()

    @property
    def held_bytes(self) -> int:
        """Bytes received of all requests that are not answered yet."""
        return self._held.total()

    def enter(self, sender: str) -> None:
        """Takes a place for a body that begins to come.

        Raises:
            Overloaded: too many come at once, or from this sender.
        """
        if self.open >= self._most or self._open[sender] >= self._share:
            _forget_nothing(self._open, sender)
            raise Overloaded(
                "too many bodies are on their way at once",
                reason="upload_limit",
                retry_after_s=RETRY_S,
            )
        self._open[sender] += 1

    def leave(self, sender: str) -> None:
        """Gives the place back: the body is whole, or will not be."""
        self._open[sender] -= 1
        _forget_nothing(self._open, sender)

    def hold(self, sender: str, size_bytes: int) -> None:
        """Counts received bytes.

        Raises:
            Overloaded: no memory is left for them; they are not counted.
        """
        held = self._held[sender] + size_bytes
        if held > self._share_bytes or self.held_bytes + size_bytes > self._most_bytes:
            _forget_nothing(self._held, sender)
            raise Overloaded(
                "the photos being received or worked on fill the memory set aside for them",
                reason="upload_limit",
                retry_after_s=RETRY_S,
            )
        self._held[sender] = held

    def drop(self, sender: str, size_bytes: int) -> None:
        """Forgets bytes of a request that is answered."""
        self._held[sender] -= size_bytes
        _forget_nothing(self._held, sender)


class Upload:
    """One request's body, from its first reading to the request's end.

    Attributes:
        is_whole: nothing more will come.
    """

    def __init__(self, uploads: Uploads | None, sender: str) -> None:
        self._uploads, self._sender = uploads, sender
        self._is_open, self._held_bytes = False, 0
        self._when_whole: list[Callable[[], None]] = []
        self.is_whole = False

    def when_whole(self, take: Callable[[], None]) -> None:
        """Calls `take` once the body is whole; at once if it is. What it raises, reading raises."""
        if self.is_whole:
            take()
        else:
            self._when_whole.append(take)

    def begin(self) -> None:
        """The body is about to be read. Errors as :meth:`Uploads.enter`."""
        if self._uploads is not None and not self._is_open and not self.is_whole:
            self._uploads.enter(self._sender)
            self._is_open = True

    def add(self, size_bytes: int) -> None:
        """A piece came. Errors as :meth:`Uploads.hold`."""
        if self._uploads is not None and size_bytes:
            self._uploads.hold(self._sender, size_bytes)
            self._held_bytes += size_bytes

    def finish(self) -> None:
        """The last piece came; raises what the callbacks do."""
        self.is_whole = True
        self._close()
        waiting, self._when_whole = self._when_whole, []
        for take in waiting:
            take()

    def end(self) -> None:
        """The request is over."""
        self._close()
        self._when_whole.clear()
        if self._uploads is not None and self._held_bytes:
            self._uploads.drop(self._sender, self._held_bytes)
            self._held_bytes = 0

    def _close(self) -> None:
        if self._uploads is not None and self._is_open:
            self._uploads.leave(self._sender)
            self._is_open = False


CURRENT_UPLOAD: ContextVar[Upload | None] = ContextVar("crossfix_upload", default=None)


def _forget_nothing(counter: Counter[str], sender: str) -> None:
    if counter[sender] <= 0:
        del counter[sender]
