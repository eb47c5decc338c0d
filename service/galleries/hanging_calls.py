"""Calls that may hang, as network disks do: waited for so long and no longer."""

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")

_lock = threading.Lock()
_begun: dict[Hashable, Future[Any]] = {}


def begin_once(key: Hashable, call: Callable[[], ResultT]) -> Future[ResultT]:
    """Begins a call in a thread that the process does not wait for when it ends.

    While a call hangs, whoever begins one of the same key gets that one: however often something
    is tried again, it hangs in one thread.
    """
    future: Future[ResultT] = Future()
    with _lock:
        if key in _begun:
            return _begun[key]
        _begun[key] = future
    try:
        threading.Thread(
            target=_run, args=(key, future, call), name="may-hang", daemon=True
        ).start()
    except BaseException:
        _forget(key)
        raise
    return future


def call_within(key: Hashable, call: Callable[[], ResultT], *, timeout_s: float) -> ResultT:
    """What a call answers.

    Raises:
        TimeoutError: it hangs; it goes on in its thread.
    """
    return begin_once(key, call).result(timeout_s)


def _run(key: Hashable, future: Future[Any], call: Callable[[], Any]) -> None:
    try:
        answer = call()
    except BaseException as problem:
        _forget(key)
        future.set_exception(problem)
    else:
        _forget(key)
        future.set_result(answer)
    del future  # a raised exception holds this frame, and the future would hold the exception


def _forget(key: Hashable) -> None:
    with _lock:
        del _begun[key]
