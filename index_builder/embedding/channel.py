"""A short queue between threads that can be ended: after its last item, or at once."""

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Aborted(Exception):
    """The work was given up; whoever meets this just ends."""


class Channel(Generic[T]):
    """Blocks its writers while it is full and its readers while it is empty."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._items: deque[T] = deque()
        self._condition = threading.Condition()
        self._closed = False
        self._aborted = False

    def put(self, item: T) -> None:
        """Adds an item, when there is room.

        Raises:
            Aborted: the work was given up.
        """
        with self._condition:
            self._condition.wait_for(lambda: self._aborted or len(self._items) < self._capacity)
            self._check()
            self._items.append(item)
            self._condition.notify_all()

    def take(self, count: int = 1, *, timeout_s: float | None = None) -> list[T]:
        """Removes `count` items; fewer after `close`, or when the time is over.

        Raises:
            Aborted: the work was given up.
        """
        count = min(count, self._capacity)
        with self._condition:
            self._condition.wait_for(
                lambda: self._aborted or self._closed or len(self._items) >= count, timeout_s
            )
            self._check()
            taken = [self._items.popleft() for _ in range(min(count, len(self._items)))]
            self._condition.notify_all()
            return taken

    @property
    def ended(self) -> bool:
        """Whether it is closed and empty."""
        with self._condition:
            return self._closed and not self._items

    def close(self) -> None:
        """Tells that no item follows."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def abort(self) -> None:
        """Wakes everyone with `Aborted`."""
        with self._condition:
            self._aborted = True
            self._condition.notify_all()

    def _check(self) -> None:
        if self._aborted:
            raise Aborted
