"""Addresses of tiles, turns and pauses: what needs no store."""

import threading
import time

import numpy as np
import pytest

from crossfix.errors import SourceError
from crossfix.geodesy import TileId
from index_builder.sources.tile_sets.web_address import WebAddress
from index_builder.sources.tile_sets.web_fetching import WebFetcher
from index_builder.sources.tile_sets.web_pacing import Pacer
from tests.tiny_tile_sets import Answer, TileServer, encode

IMAGE = encode(np.full((32, 32, 3), 90, np.uint8))


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """The server of these tests is on this machine."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")


class FakeTime:
    """A clock that only sleeping moves."""

    def __init__(self):
        self.now = 100.0
        self.slept = []

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


def test_turns_are_evenly_spaced():
    fake = FakeTime()
    pacer = Pacer(4.0, clock=fake.clock, sleep=fake.sleep)
    turns = []
    for _ in range(5):
        pacer.wait()
        turns.append(fake.now)
    assert np.diff(turns) == pytest.approx([0.25] * 4)
    fake.now += 10  # nobody may catch up after a rest
    turns = []
    for _ in range(3):
        pacer.wait()
        turns.append(fake.now)
    assert np.diff(turns) == pytest.approx([0.25, 0.25])


def test_a_pause_holds_everyone():
    fake = FakeTime()
    pacer = Pacer(4.0, clock=fake.clock, sleep=fake.sleep)
    pacer.wait()
    pacer.pause(7.0)
    pacer.wait()
    assert fake.now == pytest.approx(107.0)


def test_threads_that_are_already_waiting_are_held_by_a_pause():
    """A server's plea must reach those whose turn was given out before."""
    pacer = Pacer(20.0)
    start = time.monotonic()
    ends = []

    def wait():
        pacer.wait()
        ends.append(time.monotonic() - start)

    threads = [threading.Thread(target=wait) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.02)
    pacer.pause(0.3)
    for thread in threads:
        thread.join()
    assert sorted(ends)[1] >= 0.3


@pytest.mark.parametrize(("header", "pause_s"), [("3", 3.0), ("99999", 300.0), ("soon", 0.5)])
def test_retry_after_is_obeyed_within_reason(header, pause_s):
    fake = FakeTime()

    def answer(_, times):
        return Answer(IMAGE) if times > 1 else Answer(b"", 429, {"Retry-After": header})

    with TileServer(answer) as server:
        fetcher = WebFetcher(
            server.host, Pacer(1000, clock=fake.clock, sleep=fake.sleep), backoff_s=0.5
        )
        assert fetcher.fetch(f"{server.host}/a") == IMAGE
        fetcher.close()
    assert sum(fake.slept) == pytest.approx(pause_s, abs=0.01)


def test_pauses_double():
    fake = FakeTime()
    with TileServer(lambda *_: Answer(b"", 500)) as server:
        pacer = Pacer(1000, clock=fake.clock, sleep=fake.sleep)
        fetcher = WebFetcher(server.host, pacer, backoff_s=1.0, retries=4)
        with pytest.raises(SourceError):
            fetcher.fetch(f"{server.host}/a")
        fetcher.close()
    assert len(fake.slept) == 4
    for pause_s, least in zip(fake.slept, (1, 2, 4, 8), strict=True):
        assert least <= pause_s <= least + 0.26  # a little jitter


@pytest.mark.parametrize(
    ("template", "address"),
    [
        ("https://a.org/{z}/{x}/{y}.jpg", "https://a.org/3/5/2.jpg"),
        ("https://a.org/{z}/{x}/{-y}.jpg", "https://a.org/3/5/5.jpg"),
        ("http://a.org/w/{TileMatrix}/{TileRow}/{TileCol}", "http://a.org/w/3/2/5"),
        ("https://{s}.a.org/{Z}/{X}/{Y}", "https://b.a.org/3/5/2"),
        (
            "https://a.org:8443/?REQUEST=GetTile&TILEMATRIX={TILEMATRIX}&TILEROW={TILEROW}"
            "&TILECOL={TILECOL}",
            "https://a.org:8443/?REQUEST=GetTile&TILEMATRIX=3&TILEROW=2&TILECOL=5",
        ),
    ],
)
def test_addresses(template, address):
    assert WebAddress(template).of(TileId(3, 5, 2)) == address


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("ftp://a.org/{z}/{x}/{y}", "not an http"),
        ("https:///{z}/{x}/{y}", "not an http"),
        ("https://me:secret@a.org/{z}/{x}/{y}", "without a user name"),
        ("https://a.org:port/{z}/{x}/{y}", "malformed"),
        ("https://a.org/{z}/{x}", "z, x and y"),
        ("https://a.org/{z}/{x}/{y}/{-y}", "z, x and y"),
        ("https://a.org/{z}/{x}/{y}/{time}", "{time}"),
        ("https://a.org/{z.__class__}/{x}/{y}", "{z.__class__}"),
        ("https://a.org/{z}/{x}/{y}?key=${CROSSFIX_NO_SUCH_KEY}", "environment variable"),
    ],
)
def test_bad_addresses_are_refused(template, says):
    with pytest.raises(SourceError, match=says) as caught:
        WebAddress(template)
    assert "secret" not in str(caught.value)
