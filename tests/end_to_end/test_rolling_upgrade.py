"""Two real processes behind a real proxy: both are restarted under load, no request fails."""

import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.proxied_service import (
    PROXIES,
    Replica,
    free_ports,
    program,
    running_proxy,
    running_replicas,
    upgrade,
)
from benchmarks.swap_load import Answers, Clients
from tests.service_world import jpeg, make_world

TILES = (3, 5, 9, 14)  # one group of clients asks about each
DRAIN_S = 2.0  # longer than the proxy's checks need: inter 1 s, then 250 ms
BIG_PHOTO = 3_000_000


@pytest.fixture(scope="module")
def replicas(tmp_path_factory) -> Iterator[list[Replica]]:
    """Two processes that serve one gallery."""
    folder = tmp_path_factory.mktemp("replicas")
    world = make_world(folder / "world")
    flags = ["--encoder", world.encoder_path, "--gallery", world.gallery_path, "--device", "cpu"]
    flags += ["--drain-s", DRAIN_S, "--trusted-proxies", "127.0.0.1", "--encode-workers", "1"]
    flags += ["--max-wait-s", "30"]  # a busy test machine is not what is tested
    with running_replicas(flags, ports=free_ports(2), folder=folder) as replicas:
        yield replicas


@pytest.fixture(scope="module")
def proxies(replicas, tmp_path_factory) -> Iterator[dict[str, tuple[str, Path]]]:
    """Of every proxy that is installed: its URL, and where its logs lie."""
    ports = [one.port for one in replicas]
    found = {}
    with ExitStack() as running:
        for name in filter(program, PROXIES):
            folder = tmp_path_factory.mktemp(name)
            url = running.enter_context(running_proxy(name, ports=ports, folder=folder))
            found[name] = (url, folder)
        if not found:
            pytest.skip("neither haproxy nor nginx is installed (Debian packages of these names)")
        yield found


@pytest.fixture(params=PROXIES)
def proxy(request, proxies) -> tuple[str, str, Path]:
    """One proxy's name, its URL and where its logs lie."""
    if request.param not in proxies:
        pytest.skip(f"{request.param} is not installed (Debian package `{request.param}`)")
    return (request.param, *proxies[request.param])


def shows(tile: int) -> Callable[[dict[str, Any]], str]:
    """A check that the answer is about this tile."""

    def check(answer: dict[str, Any]) -> str:
        best = answer["matches"][0]["tile_id"]
        return "" if best == f"made-up/{tile}" else f"{best} instead of {tile}"

    return check


def photo_of(tile: int, *, size_bytes: int = 0) -> bytes:
    """A photo of a tile, made longer by what decoders skip."""
    photo = jpeg(tile, 200, 150)
    return photo + bytes(max(0, size_bytes - len(photo)))


def under_load(
    proxies: dict[str, tuple[str, Path]], work: Callable[[], object], *, size_bytes: int = 0
) -> dict[str, list[Answers]]:
    """What clients of each proxy saw while `work` went on, and a moment before and after."""
    groups = {
        name: [
            Clients(
                url,
                [photo_of(tile, size_bytes=size_bytes)],
                view="drone",
                count=1,
                check=shows(tile),
            )
            for tile in TILES
        ]
        for name, (url, _) in proxies.items()
    }
    with ExitStack() as busy:
        for clients in chain(*groups.values()):
            busy.enter_context(clients)
        time.sleep(0.5)
        work()
        time.sleep(0.5)
    return {name: [clients.take() for clients in group] for name, group in groups.items()}


def complaints(seen: dict[str, list[Answers]]) -> list[tuple[str, str]]:
    return [
        (name, line)
        for name, answers in seen.items()
        for group in answers
        for line in (*group.failed, *group.mixed)
    ]


def test_no_request_fails_while_both_processes_are_replaced(proxies, replicas) -> None:
    starts = [one.starts for one in replicas]
    seen = under_load(proxies, lambda: upgrade(replicas, settle_s=2))
    assert complaints(seen) == []
    assert all(group.by_version["v1"] > 10 for group in chain(*seen.values()))
    assert [one.starts for one in replicas] == [count + 1 for count in starts]


def test_a_killed_process_costs_no_request(proxies, replicas) -> None:
    victim = replicas[1]
    starts = victim.starts

    def kill() -> None:
        victim.kill()  # with requests in it; then its port refuses, then it is not ready
        victim.wait_until_ready(starts=starts + 1)
        time.sleep(1.5)

    assert complaints(under_load(proxies, kill)) == []


@pytest.mark.slow
def test_photos_too_large_for_haproxy_to_hold_survive_nginx_and_are_lost_at_most_once_each(
    proxies, replicas
) -> None:
    def kill() -> None:
        for replica in replicas:
            starts = replica.starts
            replica.kill()
            replica.wait_until_ready(starts=starts + 1)
            time.sleep(1.5)

    seen = complaints(under_load(proxies, kill, size_bytes=BIG_PHOTO))
    assert {name for name, _ in seen} <= {"haproxy"}
    assert len(seen) <= len(TILES) * len(replicas)  # only what the killed processes worked on
    assert all(line.startswith("502 {") or "disconnected" in line for _, line in seen)


