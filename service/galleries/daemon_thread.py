"""Long work in a thread that the process does not wait for when it ends."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")


async def run_in_daemon(work: Callable[[], ResultT], *, name: str) -> ResultT:
    """The work's result; whoever is cancelled while waiting leaves the work to its own end.

    The threads of an executor are joined by the interpreter, however long they still work.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[ResultT] = loop.create_future()

    def settle(tell: Callable[[Any], None], value: object) -> None:
        if not result.done():  # else nobody waits any more
            tell(value)

    def run() -> None:
        told: tuple[Callable[[Any], None], object]
        try:
            told = (result.set_result, work())
        except BaseException as problem:
            told = (result.set_exception, problem)
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process is ending
            loop.call_soon_threadsafe(settle, *told)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await result
