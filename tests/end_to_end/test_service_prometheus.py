"""A real Prometheus with our configuration scrapes a real service and evaluates our rules.

The service is given something of everything, so that every panel of the dashboard has data.
"""

import math
import os
import re
import shlex
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from service.keys import main as keys
from tests.deployed_queries import Query, panel_queries
from tests.real_prometheus import ask, evaluated, prometheus, value, wait_for
from tests.rebuild_world import SMALL, is_over, rebuild_settings
from tests.service_world import World, jpeg, make_world, publish_gallery, serve

RUNBOOK = (Path(__file__).parents[2] / "docs" / "runbook.md").read_text(encoding="utf-8")
FOR_READERS = re.compile(r"^(?:curl .*\$BASE|curl .*\$PROM|promtool query) ?.*$", re.MULTILINE)
# What a healthy service on two cores cannot be brought to within a test, or only after a day.
MAY_BE_EMPTY = {
    "offset 1d": "there was no service the day before",
    "ALERTS": "nothing is wrong for long enough",
    "crossfix_upload_failures_total": "a body that breaks off",
    "crossfix_rejected_total": "photos come faster than they are answered",
}


@pytest.fixture
def world(tmp_path) -> World:
    return make_world(tmp_path / "world")


def for_prometheus(query: Query) -> str:
    """A panel's query as Grafana would send it."""
    text = query.text
    for name, meant in {"$job": "crossfix", "$instance": ".*", "$__rate_interval": "1m"}.items():
        text = text.replace(name, meant)
    return text


def test_prometheus_sees_the_photos_and_evaluates_every_rule(world, tmp_path) -> None:
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
        assert value(client, 'up{job="crossfix"}') == 1
    log = (tmp_path / "prometheus" / "log").read_text(encoding="utf-8")
    assert "level=error" not in log, log


def test_every_panel_has_data_and_every_look_of_the_runbook_works(world, tmp_path, capsys) -> None:
    settings = guarded(world, tmp_path, capsys)
    with (
        serve(settings) as base,
        prometheus(tmp_path / "prometheus", base) as client,
    ):
        key = (tmp_path / "admin").read_text().strip()
        with httpx.Client(base_url=base, headers={"Authorization": f"Bearer {key}"}) as caller:
            wait_for(lambda: value(client, "crossfix_ready"), lambda found: found == 1)
            for name in ("w1", "w2"):  # twice: a rate wants a rise
                something_of_everything(caller, world, name)
                time.sleep(2.5)  # Prometheus looks once a second
            order = caller.post("/gallery/rebuild", json=SMALL)
            assert order.status_code == 202, order.text
            wait_for(lambda: caller.get(order.headers["location"]).json(), is_over)
            wait_for(lambda: without_data(client), lambda empty: empty == [])
            follow_the_runbook(client, base, key)
            assert value(client, "sum(crossfix_photo_formats_total)") >= 8


def guarded(world: World, folder: Path, capsys) -> object:
    """Settings with a key, a limit on photos, kept photos and rebuilds."""
    words = ["create", "--file", str(folder / "keys.json"), "--name", "t", "--scope", "admin"]
    assert keys(words) == 0
    (folder / "admin").write_text(capsys.readouterr().out)
    (folder / "kept").mkdir(mode=0o700)
    return rebuild_settings(
        world, folder, keys=folder / "keys.json", keep_images=folder / "kept",
        rate_per_minute=1000.0, rate_burst=100, queue_limit=1,
    )  # fmt: skip


def something_of_everything(caller: httpx.Client, world: World, name: str) -> None:
    """Photos of all sorts, failures, a swap."""
    bounds = caller.get("/gallery").json()["bounds"]
    prior = {"lat": bounds["south"], "lon": bounds["west"], "radius_m": 5000.0}
    for view in ("drone", "ground"):
        for more in ({}, {}, prior):
            answer = caller.post("/localize", params={"view": view, **more}, content=jpeg(1))
            assert answer.status_code == 200, answer.text
    assert caller.post("/localize", content=b"no image").status_code == 415
    without_key = {"Authorization": ""}
    assert caller.post("/localize", content=jpeg(1), headers=without_key).status_code == 401
    with ThreadPoolExecutor(24) as many:
        burst = many.map(lambda _: caller.post("/localize", content=jpeg(1)), range(48))
        assert {answer.status_code for answer in burst} <= {200, 429, 503}
    publish_gallery(world.gallery_path, world.encoder, name)
    wait_for(lambda: caller.get("/gallery").json()["version"], lambda found: found == name)


def without_data(client: httpx.Client) -> list[str]:
    """Panels' queries that answer no number; each line has the labels that its legend names."""
    empty = []
    for query in panel_queries():
        found = ask(client, "/query", query=for_prometheus(query))["result"]
        for row in found:
            missing = {label for label in query.told if not row["metric"].get(label)}
            assert not missing, (query.title, row["metric"])
        numbers = [row for row in found if not math.isnan(float(row["value"][1]))]
        if not numbers and not any(name in query.text for name in MAY_BE_EMPTY):
            empty.append(f"{query.title}: {query.text}")
    return empty


def follow_the_runbook(client: httpx.Client, base: str, key: str) -> None:
    """Runs what an operator is told to look at; queries without a program for each."""
    environment = {
        "PATH": os.environ["PATH"], "BASE": base,
        "PROM": str(client.base_url).removesuffix("/api/v1/"),
    }  # fmt: skip
    lines = list(dict.fromkeys(FOR_READERS.findall(RUNBOOK)))
    assert len(lines) > 40
    promtool_was_tried = False
    for line in lines:
        if line.startswith("promtool query instant") and promtool_was_tried:
            ask(client, "/query", query=shlex.split(line)[4])
            continue
        promtool_was_tried |= line.startswith("promtool query instant")
        allowed = line.replace("curl ", f"curl -H 'Authorization: Bearer {key}' ", 1)
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", allowed],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (line, done.stderr)
        assert '{"error":' not in done.stdout, (line, done.stdout)


def send(base: str, photos: int) -> None:
    for seed in range(photos):
        answer = httpx.post(f"{base}/localize?view=drone", content=jpeg(seed))
        assert answer.status_code == 200
