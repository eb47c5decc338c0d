"""A real Prometheus with deploy/'s rules that scrapes a real service, for tests that need one."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.deployed_queries import DEPLOY

PATIENCE_S = 40.0


@contextmanager
def prometheus(folder: Path, service: str) -> Iterator[httpx.Client]:
    """Prometheus on our rules, its target replaced and its pace quickened; its HTTP API."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed (Debian package `prometheus`)")
    text = (DEPLOY / "prometheus.yml").read_text(encoding="utf-8")
    assert text.count("127.0.0.1:8000") == 1
    text = text.replace("127.0.0.1:8000", service.removeprefix("http://")).replace("15s", "1s")
    folder.mkdir(exist_ok=True)
    (folder / "prometheus.yml").write_text(text, encoding="utf-8")
    shutil.copy(DEPLOY / "alerts.yml", folder)
    port = _free_port()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1") as client:
                yield client
        finally:
            process.terminate()
            process.wait(timeout=30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(client: httpx.Client, path: str, **parameters: str) -> Any:
    """The data of an answer of Prometheus; an error fails the test."""
    answer = client.get(path, params=parameters).json()
    assert answer["status"] == "success", answer
    return answer["data"]


def wait_for(look: Callable[[], Any], wanted: Callable[[Any], bool]) -> Any:
    """Looks until it sees what is wanted."""
    give_up, found = time.monotonic() + PATIENCE_S, None
    while time.monotonic() < give_up:
        try:
            found = look()
        except (httpx.TransportError, json.JSONDecodeError):  # it says 503 in plain words
            found = "Prometheus does not answer yet"
        else:
            if wanted(found):
                return found
        time.sleep(0.1)
    raise AssertionError(f"not seen in {PATIENCE_S:g} s; last: {found}")


def value(client: httpx.Client, query: str) -> float | None:
    """A query's one value; None before there is one."""
    result = ask(client, "/query", query=query)["result"]
    return float(result[0]["value"][1]) if result else None


def evaluated(client: httpx.Client) -> list[dict]:
    """Every rule, with how its last evaluation went."""
    groups = ask(client, "/rules")["groups"]
    return [rule for group in groups for rule in group["rules"]]
