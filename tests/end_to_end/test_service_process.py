"""`python -m service` as operators see it: exit codes, one line, a clean drain, its log."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.service_world import World, jpeg, make_world, wait_until_ready
from tests.tiny_encoder import write_tiny_encoder

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


def start(*flags: object) -> subprocess.Popen:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("CROSSFIX_")
    }
    return subprocess.Popen(
        [sys.executable, "-m", "service", *map(str, flags)],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def refuse(*flags: object) -> tuple[int, list[str]]:
    process = start(*flags)
    log, complaint = process.communicate(timeout=60)
    if process.returncode == 1:  # the log, whose format is promised, says the same
        told = json.loads(log.splitlines()[-1])
        assert (told["event"], told["level"]) == ("start_failed", "error")
        assert f"python -m service: {told['reason']}" == complaint.strip()
    return process.returncode, complaint.splitlines()


@pytest.mark.parametrize("case", ["no encoder", "no gallery", "mismatch", "corrupt"])
def test_what_cannot_be_served_is_one_line_and_exit_1(world, tmp_path, case) -> None:
    encoder, gallery, word = world.encoder_path, world.gallery_path, ""
    if case == "no encoder":
        encoder, word = tmp_path / "nowhere", "there is no encoder"
    if case == "no gallery":
        gallery, word = tmp_path / "nowhere", "there is no gallery"
    if case == "mismatch":
        encoder, word = (
            write_tiny_encoder(tmp_path / "e" / "encoder", seed=3, name="tiny-3"),
            "tiny-3",
        )
    if case == "corrupt":
        encoder, word = (
            write_tiny_encoder(tmp_path / "e" / "encoder", seed=3, name="tiny-3"),
            "checksum",
        )
        model = bytearray((encoder / "aerial.onnx").read_bytes())
        model[500] ^= 1
        (encoder / "aerial.onnx").write_bytes(model)
    code, lines = refuse(
        "--encoder", encoder, "--gallery", gallery, "--port", free_port(), "--device", "cpu"
    )
    assert code == 1
    assert len(lines) == 1, lines
    assert word in lines[0]


def test_a_port_in_use_is_exit_1(world) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, lines = refuse(
            "--encoder",
            world.encoder_path,
            "--gallery",
            world.gallery_path,
            "--port",
            taken.getsockname()[1],
            "--device",
            "cpu",
        )
    assert code == 1
    assert len(lines) == 1
    assert "cannot listen" in lines[0]


def test_sigterm_says_not_ready_first_keeps_answering_then_stops_with_0(world) -> None:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    process = start(
        "--encoder",
        world.encoder_path,
        "--gallery",
        world.gallery_path,
        "--port",
        port,
        "--device",
        "cpu",
        "--drain-s",
        "3",
    )
    try:
        wait_until_started(base)
        wait_until_ready(base, patience_s=60)
        prior = {"view": "drone", "lat": 50.0012345, "lon": 8.0012345, "radius_m": 7654.321}
        assert httpx.post(f"{base}/localize", content=jpeg(1), params=prior).status_code == 200
        process.send_signal(signal.SIGTERM)
        give_up = time.monotonic() + 2
        while httpx.get(f"{base}/readyz").status_code == 200:
            assert time.monotonic() < give_up
        assert httpx.get(f"{base}/livez").status_code == 200
        assert httpx.post(f"{base}/localize?view=drone", content=jpeg(1)).status_code == 200
        log, complaint = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, complaint) == (0, "")
    check_log(log)


def test_clients_that_keep_their_connections_are_gone_before_the_end(world) -> None:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    where = ("--encoder", world.encoder_path, "--gallery", world.gallery_path, "--port", port)
    process = start(*where, "--device", "cpu", "--drain-s", "2")
    try:
        wait_until_started(base)
        wait_until_ready(base, patience_s=60)
        with ThreadPoolExecutor(8) as pool:
            clients = [pool.submit(post_until_told_to_go, base) for _ in range(8)]
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            statuses = [client.result(timeout=30) for client in clients]
        _, complaint = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, complaint) == (0, "")
    assert all(set(seen) <= {200, 503} and 200 in seen for seen in statuses)


def post_until_told_to_go(base: str) -> list[int]:
    """Statuses until an answer says `Connection: close`; a reset is an error."""
    seen = []
    with httpx.Client(base_url=base, timeout=20) as client:
        while True:
            answer = client.post("/localize?view=drone", content=jpeg(1))
            seen.append(answer.status_code)
            if answer.headers.get("connection") == "close":
                return seen


def wait_until_started(base: str) -> None:
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        try:
            httpx.get(f"{base}/livez")
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the service did not start")


def check_log(log: str) -> None:
    """One JSON object per line; photos with their stages; no coordinates, no query string."""
    lines = [json.loads(line) for line in log.splitlines()]
    photo = next(line for line in lines if line.get("route") == "/localize")
    assert {"request_id", "status", "duration_ms", "stage_ms", "gallery_version"} <= set(photo)
    for secret in ("0012345", "7654.321", "radius_m"):
        assert secret not in json.dumps([line for line in lines if line["event"] == "request"]), (
            secret
        )
