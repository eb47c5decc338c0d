"""Writing log lines in a thread of its own, so that a slow or broken stdout stops nobody."""

import json
import logging
import os
import select
import threading
import time
from collections import deque
from datetime import UTC, datetime

QUEUE_LINES = 8192
CLOSE_S = 2.0
LINES_AT_ONCE = 256
PAUSE_S = 0.1  # between looks at the queue; waking a thread for each line cost every request
WRITABLE_S = 0.5


class LineWriter:
    """A bounded queue of lines and the daemon thread that writes them to a file descriptor.

    Args:
        descriptor: written to without Python's buffers; -1 loses every line.

    Attributes:
        lost: lines that did not fit into the queue or could not be written.
    """

    def __init__(self, descriptor: int, *, queue_lines: int = QUEUE_LINES) -> None:
        self._descriptor = descriptor
        self._queue: deque[str] = deque()
        self._queue_lines = queue_lines
        self._wanted = threading.Event()
        self._lock = threading.Lock()
        self.lost = 0
        self._told = 0
        self._torn = False
        self._closing = False
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Queues one line, or counts it as lost; never waits, never raises."""
        if self._closing or len(self._queue) >= self._queue_lines:
            self.lose(1)
        else:
            self._queue.append(line)

    def hurry(self) -> None:
        """Writes what is queued without a pause; for lines that may be the last."""
        self._wanted.set()

    def close(self) -> None:
        """Writes what is queued, for `CLOSE_S` at most; later lines are lost."""
        self._closing = True
        self._wanted.set()
        self._thread.join(CLOSE_S)

    def lose(self, lines: int) -> None:
        """Counts lines that will never be written."""
        with self._lock:
            self.lost += lines

    def _write_all(self) -> None:
        while True:
            ends = self._closing  # looked at first: what came before it is still written
            while self._queue:
                count = min(LINES_AT_ONCE, len(self._queue))
                self._write([self._queue.popleft() for _ in range(count)])
            if ends:
                return
            self._wanted.wait(PAUSE_S)
            self._wanted.clear()

    def _write(self, lines: list[str]) -> None:
        lost = self.lost
        # A line that a full disk cut off must not run into the next one.
        head = "\n" if self._torn else ""
        if lost > self._told:
            head += _lost_line(lost) + "\n"
        text = head + "".join(line + "\n" for line in lines)
        rest, written = memoryview(text.encode("ascii", "replace")), 0
        try:
            while written < len(rest):
                written += self._write_some(rest[written:])
        except OSError:
            done = bytes(rest[:written])
            self._torn = not done.endswith(b"\n") if done else self._torn
            self.lose(len(lines) - max(0, done.count(b"\n") - head.count("\n")))
        else:
            self._torn, self._told = False, lost

    def _write_some(self, data: memoryview) -> int:
        if self._descriptor < 0:
            raise OSError("there is no stdout")
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:
            # Somebody made the pipe non-blocking; this thread may wait for its reader.
            select.select([], [self._descriptor], [], WRITABLE_S)
            if self._closing:
                raise
            time.sleep(0.01)
            return 0


def _lost_line(lost: int) -> str:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    fields = {"time": now, "level": "error", "event": "log_lines_lost", "lines_lost": lost}
    return json.dumps(fields)


class WriterHandler(logging.Handler):
    """Hands formatted records to a `LineWriter`; whatever goes wrong costs the line only."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self.writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Formats at once (a record kept would keep its exception's images) and queues."""
        try:
            self.writer.put(self.format(record))
            if record.levelno >= logging.ERROR:
                self.writer.hurry()
        except Exception:
            self.writer.lose(1)

    def close(self) -> None:
        """Called by `logging.shutdown` at exit."""
        self.writer.close()
        super().close()