def test_photos_larger_than_any_buffer_go_through_and_come_from_both(proxies, replicas) -> None:
    before = [answered(one) for one in replicas]
    assert complaints(under_load(proxies, lambda: None, size_bytes=BIG_PHOTO)) == []
    assert all(answered(one) > count for one, count in zip(replicas, before, strict=True))


def answered(replica: Replica) -> float:
    lines = httpx.get(f"{replica.url}/metrics").text.splitlines()
    return sum(
        float(line.rsplit(" ", 1)[1])
        for line in lines
        if line.startswith('crossfix_requests_total{route="/localize",status="200"}')
    )


@pytest.mark.parametrize("path", ["/metrics", "/%6detrics", "/metrics?x", "/metrics/"])
def test_metrics_stay_inside(proxy, path) -> None:
    _, url, _ = proxy
    answer = httpx.get(f"{url}{path}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert "crossfix_" not in answer.text


def test_ids_and_failures_have_the_service_s_shape(proxy) -> None:
    _, url, _ = proxy
    answer = httpx.get(f"{url}/gallery", headers={"X-Request-Id": "my-own.id"})
    assert answer.headers["x-request-id"] == "my-own.id"
    answer = httpx.get(f"{url}/gallery", headers={"X-Request-Id": 'not "harmless"'})
    assert len(answer.headers["x-request-id"]) >= 32
    answer = httpx.post(f"{url}/localize?view=drone", content=bytes(25_080_001))
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "body_too_large"
    assert answer.json()["error"]["request_id"]
    # One byte less is the service's to judge.
    answer = httpx.post(f"{url}/localize?view=drone", content=photo_of(3, size_bytes=24_900_000))
    assert answer.status_code == 200
    assert shows(3)(answer.json()) == ""


def test_admin_routes_reach_the_service_from_inside_which_asks_for_a_key(proxy) -> None:
    _, url, _ = proxy
    answer = httpx.post(f"{url}/gallery/activate", json={})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
    assert "proxy" in answer.text  # the service's own words: it saw X-Forwarded-For


def test_no_place_is_logged(proxy) -> None:
    name, url, folder = proxy
    prior = {"view": "drone", "lat": "50.0012345", "lon": "8.0012345", "radius_m": "7654.321"}
    answer = httpx.post(f"{url}/localize", params=prior, content=photo_of(3))
    assert answer.status_code == 200
    httpx.get(f"{url}/tiles/made-up/3")
    give_up = time.monotonic() + 5
    log = folder / ("nginx_access.log" if name == "nginx" else "haproxy.log")
    while answer.headers["x-request-id"] not in log.read_text() and time.monotonic() < give_up:
        time.sleep(0.05)
    assert answer.headers["x-request-id"] in log.read_text()
    for file in folder.glob("*.log"):
        assert not {word for word in ("0012345", "7654.3", "made-up/3") if word in file.read_text()}


@pytest.mark.parametrize("name", PROXIES)
def test_without_any_process_the_answer_says_when_to_try_again(name, tmp_path) -> None:
    if program(name) is None:
        pytest.skip(f"{name} is not installed (Debian package `{name}`)")
    with running_proxy(name, ports=free_ports(2), folder=tmp_path) as url:
        answer = httpx.post(f"{url}/localize?view=drone&lat=50.0012345", content=photo_of(3))
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "not_ready"
    assert not [file for file in tmp_path.glob("*.log") if "0012345" in file.read_text()]
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize("name", PROXIES)
def test_tls_and_a_limit_for_all_processes_can_be_switched_on(name, tmp_path) -> None:
    if program(name) is None or shutil.which("openssl") is None:
        pytest.skip(f"{name} or openssl is not installed")
    make_certificate(tmp_path)
    _, secure_port = free_ports(2)
    changes = {
        "#TLS ": "",
        "#RATE ": "",
        "/etc/haproxy/crossfix.pem": f"{tmp_path}/both.pem",
        "/etc/nginx/crossfix.pem": f"{tmp_path}/crossfix.pem",
        "/etc/nginx/crossfix.key": f"{tmp_path}/crossfix.key",
        "bind :443": f"bind 127.0.0.1:{secure_port}",
        "listen 443": f"listen 127.0.0.1:{secure_port}",
    }
    with running_proxy(name, ports=free_ports(2), folder=tmp_path, changes=changes) as url:
        plain = httpx.get(f"{url}/gallery")
        assert (plain.status_code, plain.headers["location"][:8]) == (308, "https://")
        trusting = ssl.create_default_context(cafile=tmp_path / "crossfix.pem")
        trusting.check_hostname = False
        with httpx.Client(verify=trusting, base_url=f"https://127.0.0.1:{secure_port}") as client:
            assert client.get("/gallery").json()["error"]["code"] == "not_ready"
            statuses = [client.post("/localize", content=b"x").status_code for _ in range(125)]
    assert (statuses[0], statuses[-1]) == (503, 429)


def make_certificate(folder: Path) -> None:
    """For this test; `both.pem` holds the key as well, as HAProxy likes it."""
    where = ["-keyout", f"{folder}/crossfix.key", "-out", f"{folder}/crossfix.pem"]
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    subprocess.run(["openssl", *words, *where], check=True, capture_output=True)
    parts = [(folder / name).read_text() for name in ("crossfix.pem", "crossfix.key")]
    (folder / "both.pem").write_text("".join(parts))
