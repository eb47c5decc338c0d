"""How long shards may take: to open, and until one that failed is tried again."""

import time

from crossfix.sharded_gallery_manifest import EpochManifest

OPENED_WITHIN_S, OPEN_S_PER_TILE = 600.0, 0.001  # of the largest shard; some 10 MB/s of its files
STRAGGLER_S = 60.0
FAILURES_IN_A_ROW = 3  # searches; one photo that a shard fails on must not cost the others
_LONGEST_PAUSE_S = 60.0
_FORGIVEN_AFTER_S = 300.0


def longest_opening_s(epoch: EpochManifest) -> float:
    """How long a shard that says nothing may take to open, seconds."""
    return OPENED_WITHIN_S + OPEN_S_PER_TILE * max(shard.tile_count for shard in epoch.shards)


class Probation:
    """When a shard that failed is tried again: at once, then after pauses that double."""

    def __init__(self) -> None:
        self._count = 0
        self._last_at = self._until = float("-inf")

    def note_trouble(self) -> None:
        """It was late, or failed, once more."""
        now = time.monotonic()
        if now - self._last_at > _FORGIVEN_AFTER_S:
            self._count = 0
        pause_s = min(2.0 ** (self._count - 1), _LONGEST_PAUSE_S) if self._count else 0.0
        self._count = min(self._count + 1, 20)
        self._last_at, self._until = now, now + pause_s

    def is_over(self) -> bool:
        """Whether to try it now."""
        return time.monotonic() >= self._until
