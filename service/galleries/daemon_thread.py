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

    What the work raises holds the frames it came through, this one and the caller's among them. So
    no frame here may hold the exception: a circle would keep the caller's variables, a whole
    gallery for instance, until the garbage collector comes by.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[ResultT] = loop.create_future()
    threading.Thread(target=_run, args=(work, loop, result), name=name, daemon=True).start()
    try:
        return await result
    finally:
        del result


def _run(
    work: Callable[[], ResultT], loop: asyncio.AbstractEventLoop, result: asyncio.Future[ResultT]
) -> None:
    told: tuple[Callable[[Any], None], object]
    try:
        told = (result.set_result, work())
    except BaseException as problem:
        told = (result.set_exception, problem)
    with contextlib.suppress(RuntimeError):  # the loop is closed: the process is ending
        loop.call_soon_threadsafe(_settle, result, *told)
    del result, told


def _settle(result: asyncio.Future[Any], tell: Callable[[Any], None], value: object) -> None:
    if not result.done():  # else nobody waits any more
        tell(value)
