"""Politeness: no more requests a second than agreed, over all threads, and pauses when asked."""

import threading
import time
from collections.abc import Callable

_SOON_S = 1e-6


class Pacer:
    """Hands out evenly spaced turns.

    Args:
        per_s: turns a second.
        clock, sleep: seconds; replaced in tests.
    """

    def __init__(
        self,
        per_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._interval_s = 1 / per_s
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._next_s = clock()

    def wait(self) -> None:
        """Returns when it is the caller's turn."""
        while True:
            with self._lock:
                now = self._clock()
                left_s = self._next_s - now
                if left_s <= _SOON_S:
                    self._next_s = now + self._interval_s
                    return
            # Afterwards looked at again: in the meantime all may have been told to pause.
            self._sleep(left_s)

    def pause(self, seconds: float) -> None:
        """Nobody gets a turn for this long: a server that struggles is left alone by everyone."""
        with self._lock:
            self._next_s = max(self._next_s, self._clock() + seconds)
