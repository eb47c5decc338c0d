"""Bodies that come slowly, heads in pieces, early answers and proxies, at the real server."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import httpx
import pytest

from tests.service_world import World, jpeg, make_world, serve

MOST_BYTES = 200_000


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def base(world) -> Iterator[str]:
    with serve(world.settings(max_in_flight=2, max_body_bytes=MOST_BYTES)) as base:
        yield base


@contextmanager
def connected(base: str, source: str = "127.0.0.1") -> Iterator[socket.socket]:
    port = urlsplit(base).port
    with socket.create_connection(
        ("127.0.0.1", port), timeout=20, source_address=(source, 0)
    ) as wire:
        yield wire


def read_all(wire: socket.socket) -> bytes:
    """Until the server closes; a reset is an error."""
    got = bytearray()
    while piece := wire.recv(65_536):
        got += piece
    return bytes(got)


def photo(base: str) -> httpx.Response:
    return httpx.post(f"{base}/localize?view=drone", content=jpeg(3), timeout=20)


BEGUN = b"POST /localize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000\r\n\r\nx"


def test_connections_that_send_next_to_nothing_take_no_photos_place(base) -> None:
    with ExitStack() as held:
        for _ in range(12):  # far more than photos may be worked on
            held.enter_context(connected(base, "127.0.0.2")).sendall(BEGUN)
        time.sleep(0.3)
        for _ in range(3):
            answer = photo(base)
            assert answer.status_code == 200, answer.text
    assert photo(base).status_code == 200


def test_one_address_holds_half_of_the_uploads_at_most(base) -> None:
    with ExitStack() as held:
        for _ in range(4):  # of 8 that max_in_flight=2 gives
            held.enter_context(connected(base, "127.0.0.3")).sendall(BEGUN)
        time.sleep(0.3)
        with connected(base, "127.0.0.3") as wire:
            wire.sendall(BEGUN)
            assert b" 503 " in wire.recv(65_536).split(b"\r\n")[0]


@pytest.mark.parametrize("connection", ["close", "keep-alive"])
def test_a_body_that_is_too_long_is_told_so_even_to_who_sends_all_of_it(base, connection) -> None:
    for chunked in (False, True):
        asking = http.client.HTTPConnection("127.0.0.1", urlsplit(base).port, timeout=20)
        size_bytes = 20_000_000
        headers = {"Content-Type": "image/jpeg", "Connection": connection}
        if not chunked:
            headers["Content-Length"] = str(size_bytes)
        pieces = (b"x" * 50_000 for _ in range(size_bytes // 50_000))
        asking.request("POST", "/localize", pieces, headers, encode_chunked=chunked)
        answer = asking.getresponse()
        assert answer.status == 413
        assert json.loads(answer.read())["error"]["code"] == "body_too_large"
        asking.close()


def test_what_is_too_long_is_told_with_what_helps(base) -> None:
    order = {"area": "x" * 100_000}
    local = {"host": f"localhost:{urlsplit(base).port}"}
    short_of = httpx.post(f"{base}/gallery/rebuild", json=order, headers=local)
    assert short_of.status_code != 413
    too_long = httpx.post(f"{base}/gallery/activate", json=order, headers=local)
    assert too_long.status_code == 413
    assert "image" not in too_long.json()["error"]["hint"]


@pytest.mark.parametrize("lines", [b"Connection: close\r\n", b"X-Amzn-Trace-Id: 1\r\n"])
def test_an_admin_route_behind_nginx_as_it_comes_is_refused_without_keys(base, lines) -> None:
    version = b"1.0" if b"close" in lines else b"1.1"
    host = urlsplit(base).netloc.encode()
    with connected(base) as wire:
        wire.sendall(
            b"POST /gallery/activate HTTP/" + version + b"\r\nHost: " + host + b"\r\n" + lines
            + b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        )  # fmt: skip
        answer = wire.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"behind a proxy" in answer


def test_a_head_in_several_packets_is_counted_once(base) -> None:
    lines = b"".join(b"X-%d: %s\r\n" % (i, b"a" * 990) for i in range(7))
    with connected(base) as wire:
        wire.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n")
        for _ in range(4):  # 28 kB of 32
            wire.sendall(lines)
            time.sleep(0.05)
        wire.sendall(b"\r\n")
        assert read_all(wire).startswith(b"HTTP/1.1 200 ")
    with connected(base) as wire:
        wire.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n")
        for _ in range(5):
            wire.sendall(lines)
            time.sleep(0.05)
        assert read_all(wire).startswith(b"HTTP/1.1 431 ")


def test_a_head_behind_a_body_is_not_charged_for_it(base) -> None:
    body = bytes(150_000)
    sent = b"POST /localize HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with connected(base) as wire:
        wire.sendall(sent + b"GET /livez HTTP/1.1\r\nHost: a\r\n")
        assert wire.recv(65_536).startswith(b"HTTP/1.1 415 ")
        wire.sendall(b"Connection: close\r\n\r\n")
        assert b"HTTP/1.1 200 " in read_all(wire)


def test_endless_trailers_are_refused(base) -> None:
    head = b"POST /localize HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    with connected(base) as wire:
        wire.sendall(head + b"1\r\nx\r\n0\r\n")
        for _ in range(6):
            wire.sendall(b"X: %s\r\n" % (b"a" * 8000))
            time.sleep(0.02)
        assert read_all(wire).startswith(b"HTTP/1.1 431 ")


def test_a_refusal_never_stands_in_anothers_place(base) -> None:
    body = jpeg(3, 2000, 2000)
    head = b"POST /localize?view=drone HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(
        body
    )
    with connected(base) as wire:
        wire.sendall(head + body + b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\nGARBAGE\r\n\r\n")
        try:
            answers = read_all(wire)
        except ConnectionResetError:
            answers = b""
    assert b" 400 " not in answers
