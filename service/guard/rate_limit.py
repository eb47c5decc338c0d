"""How many photos each caller may send: one token bucket per key or address."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

from service.errors import RateLimited

MOST_BUCKETS = 100_000  # about 20 MB


class RateLimit:
    """Token buckets that fill with `per_minute` / 60 tokens per second up to `burst`.

    A batch of more photos than `burst` passes when the bucket is full and leaves it in debt: so no
    batch is impossible and the rate holds all the same.

    Args:
        per_minute: photos per minute and caller; 0 sets no limit.
        burst: photos at once after a quiet time.
        clock: seconds that never run backwards.
    """

    def __init__(
        self,
        *,
        per_minute: float,
        burst: int,
        clock: Callable[[], float] = time.monotonic,
        most_buckets: int = MOST_BUCKETS,
    ) -> None:
        self._rate_per_s, self._burst = per_minute / 60.0, float(burst)
        self._clock, self._most_buckets = clock, most_buckets
        # Key: (tokens, when that was); the least recently used first. A full bucket is not kept.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        """Callers remembered."""
        return len(self._buckets)

    def take(self, rate_key: str, photos: int = 1) -> None:
        """Counts photos that are about to be read; 0 only asks whether the caller is in debt.

        Raises:
            RateLimited: too many; `retry_after_s` is exactly when the same call would pass.
        """
        if not self._rate_per_s:
            return
        now = self._clock()
        tokens = self._tokens(rate_key, now)
        missing = min(float(photos), self._burst) - tokens
        if missing > 0:
            raise RateLimited(
                f"more than {self._rate_per_s * 60:g} photos per minute",
                retry_after_s=missing / self._rate_per_s,
            )
        self._buckets[rate_key] = (tokens - photos, now)
        self._buckets.move_to_end(rate_key)
        self._forget(now)

    def give_back(self, rate_key: str) -> None:
        """Undoes :meth:`take` of a photo that was turned away for want of room."""
        if self._rate_per_s and rate_key in self._buckets:
            now = self._clock()
            tokens = min(self._burst, self._tokens(rate_key, now) + 1)
            self._buckets[rate_key] = (tokens, now)

    def _tokens(self, rate_key: str, now: float) -> float:
        tokens, since = self._buckets.get(rate_key, (self._burst, now))
        return min(self._burst, tokens + (now - since) * self._rate_per_s)

    def _forget(self, now: float) -> None:
        """Drops buckets that are full again, least recently used first; any beyond the bound."""
        while self._buckets:
            oldest = next(iter(self._buckets))
            if self._tokens(oldest, now) < self._burst and len(self) <= self._most_buckets:
                return
            del self._buckets[oldest]


def address_key(host: str) -> str:
    """Whom an address stands for: IPv6 hosts own a whole /64, so they count as one."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address.packed[:8] + bytes(8), 64)))
    return str(address)
