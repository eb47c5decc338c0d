"""How long a newcomer would wait for a stage, and how long it may.

A photo whose answer could not come before its deadline is refused at once. But `queue_limit` and
the deadline alone would let every photo of an overload wait until just before its deadline, so two
rules keep the queue short, whatever room it has:

- A queue is for bursts: nobody may wait longer than `BURST_S`.
- It is not for standing in: once every newcomer of the last `BURST_S` found all workers busy, there
  is more to do than can be done, and a longer queue would only make everyone wait. Then newcomers
  may wait no longer than `standing_s`, or `CROWDED_RUNS` runs of the stage where these take longer.
  That much is allowed in a burst, too, for the sake of encoders whose one run takes longer than
  `BURST_S`.

So in overload accepted photos wait that long and no longer, and the others learn at once that they
must come again. The idea of telling a burst from a standing queue by time is that of CoDel
(RFC 8289).
"""

from collections.abc import Callable, Hashable

EWMA_WEIGHT = 0.2  # of the newest run in the moving average of run times
BURST_S = 1.0
CROWDED_RUNS = 2.0
STANDING_S = 0.1


class Forecast:
    """Learns how long runs take, from those that ended and those that have begun.

    Args:
        workers: runs at once.
        clock: monotonic seconds.
        standing_s: how long anybody may wait in a queue that does not empty.
    """

    def __init__(
        self, workers: int, clock: Callable[[], float], *, standing_s: float = STANDING_S
    ) -> None:
        self._workers = workers
        self._clock = clock
        self._standing_s = standing_s
        self._mean_s = 0.0
        self._began: dict[Hashable, float] = {}
        self._calm_at = clock()

    def begin(self, run: Hashable) -> float:
        """Notes that a run starts; the time."""
        now = self._began[run] = self._clock()
        return now

    def end(self, run: Hashable) -> float:
        """Notes that it ended, and learns from it; the time."""
        now = self._clock()
        took_s = now - self._began.pop(run)
        self._mean_s += (EWMA_WEIGHT if self._mean_s else 1.0) * (took_s - self._mean_s)
        return now

    @property
    def run_s(self) -> float:
        """How long a run takes; before the first has ended, as long as it already does."""
        if self._mean_s or not self._began:
            return self._mean_s
        return self._clock() - min(self._began.values())

    def wait_s(self, runs_ahead: int) -> float:
        """Until a worker is free for what comes behind the running and `runs_ahead` waiting runs.

        A run that is overdue is taken to last as long again as it is overdue.
        """
        if not runs_ahead and len(self._began) < self._workers:
            return 0.0
        now, run_s = self._clock(), self.run_s
        left_s = sum(abs(run_s - (now - began)) for began in self._began.values())
        return (left_s + runs_ahead * run_s) / self._workers

    def longest_wait_s(self, deadline: float, *, is_calm: bool) -> float:
        """How long a newcomer may wait; negative when its answer could only come too late.

        Args:
            is_calm: whether it finds a worker free.
        """
        now, run_s = self._clock(), self.run_s
        if is_calm:
            self._calm_at = now
        limit_s = max(CROWDED_RUNS * run_s, self._standing_s)
        if now - self._calm_at < BURST_S:
            limit_s = max(limit_s, BURST_S)
        return min(limit_s, deadline - now - run_s)
