"""A few threads that a process which ends does not wait for."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

_Call = tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]


class DaemonPool:
    """As `ThreadPoolExecutor`, whose threads the interpreter joins, however long they hang.

    Args:
        threads: at most; made when they are needed.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._threads, self._name = threads, name
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._made = self._unfinished = 0
        self._is_closed = False

    def submit(self, call: Callable[..., Any], /, *arguments: Any) -> Future[Any]:  # noqa: ANN401
        """Begins a call once a thread is free.

        Raises:
            RuntimeError: the pool is closed.
        """
        future: Future[Any] = Future()
        with self._lock:
            if self._is_closed:
                raise RuntimeError("the pool is closed")
            self._calls.put((future, call, arguments))
            self._unfinished += 1
            if self._made < min(self._unfinished, self._threads):
                self._made += 1
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
        return future

    def close(self) -> None:
        """Ends the threads after what was submitted; waits for nothing."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                for _ in range(self._made):
                    self._calls.put(None)

    def _work(self) -> None:
        while (entry := self._calls.get()) is not None:
            self._run(*entry)
            del entry  # else an idle thread would keep it
            with self._lock:
                self._unfinished -= 1

    @staticmethod
    def _run(future: Future[Any], call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            answer = call(*arguments)
        except BaseException as problem:
            future.set_exception(problem)
        else:
            future.set_result(answer)
