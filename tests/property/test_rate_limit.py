"""The token buckets against a plain model with exact fractions; the bounds on memory."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import RateLimited
from service.guard.rate_limit import RateLimit, address_key

TICK_S = Fraction(1, 8)  # exact as a float
CALLERS = ("a", "b", "c")
STEPS = st.lists(
    st.tuples(st.integers(0, 200), st.sampled_from(CALLERS), st.integers(0, 30)),
    max_size=60,
)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Model:
    """One bucket per caller, never forgotten, without rounding."""

    def __init__(self, rate_per_s: Fraction, burst: int) -> None:
        self.rate, self.burst = rate_per_s, Fraction(burst)
        self.tokens = dict.fromkeys(CALLERS, self.burst)

    def wait(self, seconds: Fraction) -> None:
        for caller, tokens in self.tokens.items():
            self.tokens[caller] = min(self.burst, tokens + seconds * self.rate)

    def missing(self, caller: str, photos: int) -> Fraction:
        return min(Fraction(photos), self.burst) - self.tokens[caller]


# Rates of a power of two per second, so that floats are exact too and no case is on the edge.
@given(power=st.integers(-3, 4), burst=st.integers(1, 20), steps=STEPS)
def test_it_does_what_the_model_does(power: int, burst: int, steps) -> None:
    rate = Fraction(2) ** power
    clock, model = Clock(), Model(rate, burst)
    limit = RateLimit(per_minute=float(rate * 60), burst=burst, clock=clock)
    for ticks, caller, photos in steps:
        model.wait(ticks * TICK_S)
        clock.now += float(ticks * TICK_S)
        missing = model.missing(caller, photos)
        if missing > 0:
            with pytest.raises(RateLimited) as refused:
                limit.take(caller, photos)
            assert refused.value.retry_after_s == float(missing / rate)
        else:
            limit.take(caller, photos)
            model.tokens[caller] -= photos


@given(rate=st.floats(0.5, 6000), burst=st.integers(1, 50), photos=st.integers(1, 100))
def test_after_exactly_the_stated_wait_the_same_call_passes(rate, burst, photos) -> None:
    clock = Clock()
    limit = RateLimit(per_minute=rate, burst=burst, clock=clock)
    limit.take("a", burst)
    with pytest.raises(RateLimited) as refused:
        limit.take("a", photos)
    clock.now += refused.value.retry_after_s * (1 - 1e-6)
    with pytest.raises(RateLimited):
        limit.take("a", photos)
    clock.now += refused.value.retry_after_s * 2e-6
    limit.take("a", photos)


@given(steps=STEPS, rate=st.integers(1, 10_000), burst=st.integers(1, 20))
def test_in_the_long_run_the_rate_holds(steps, rate: int, burst: int) -> None:
    clock = Clock()
    limit = RateLimit(per_minute=rate, burst=burst, clock=clock)
    passed = 0
    for ticks, _, photos in steps:
        clock.now += float(ticks * TICK_S)
        try:
            limit.take("a", photos)
        except RateLimited:
            continue
        passed += photos
    # A batch larger than the burst may go into debt once.
    assert passed <= burst + clock.now * rate / 60 + 30


def test_no_limit_remembers_nobody() -> None:
    limit = RateLimit(per_minute=0, burst=1)
    for _ in range(1000):
        limit.take("a", 100)
    assert len(limit) == 0


def test_callers_who_were_quiet_are_forgotten() -> None:
    clock = Clock()
    limit = RateLimit(per_minute=60, burst=10, clock=clock)
    for i in range(1000):
        limit.take(f"caller {i}")
    assert len(limit) == 1000
    clock.now += 1.0
    limit.take("one more")
    assert len(limit) == 1


def test_memory_is_bounded_however_many_callers_there_are() -> None:
    limit = RateLimit(per_minute=1, burst=1, clock=Clock(), most_buckets=50)
    for i in range(1000):
        limit.take(f"caller {i}")
    assert len(limit) == 50
    with pytest.raises(RateLimited):
        limit.take("caller 999")


def test_the_least_recently_used_is_dropped_first() -> None:
    limit = RateLimit(per_minute=1, burst=5, clock=Clock(), most_buckets=2)
    for caller in ("busy", "x", "busy", "y", "busy", "z", "busy", "busy"):
        limit.take(caller)
    with pytest.raises(RateLimited):
        limit.take("busy")


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("a-socket", "a-socket"),
        ("", ""),
    ],
)
def test_an_ipv6_network_counts_as_one(host: str, key: str) -> None:
    assert address_key(host) == key


def test_what_is_given_back_may_be_taken_again_and_never_more_than_the_burst() -> None:
    limit = RateLimit(per_minute=60, burst=2, clock=lambda: 0.0)
    limit.give_back("a")
    for _ in range(5):
        limit.take("a")
        limit.give_back("a")
    limit.take("a", photos=2)
    with pytest.raises(RateLimited):
        limit.take("a")
    RateLimit(per_minute=0, burst=1).give_back("a")
