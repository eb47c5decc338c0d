"""The real process in an operator's hands: refused starts, SIGHUP, changing keys, drain."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from service.guard.key_file import KeyFile, make_key, write_keys
from tests.service_world import World, jpeg, make_world, publish_gallery, serve, wait_until_ready

ROOT = Path(__file__).parents[2]


@pytest.fixture
def world(tmp_path) -> World:
    return make_world(tmp_path)


def start(world: World, *flags: object) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CROSSFIX_")}
    needed = ("--encoder", world.encoder_path, "--gallery", world.gallery_path, "--device", "cpu")
    return subprocess.Popen(
        [sys.executable, "-m", "service", *map(str, (*needed, *flags))],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@contextmanager
def running(world: World, *flags: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and its address, once it is ready; killed at the end if it still runs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = start(world, "--port", port, *flags)
    base = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: answers(base))
        wait_until_ready(base, patience_s=60)
        yield process, base
    finally:
        process.kill()
        process.communicate()


def answers(base: str) -> bool:
    try:
        return httpx.get(f"{base}/livez").status_code == 200
    except httpx.TransportError:
        return False


def wait_for(happens: Callable[[], bool], patience_s: float = 60) -> None:
    give_up = time.monotonic() + patience_s
    while not happens():
        assert time.monotonic() < give_up
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (("--host", "0.0.0.0", "--rebuild-roots", "/srv"), 2, "rebuild_roots"),
        (("--keys", "/nowhere/keys.json"), 1, "keys file"),
    ],
)
def test_unsafe_starts_are_one_line(world, flags, code, words) -> None:
    process = start(world, "--port", 0, *flags)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == code
    assert len(complaint.splitlines()) == 1, complaint
    assert words in complaint
    assert "Traceback" not in complaint


def test_sighup_reloads_at_once_and_keys_come_and_go(world, tmp_path) -> None:
    path = tmp_path / "keys.json"
    (one, first), (two, second) = make_key("one", "localize"), make_key("two", "localize")
    write_keys(path, KeyFile(keys=(first,)))
    with running(world, "--keys", path, "--reload-interval-s", 3600) as (process, base):

        def status(key: str) -> int:
            return httpx.get(f"{base}/gallery", headers={"X-Api-Key": key}).status_code

        assert (status(one), status(two)) == (200, 401)
        publish_gallery(world.gallery_path, world.encoder, "v2")
        write_keys(path, KeyFile(keys=(second,)))
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: status(two) == 200)
        assert status(one) == 401
        wait_for(lambda: httpx.get(f"{base}/readyz").json()["gallery_version"] == "v2")
        path.write_text("{")
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        log, complaint = process.communicate(timeout=60)
    assert (process.returncode, complaint) == (0, "")
    assert one not in log
    assert two not in log
    events = [json.loads(line)["event"] for line in log.splitlines()]
    assert "keys_read" in events
    assert "keys_refused" in events


def test_a_photo_that_is_being_sent_when_the_service_stops_is_still_answered(world) -> None:
    with running(world, "--drain-s", 0) as (process, base):
        photo, port = jpeg(5), int(base.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port), timeout=30) as wire:
            head = f"POST /localize?view=drone HTTP/1.1\r\nHost: x\r\nContent-Length: {len(photo)}"
            wire.sendall(f"{head}\r\n\r\n".encode() + photo[:100])
            wait_for(lambda: "crossfix_in_flight_requests 2.0" in metrics(base))
            process.send_signal(signal.SIGTERM)
            wait_for(lambda: not answers(base))
            wire.sendall(photo[100:])
            answer = read_all(wire)
        _, complaint = process.communicate(timeout=60)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b'"made-up/5"' in answer
    assert (process.returncode, complaint) == (0, "")


def read_all(wire: socket.socket) -> bytes:
    """Until the server closes."""
    answer = b""
    while piece := wire.recv(65_536):
        answer += piece
    return answer


def metrics(base: str) -> str:
    return httpx.get(f"{base}/metrics").text


def test_a_photo_that_never_comes_does_not_keep_the_service_from_stopping(world) -> None:
    flags = ("--drain-s", 0, "--deadline-s", 1, "--shutdown-s", 1)
    with running(world, *flags) as (process, base):
        port = int(base.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port), timeout=30) as wire:
            wire.sendall(b"POST /localize HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx")
            wait_for(lambda: "crossfix_in_flight_requests 2.0" in metrics(base))
            process.send_signal(signal.SIGTERM)
            answer = read_all(wire)
        _, complaint = process.communicate(timeout=60)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"code":"not_ready"' in answer
    assert process.returncode == 0
    assert "Traceback" not in complaint


def test_a_photo_is_kept_where_that_is_asked_for(world, tmp_path) -> None:
    folder = tmp_path / "kept"
    with serve(world.settings(keep_images=folder)) as base:
        answer = httpx.post(f"{base}/localize?view=drone", content=jpeg(3))
        assert answer.status_code == 200
    assert sorted(path.suffix for path in folder.iterdir()) == [".jpg", ".json"]
