"""The builder's process: started, listened to, stopped; it ends when its stdin does."""

import asyncio
import contextlib
import json
import os
import signal
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from service.logs.log import EVENTS

NICENESS = 10
LONGEST_LINE_BYTES = 1 << 20
LOG_BYTES = 1_000_000
_TAIL_LINES = 20
_LOOK_S = 0.02
_PATIENCE_S = 5.0  # for pipes after the process has ended: a child of it may hold them
OnEvent = Callable[[dict[str, Any]], None]


class Builder:
    """One run of the builder.

    Attributes:
        tail: its last lines on stderr.
    """

    def __init__(self, process: asyncio.subprocess.Process, *, log: Path) -> None:
        self._process = process
        self._log = log
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)

    @classmethod
    async def start(
        cls, command: Sequence[str], environment: dict[str, str], *, log: Path
    ) -> "Builder":
        """Starts it in a process group of its own, nice to the service's photos.

        Raises:
            OSError: it cannot be started.
        """
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,  # held open: it ends with us, however we end
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            start_new_session=True,
            limit=LONGEST_LINE_BYTES,
        )
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
        return cls(process, log=log)

    async def listen(self, on_event: OnEvent) -> int:
        """Tells every event until the process has ended; gives its exit code."""
        readers = asyncio.gather(self._read_events(on_event), self._keep_log())
        code = await self._exit_code()
        self._kill_group()  # children of it that are left would hold the pipes
        try:
            await asyncio.wait_for(readers, _PATIENCE_S)
        except TimeoutError:
            EVENTS.warning("builder_pipe_open")
        if self._process.stdin is not None:
            self._process.stdin.close()
        return code

    async def _exit_code(self) -> int:
        """Waits for the process alone; `Process.wait` also waits for all who hold its pipes."""
        while (code := self._process.returncode) is None:
            await asyncio.sleep(_LOOK_S)
        return code

    async def _read_events(self, on_event: OnEvent) -> None:
        assert self._process.stdout is not None
        complained = False
        async for line in _lines(self._process.stdout):
            try:
                event = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(event, dict):
                try:
                    on_event(event)
                except Exception as problem:  # the pipe must be read on, or the builder stands
                    if not complained:
                        EVENTS.error("builder_event_failed", exc_info=problem)
                    complained = True

    async def _keep_log(self) -> None:
        """Its words on stderr, to a file of bounded size; a full disk costs the file only."""
        assert self._process.stderr is not None
        room = LOG_BYTES
        async for line in _lines(self._process.stderr):
            self.tail.append(line.decode("utf-8", "replace").rstrip())
            if room > 0:
                room = await asyncio.to_thread(_append, self._log, line[:room], room)

    def interrupt(self) -> None:
        """Asks it to stop, as Ctrl-C does; what is finished stays."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """Ends it and its children."""
        if self._process.returncode is None:
            self._kill_group()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Lines; of one that is too long nothing."""
    too_long = False
    while True:
        try:
            line = await stream.readuntil(b"\n")
        except asyncio.LimitOverrunError as found:
            await stream.readexactly(found.consumed)
            too_long = True
            continue
        except asyncio.IncompleteReadError as end:
            if end.partial and not too_long:
                yield end.partial
            return
        if not too_long:
            yield line
        too_long = False


def _append(path: Path, line: bytes, room: int) -> int:
    """What room is left; none after a failure."""
    try:
        with path.open("ab") as handle:
            handle.write(line)
    except OSError:
        return 0
    return room - len(line)
