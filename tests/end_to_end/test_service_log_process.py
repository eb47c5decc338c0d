"""What the real process tells the world: its log of hostile requests, no telemetry unasked."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.otlp_receiver import receive
from tests.service_world import World, jpeg, make_world, wait_until_ready

ROOT = Path(__file__).parents[2]
PRIOR = {"view": "drone", "lat": 50.0012345, "lon": 8.0012345, "radius_m": 7654.321}
SECRETS = ("0012345", "7654.321", "radius_m", "holiday", "swordfish", "JFIF", "made-up/3")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


@contextmanager
def process(world: World, stdout: int, **variables: str) -> Iterator[tuple[str, subprocess.Popen]]:
    """The service, ready; its base URL and process."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("CROSSFIX_")
    }
    port = free_port()
    running = subprocess.Popen(
        [
            *(sys.executable, "-m", "service", "--device", "cpu", "--port", str(port)),
            *("--encoder", str(world.encoder_path), "--gallery", str(world.gallery_path)),
            *("--drain-s", "0"),
        ],
        cwd=ROOT,
        env=environment | variables,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until_listening(port)
        wait_until_ready(f"http://127.0.0.1:{port}", patience_s=60)
        yield f"http://127.0.0.1:{port}", running
    finally:
        running.kill()
        running.wait()
        for pipe in (running.stdout, running.stderr):
            if pipe is not None:
                pipe.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_listening(port: int) -> None:
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        try:
            httpx.get(f"http://127.0.0.1:{port}/livez")
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the service did not start")


def ask_in_many_ways(base: str) -> dict[str, int]:
    """Good and hostile requests; statuses by request id."""
    photo = {"image": ("holiday\n{}.jpg", jpeg(1), "image/jpeg")}
    junk = {"image": ("holiday.jpg", b"swordfish", "image/jpeg")}
    wrong = {**PRIOR, "lat": "50.0012345N"}
    asked = [
        ("POST", "/localize", {"content": jpeg(1), "params": PRIOR}),
        ("POST", "/localize", {"files": photo, "params": PRIOR}),
        ("POST", "/localize", {"files": junk, "params": PRIOR}),
        ("POST", "/localize", {"content": jpeg(1)[:300], "params": PRIOR}),
        ("POST", "/localize", {"content": jpeg(1), "params": wrong}),
        ("POST", "/localize", {"content": jpeg(1), "params": {**PRIOR, "lat": 10.0012345}}),
        ("POST", "/localize", {"content": b"--swordfish\r\n", "headers": {
            "content-type": "multipart/form-data; boundary=swordfish"}}),
        ("GET", "/tiles/made-up/3", {}),
        ("GET", "/swordfish?lat=50.0012345", {}),
        ("PROPFIND", "/holiday", {}),
        ("GET", "/gallery", {"headers": {"x-api-key": "swordfish", "user-agent": "holiday"}}),
    ]  # fmt: skip
    answers = [httpx.request(method, base + path, **more) for method, path, more in asked]
    return {answer.headers["x-request-id"]: answer.status_code for answer in answers}


def test_one_line_per_request_and_none_tells_places_photos_names_or_keys(world) -> None:
    with process(world, subprocess.PIPE) as (base, running):
        statuses = ask_in_many_ways(base)
        running.send_signal(signal.SIGTERM)
        log, complaint = running.communicate(timeout=60)
    assert (running.returncode, complaint) == (0, "")
    for secret in SECRETS:
        assert secret not in log, secret
    lines = [json.loads(line) for line in log.splitlines()]
    requests = [line for line in lines if line["event"] == "request"]
    told = {line["request_id"]: line["status"] for line in requests if line["route"] != "/readyz"}
    assert statuses.items() <= told.items()
    assert all(line["method"].isupper() or line["method"] == "other" for line in requests)
    assert not [line for line in lines if "trace" in line]
    first = next(line for line in requests if line["route"] == "/localize")
    assert {"bytes", "stage_ms", "gallery_version", "duration_ms"} <= set(first)
    assert {"listening", "snapshot_live", "stopped"} <= {line["event"] for line in lines}


def test_a_stdout_that_nobody_reads_stops_no_request(world) -> None:
    reading, writing = os.pipe()
    try:
        with process(world, writing) as (base, running), httpx.Client(base_url=base) as client:
            for _ in range(800):  # their lines are more than a pipe holds
                assert client.get("/nowhere").status_code == 404
            assert client.post("/localize?view=drone", content=jpeg(1)).status_code == 200
            running.send_signal(signal.SIGTERM)
            assert running.wait(timeout=60) == 0
    finally:
        os.close(reading)
        os.close(writing)


def test_a_stdout_whose_reader_has_gone_stops_no_request_and_is_counted(world) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        with process(world, writing) as (base, running):
            assert httpx.post(f"{base}/localize", content=jpeg(1)).status_code == 200
            metrics = httpx.get(f"{base}/metrics").text
            lost = next(line for line in metrics.splitlines() if line.startswith(
                "crossfix_log_lines_lost_total"))  # fmt: skip
            assert float(lost.split()[1]) > 0
            running.send_signal(signal.SIGTERM)
            assert running.wait(timeout=60) == 0
    finally:
        os.close(writing)


def test_no_variable_of_the_environment_sends_queries_or_addresses_to_a_collector(world) -> None:
    """FastAPI has telemetry of its own, which would tell both."""
    with receive() as collector:
        variables = {
            "FASTAPI_OTEL_AUTO_CONFIGURE": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url.removesuffix("/v1/traces"),
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_LOGS_EXPORTER": "otlp",
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        with process(world, subprocess.DEVNULL, **variables) as (base, running):
            assert httpx.post(f"{base}/localize", content=jpeg(1), params=PRIOR).status_code == 200
            running.send_signal(signal.SIGTERM)
            assert running.wait(timeout=60) == 0
    assert not collector.asked.is_set()
    assert collector.spans == []
