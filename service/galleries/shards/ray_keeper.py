"""What the front door knows of one shard's actor."""

import contextlib
import time
from typing import Any

from service.galleries.shards import patience
from service.galleries.shards.patience import Probation
from service.galleries.shards.ray_actor import ShardState

PLACED_WITHIN_S = patience.STRAGGLER_S
HUNG_S = 60.0
LOST_LOOK_S = 0.5
LONGEST_PAUSE_S = 30.0


class Keeper:
    """One shard's actor: its handle, how it last was, and when to try what again.

    Attributes:
        is_doubted: it must succeed in a search before it is asked again.
    """

    def __init__(self, make: Any, number: int) -> None:  # noqa: ANN401 - makes a Ray handle
        self._make, self._number = make, number
        self.actor: Any = make(number)
        self.state: ShardState | None = None
        self._heard_at: float | None = None
        self._failures = 0
        self._retry_at = 0.0
        self._gone = self._was_heard = False
        self.is_doubted, self.failures_in_a_row, self.probation = False, 0, Probation()

    @property
    def is_ready(self) -> bool:
        """Whether it last said so."""
        return self.state is not None and self.state.state == "ready"

    def ask(self, lease: str) -> Any:  # noqa: ANN401 - a reference
        """Asks for its state; an actor that is gone for good is first made anew."""
        if self._gone:
            if time.monotonic() < self._retry_at:
                return None
            self.actor, self._gone = self._make(self._number), False
            self._was_heard = False
        return self.actor.look.remote(lease)

    def probe(self) -> Any:  # noqa: ANN401 - a reference
        """Begins a search for nothing in particular; None where there is nothing to find out."""
        if not (self.is_doubted and self.is_ready and self.probation.is_over()):
            return None
        try:
            return self.actor.call.remote("probe", ())
        except Exception:
            return None  # looks tell

    def note_state(self, state: ShardState) -> None:
        """It answered; one that failed is told to try again, seldom."""
        now = time.monotonic()
        self.state, self._heard_at, self._was_heard = state, now, True
        if state.state == "ready":
            self._failures = 0
        elif state.state == "failed" and now >= self._retry_at:
            if self._failures:
                self.actor.open_again.remote()
            self._back_off(now)

    def is_coming(self, now: float, began: float) -> bool:
        """Whether it may soon be open: it is being placed, or says that it opens.

        Args:
            began: when it was asked for.
        """
        if self.state is None or self._heard_at is None:
            return now - began <= PLACED_WITHIN_S
        return self.state.state == "opening" and now - self._heard_at <= PLACED_WITHIN_S

    def note_silence(self, ray: Any) -> None:  # noqa: ANN401 - see ray_cluster
        """It did not answer in time; one that hangs for long is restarted."""
        if self._heard_at is not None and time.monotonic() - self._heard_at > HUNG_S:
            self._heard_at = None
            ray.kill(self.actor, no_restart=False)

    def note_failure(self, ray: Any, problem: Exception) -> None:  # noqa: ANN401
        """Ray says that it is away, or ended for good."""
        if isinstance(problem, ray.exceptions.ActorUnavailableError):
            return  # Ray restarts it
        self._gone, self.state = True, None
        self._back_off(time.monotonic())

    def release(self, lease: str) -> Any:  # noqa: ANN401 - a reference
        """Gives the lease back; None where nobody is there to take it, and it runs out."""
        try:
            return None if self._gone else self.actor.release.remote(lease)
        except Exception:
            return None

    def end_if_never_heard(self, ray: Any) -> None:  # noqa: ANN401 - see ray_cluster
        """Another front door that waits for the same one makes it anew."""
        if not self._was_heard and not self._gone:
            with contextlib.suppress(Exception):  # Ray has ended it, or has ended itself
                ray.kill(self.actor, no_restart=True)

    def _back_off(self, now: float) -> None:
        self._failures += 1
        self._retry_at = now + min(LOST_LOOK_S * 2 ** min(self._failures, 10), LONGEST_PAUSE_S)


def first_line(problem: Exception) -> str:
    """What an exception of Ray's says before its trace."""
    lines = str(problem).strip().splitlines() or [type(problem).__name__]
    return lines[0][:300]
