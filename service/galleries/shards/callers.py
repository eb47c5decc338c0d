"""How shards are reached: one protocol for those of this process and those of a cluster."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from service.galleries.coverage import RECTANGLES_AT_MOST
from service.galleries.shards.shard import ShardFacts
from service.logs.log import EVENTS

Calls = Mapping[int, tuple[Any, ...]]
_FEWEST_RECTANGLES = 8
_AFTER_A_FAILURE_S = 10.0


@dataclass(frozen=True)
class Told:
    """What came back: answers by shard number, and a sentence for each shard that gave none."""

    answers: dict[int, Any]
    failures: dict[int, str]


class ShardCaller(Protocol):
    """An epoch's shards. Thread-safe; looks after lost ones by itself until it is closed."""

    @property
    def facts(self) -> Mapping[int, ShardFacts]:
        """Of every shard that was open at any time."""
        ...

    @property
    def lost(self) -> Mapping[int, str]:
        """Shards that cannot be asked now, and why."""
        ...

    def ask(self, method: str, calls: Calls, *, timeout_s: float | None = None) -> Told:
        """Calls a method of `OpenShard` on several shards at once; never raises.

        Args:
            calls: the method's arguments by shard number.
            timeout_s: for all together; None is the setting `shard_timeout_s`.
        """
        ...

    def close(self) -> None:
        """Lets go of the shards; may be called more than once."""
        ...


class Watcher:
    """Calls a function from a thread of its own, for ever, when it wants to be or is woken.

    Args:
        look: returns after how many seconds it wants to be called again; None: when woken.
    """

    def __init__(self, look: Callable[[], float | None], *, name: str) -> None:
        self._look = look
        self._wake, self._ending = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Something may be wrong: looks at once."""
        self._wake.set()

    def close(self, *, patience_s: float = 0.0) -> None:
        """Ends the thread after what it is doing; waits for that so long at most."""
        self._ending.set()
        self._wake.set()
        if patience_s and threading.current_thread() is not self._thread:
            self._thread.join(patience_s)

    def _run(self) -> None:
        while not self._ending.is_set():
            pause_s: float | None = _AFTER_A_FAILURE_S
            try:
                pause_s = self._look()
            except Exception:
                EVENTS.exception("shard_watch_failed")
            self._wake.wait(pause_s)
            self._wake.clear()


def rectangles_of_a_shard(total: int) -> int:
    """Of its coverage, so that those of all shards together are about as many as of one piece."""
    return max(_FEWEST_RECTANGLES, RECTANGLES_AT_MOST // total)


def tell_lost(number: int, why: str) -> None:
    """Logs that a shard cannot be asked."""
    EVENTS.error("shard_lost", extra={"fields": {"shard": number, "reason": why}})
