"""Raw bytes at the real server: slow, endless, odd and too many; nothing is a 500."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
import uvicorn
from starlette.responses import Response

from service.app import create_app
from service.http import connection_guard
from service.http.connection_guard import GuardedProtocol, guarded_protocol
from service.routes.access import Reader
from service.server import server_config
from tests.service_world import World, jpeg, make_world

MUCH_BYTES = 50_000_000  # more than the kernel buffers


@contextmanager
def running(settings, *, most_connections: int | None = None) -> Iterator[int]:
    """The server as `python -m service` sets it up, in a thread; yields its port."""
    app = create_app(settings)

    @app.get("/try/who")
    async def who(caller: Reader) -> str:
        return caller.rate_key

    @app.get("/try/much")
    async def send_much() -> Response:
        return Response(bytes(MUCH_BYTES))

    config = server_config(app, settings)
    if most_connections:
        config.http = guarded_protocol(app.state.runtime.metrics, most_connections)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(timeout=20)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def port(world) -> Iterator[int]:
    with running(world.settings(upload_s=1.0)) as port:
        yield port


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as wire:
        yield wire


def read_all(wire: socket.socket) -> bytes:
    """Until the server closes."""
    got = bytearray()
    while True:
        try:
            piece = wire.recv(65_536)
        except ConnectionResetError:
            return bytes(got)
        if not piece:
            return bytes(got)
        got += piece


def exchange(port: int, sent: bytes) -> tuple[int, dict[str, str], bytes]:
    with connected(port) as wire:
        wire.sendall(sent)
        return parse(read_all(wire))


def parse(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), headers, body


def check_shape(headers: dict[str, str], body: bytes) -> str:
    error = json.loads(body)["error"]
    assert list(error) == ["code", "message", "hint", "request_id"]
    assert error["request_id"] == headers["x-request-id"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    return error["code"]


HOST = b"Host: localhost\r\n"
END = b"Connection: close\r\n\r\n"
REFUSED = {
    "no HTTP": (b"hello\r\n\r\n", 400, "request_malformed"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40), 400, "request_malformed"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "request_malformed"),
    "connect": (b"CONNECT example.org:443 HTTP/1.1\r\n" + HOST + END, 400, "request_malformed"),
    "path in UTF-8": ("GET /é HTTP/1.1\r\n".encode() + HOST + END, 400, "request_malformed"),
    "negative length": (
        b"POST /localize HTTP/1.1\r\nContent-Length: -1\r\n" + HOST + END,
        400,
        "request_malformed",
    ),
    "two lengths": (
        b"POST /localize HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n" + HOST + END,
        400,
        "request_malformed",
    ),
    "length and chunks": (
        b"POST /localize HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n"
        + HOST
        + END,
        400,
        "request_malformed",
    ),
    "huge length": (
        b"POST /localize HTTP/1.1\r\nContent-Length: " + b"9" * 40 + b"\r\n" + HOST + END,
        400,
        "request_malformed",
    ),
    "long URL": (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + HOST + END, 414, "url_too_long"),
    "endless URL": (b"GET /" + b"a" * 40_000, 414, "url_too_long"),
    "big header": (
        b"GET /livez HTTP/1.1\r\nX-Big: " + b"a" * 40_000 + b"\r\n" + HOST + END,
        431,
        "headers_too_large",
    ),
    "many headers": (
        b"GET /livez HTTP/1.1\r\n" + b"X-Many: 12345678\r\n" * 3000 + HOST + END,
        431,
        "headers_too_large",
    ),
    "endless header": (b"GET /livez HTTP/1.1\r\nX: " + b"a" * 40_000, 431, "headers_too_large"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_before_the_app_has_the_one_shape(port, case) -> None:
    sent, status, code = REFUSED[case]
    answer, headers, body = exchange(port, sent)
    assert (answer, check_shape(headers, body)) == (status, code)


ANSWERED = {
    "long but fine": (b"GET /" + b"a" * 8000 + b" HTTP/1.1\r\n" + HOST + END, 404),
    "old HTTP": (b"GET /livez HTTP/1.0\r\n\r\n", 200),
    "whole address": (b"GET http://example.org/livez HTTP/1.1\r\n" + HOST + END, 200),
    "no host": (b"GET /livez HTTP/1.1\r\n" + END, 200),
    "odd host": (b"GET /livez HTTP/1.1\r\nHost: \xff\xfe<>\r\n" + END, 200),
    "bytes in the query": (b"GET /livez?a=%ff%00%c3 HTTP/1.1\r\n" + HOST + END, 200),
    "dots": (b"GET /../../etc/passwd HTTP/1.1\r\n" + HOST + END, 404),
    "hidden dots": (b"GET /static/%2e%2e/%2e%2e/settings.py HTTP/1.1\r\n" + HOST + END, 404),
    "zero byte": (b"GET /tiles/%00 HTTP/1.1\r\n" + HOST + END, 404),
    "not UTF-8": (b"GET /tiles/%ff%ed%a0%80 HTTP/1.1\r\n" + HOST + END, 404),
    "asterisk": (b"OPTIONS * HTTP/1.1\r\n" + HOST + END, 404),
    "socket": (
        b"GET /livez HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n"
        + HOST
        + b"\r\n",
        200,
    ),
    "too long at once": (
        b"POST /localize HTTP/1.1\r\nContent-Length: 99999999999\r\n" + HOST + END,
        413,
    ),
    "stalled": (
        b"POST /localize HTTP/1.1\r\nContent-Type: image/jpeg\r\nContent-Length: 9\r\n"
        + HOST
        + END
        + b"abc",
        408,
    ),
    "stalled order": (
        b"POST /gallery/activate HTTP/1.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: 9\r\n" + HOST + END + b"abc",
        408,
    ),
    "stalled chunks": (
        b"POST /localize HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + HOST + END + b"3\r\nabc\r\n",
        408,
    ),
}


@pytest.mark.parametrize("case", ANSWERED)
def test_odd_requests_get_plain_answers(port, case) -> None:
    wait_until_loaded(port)
    sent, status = ANSWERED[case]
    answer, headers, body = exchange(port, sent)
    assert answer == status, body
    if status >= 400:
        check_shape(headers, body)


def wait_until_loaded(port: int) -> None:
    give_up = time.monotonic() + 60
    while httpx.get(f"http://127.0.0.1:{port}/readyz").status_code != 200:
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_broken_chunks_are_a_400_or_end_the_connection(port) -> None:
    sent = b"POST /localize HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + HOST + b"\r\nzzz\r\n"
    status, headers, body = exchange(port, sent)
    assert (status, check_shape(headers, body)) == (400, "request_malformed")


@pytest.fixture
def impatient(world, monkeypatch) -> Iterator[int]:
    monkeypatch.setattr(connection_guard, "HEAD_S", 0.3)
    with running(world.settings()) as port:
        yield port


def test_a_head_that_comes_too_slowly_is_408(impatient) -> None:
    with connected(impatient) as wire:
        stop = threading.Event()

        def drip() -> None:
            wire.sendall(b"GET /livez HTTP/1.1\r\n")
            while not stop.wait(0.05):
                try:
                    wire.sendall(b"X: y\r\n")
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        status, headers, body = parse(read_all(wire))
        stop.set()
        dripping.join()
    assert (status, check_shape(headers, body)) == (408, "head_too_slow")


def test_a_connection_that_says_nothing_is_closed_without_a_word(impatient) -> None:
    with connected(impatient) as wire:
        assert read_all(wire) == b""


def test_a_second_head_on_a_connection_has_its_own_time(impatient) -> None:
    with connected(impatient) as wire:
        for _ in range(3):
            wire.sendall(b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n")
            answer = b""
            while b"alive" not in answer:  # head and body may come apart
                answer += wire.recv(65_536)
            assert b"200 OK" in answer
            time.sleep(0.4)  # idle connections are kept
        wire.sendall(b"GET /li")
        status, headers, body = parse(read_all(wire))
    assert (status, check_shape(headers, body)) == (408, "head_too_slow")


def test_the_rest_of_a_refused_body_is_not_read_for_ever(impatient) -> None:
    with connected(impatient) as wire:
        wire.sendall(b"POST /nowhere HTTP/1.1\r\nContent-Length: 1000000\r\n" + HOST + b"\r\n")
        assert b"404 Not Found" in wire.recv(65_536)
        assert sends_until_cut(wire) < 200


def sends_until_cut(wire: socket.socket) -> int:
    for sent in range(200):
        try:
            wire.sendall(b"x" * 100)
        except OSError:  # reset or broken pipe
            return sent
        time.sleep(0.05)
    return 200


def test_a_slow_answer_is_not_cut_off(world, monkeypatch) -> None:
    monkeypatch.setattr(connection_guard, "HEAD_S", 0.3)
    with running(world.settings(upload_s=5.0)) as port:
        wait_until_loaded(port)
        with connected(port) as wire:
            wire.sendall(b"POST /localize HTTP/1.1\r\nContent-Length: 8\r\n" + HOST + END)
            for _ in range(8):
                time.sleep(0.1)
                wire.sendall(b"x")
            status, headers, body = parse(read_all(wire))
    assert status == 415
    check_shape(headers, body)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux drops such clients")
def test_a_client_that_takes_nothing_of_its_answer_is_dropped(world, monkeypatch) -> None:
    monkeypatch.setattr(connection_guard, "UNREAD_S", 0.5)
    with running(world.settings()) as port, socket.socket() as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.settimeout(20)
        wire.connect(("127.0.0.1", port))
        wire.sendall(b"GET /try/much HTTP/1.1\r\n" + HOST + b"\r\n")
        time.sleep(2)
        got = len(read_all(wire))
    assert got < MUCH_BYTES


def test_pipelined_requests_are_answered_in_turn(port) -> None:
    one = b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n"
    with connected(port) as wire:
        wire.sendall(one * 20 + one.replace(b"\r\n\r\n", b"\r\n" + END))
        assert read_all(wire).count(b"HTTP/1.1 200 OK") == 21


def test_more_connections_than_allowed_are_turned_away_at_once(world) -> None:
    with running(world.settings(), most_connections=3) as port:
        held = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(3)]
        try:
            time.sleep(0.1)
            status, headers, body = exchange(port, b"")
            assert (status, check_shape(headers, body)) == (503, "connections_exhausted")
            assert headers["retry-after"]
        finally:
            for wire in held:
                wire.close()
        give_up = time.monotonic() + 10
        while exchange(port, b"GET /livez HTTP/1.1\r\n" + HOST + END)[0] != 200:
            assert time.monotonic() < give_up
            time.sleep(0.05)


def test_refusals_are_counted(port) -> None:
    exchange(port, b"hello\r\n\r\n")
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    assert 'crossfix_requests_total{route="unmatched",status="400"}' in text


def test_files_are_left_for_galleries(monkeypatch) -> None:
    for allowed, most in ((1024, 768), (256, 128), (1_000_000, 50_000)):
        monkeypatch.setattr(
            connection_guard.resource, "getrlimit", lambda _, allowed=allowed: (allowed, allowed)
        )
        assert connection_guard.most_by_open_files() == most


@pytest.mark.parametrize(
    ("proxies", "client"),
    [
        ((), "127.0.0.1"),
        (("10.0.0.1",), "127.0.0.1"),
        (("127.0.0.1",), "203.0.113.9"),
        (("127.0.0.0/8", "203.0.113.9"), "198.51.100.7"),
    ],
)
def test_only_trusted_proxies_say_who_the_client_is(world, monkeypatch, proxies, client) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    headers = b"X-Forwarded-For: 198.51.100.7, 203.0.113.9\r\nForwarded: for=192.0.2.1\r\n"
    with running(world.settings(trusted_proxies=proxies)) as port:
        sent = b"GET /try/who HTTP/1.1\r\n" + headers + HOST + END
        assert json.loads(exchange(port, sent)[2]) == client


def test_an_answer_is_sent_in_one_piece(world, monkeypatch) -> None:
    sent: list[bytes] = []

    class Recorder:
        def __init__(self, transport: asyncio.Transport) -> None:
            self._transport = transport

        def __getattr__(self, name: str) -> object:
            return getattr(self._transport, name)

        def write(self, data: bytes) -> None:
            sent.append(data)
            self._transport.write(data)

    begin = GuardedProtocol.connection_made
    monkeypatch.setattr(
        GuardedProtocol, "connection_made", lambda self, wire: begin(self, Recorder(wire))
    )
    with running(world.settings(max_wait_s=30.0)) as port, httpx.Client(timeout=60) as client:
        wait_until_loaded(port)
        sent.clear()
        url, photo = f"http://127.0.0.1:{port}", jpeg(3, 200, 150)
        answers = [
            client.post(f"{url}/localize?view=drone", content=photo),
            client.get(f"{url}/gallery"),
            client.head(f"{url}/gallery"),
        ]
    assert [answer.status_code for answer in answers] == [200] * 3
    heads, bodies = zip(*(piece.split(b"\r\n\r\n", 1) for piece in sent), strict=True)
    assert [head[:15] for head in heads] == [b"HTTP/1.1 200 OK"] * 3
    assert list(bodies) == [answer.content for answer in answers]
