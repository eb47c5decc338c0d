"""A real Prometheus with our configuration scrapes a real service and evaluates our rules."""

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

from tests.service_world import jpeg, make_world, serve

DEPLOY = Path(__file__).parents[2] / "deploy"
PATIENCE_S = 40.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def prometheus(folder: Path, service: str) -> Iterator[httpx.Client]:
    """Prometheus on our rules, its target replaced and its pace quickened; its HTTP API."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed (Debian package `prometheus`)")
    text = (DEPLOY / "prometheus.yml").read_text(encoding="utf-8")
    assert text.count("127.0.0.1:8000") == 1
    text = text.replace("127.0.0.1:8000", service.removeprefix("http://")).replace("15s", "1s")
    (folder / "prometheus.yml").write_text(text, encoding="utf-8")
    shutil.copy(DEPLOY / "alerts.yml", folder)
    port = free_port()
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


def ask(client: httpx.Client, path: str, **parameters: str) -> Any:
    answer = client.get(path, params=parameters).json()
    assert answer["status"] == "success", answer
    return answer["data"]


def wait_for(look: Callable[[], Any], wanted: Callable[[Any], bool]) -> Any:
    give_up, found = time.monotonic() + PATIENCE_S, None
    while time.monotonic() < give_up:
        try:
            found = look()
        except httpx.TransportError:
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
    groups = ask(client, "/rules")["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard_queries() -> list[str]:
    dashboard = json.loads((DEPLOY / "grafana" / "crossfix.json").read_text(encoding="utf-8"))
    queries = [
        target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])
    ] + [one["expr"] for one in dashboard["annotations"]["list"]]
    changes = {"$job": "crossfix", "$instance": ".*", "$__rate_interval": "1m"}
    for old, new in changes.items():
        queries = [query.replace(old, new) for query in queries]
    return queries


def test_prometheus_sees_the_photos_and_evaluates_every_rule_and_panel(tmp_path) -> None:
    world = make_world(tmp_path / "world")
    (tmp_path / "prometheus").mkdir()
    answered = 'crossfix_requests_total{route="/localize",status="200"}'
    with (
        serve(world.settings()) as base,
        prometheus(tmp_path / "prometheus", base) as client,
    ):
        send(base, 3)
        wait_for(lambda: value(client, answered), lambda found: found == 3)
        send(base, 2)
        wait_for(lambda: value(client, answered), lambda found: found == 5)
        assert value(client, 'sum(crossfix_answer_seconds_count{view="drone"})') == 5
        (target,) = ask(client, "/targets")["activeTargets"]
        assert (target["health"], target["lastError"]) == ("up", "")
        rules = wait_for(
            lambda: evaluated(client),
            lambda found: found and all(rule["health"] != "unknown" for rule in found),
        )
        assert {rule["name"]: rule["lastError"] for rule in rules if rule.get("lastError")} == {}
        assert {rule["health"] for rule in rules} == {"ok"}
        share = 'crossfix:photos_refused:ratio1h{view="drone"} >= 0'
        wait_for(lambda: value(client, share), lambda found: found is not None)
        for query in dashboard_queries():
            ask(client, "/query", query=query)
        assert value(client, 'up{job="crossfix"}') == 1
    log = (tmp_path / "prometheus" / "log").read_text(encoding="utf-8")
    assert "level=error" not in log, log


def send(base: str, photos: int) -> None:
    for seed in range(photos):
        answer = httpx.post(f"{base}/localize?view=drone", content=jpeg(seed))
        assert answer.status_code == 200
