"""Rebuilding the gallery over HTTP: a real service, a real builder, a version swap."""

import json
import os
import signal
import time

import httpx
import pytest

from crossfix.gallery import current_version
from tests.rebuild_world import (
    LARGE,
    SMALL,
    ask,
    builder_pids,
    is_half_done,
    metric,
    order,
    rebuild_settings,
    wait_for,
    wait_until_over,
)
from tests.service_world import jpeg, make_world, serve
from tests.tiny_encoder import write_geotiff


@pytest.fixture
def world(tmp_path):
    return make_world(tmp_path)


@pytest.fixture
def settings(world, tmp_path):
    return rebuild_settings(world, tmp_path)


def version_of(base):
    return httpx.get(f"{base}/gallery").json()["version"]


def test_a_rebuild_an_update_and_an_update_of_nothing(settings):
    with serve(settings) as base:
        assert version_of(base) == "v1"
        address = order(base, {**SMALL, "sources": [
            {"location": "town.tif", "attribution": "City", "licence": "CC0-1.0", "date": "2024"}
        ]})  # fmt: skip
        assert metric(base, "crossfix_job_running") == 1
        job = wait_until_over(address)
        assert (job["state"], job["error"], job["published"]) == ("succeeded", None, True), job
        assert job["progress"]["done"] == job["progress"]["total"] > 0
        assert job["progress"]["share"] == 1.0
        assert job["started"] < job["ended"]
        assert job["request"]["sources"][0]["attribution"] == "City"
        told = httpx.get(f"{base}/gallery").json()
        assert told["version"] == job["version"] == current_version(settings.gallery)
        assert told["sources"][0]["attribution"] == "City"
        answer = httpx.post(f"{base}/localize", params={"view": "drone"}, content=jpeg(1))
        assert answer.json()["gallery"]["version"] == job["version"]
        assert (settings.jobs_folder / f"{job['id']}.json").is_file()

        write_geotiff(settings.rebuild_roots[0] / "more" / "b.tif", centre=(-97.74, 30.28), seed=4)
        update = {"add": [{"location": "more/b.tif", "name": "b"}], "remove": ["town"]}
        second = wait_until_over(order(base, {"update": update}))
        assert second["state"] == "succeeded", second
        assert second["version"] != job["version"]
        assert [one["name"] for one in httpx.get(f"{base}/gallery").json()["sources"]] == ["b"]

        third = wait_until_over(order(base, {"update": {"reread": True}}))
        assert (third["state"], third["published"]) == ("succeeded", False), third
        assert third["version"] == second["version"] == version_of(base)
        listed = httpx.get(f"{base}/gallery/jobs").json()["jobs"]
        assert [one["id"] for one in listed] == [third["id"], second["id"], job["id"]]
        assert metric(base, 'crossfix_jobs_total{state="succeeded"}') == 3
        assert metric(base, "crossfix_job_running") == 0
    with serve(settings) as base:
        assert httpx.get(f"{base}/gallery/jobs").json()["jobs"] == listed, "records survive"


def test_a_recipe_is_trusted_and_may_name_imagery_anywhere(tmp_path, world):
    write_geotiff(tmp_path / "elsewhere" / "c.tif")
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    text = "sources: [{location: ../elsewhere/c.tif}]\ntile_sizes_m: [40]\n"
    (recipes / "city.yaml").write_text(text)
    (tmp_path / "secret.yaml").write_text(text)
    (recipes / "link.yaml").symlink_to(tmp_path / "secret.yaml")
    with serve(world.settings(rebuild_recipes=recipes)) as base:
        for name in ("none.yaml", "../secret.yaml", "link.yaml", "/etc/passwd", "city"):
            assert ask(base, {"recipe": name}).status_code == 422, name
        refused = ask(base, SMALL)
        assert refused.status_code == 403
        assert "rebuild_roots" in refused.json()["error"]["message"]
        job = wait_until_over(order(base, {"recipe": "city.yaml"}))
        assert job["state"] == "succeeded", job


def test_imagery_that_cannot_be_read_is_a_clean_error(settings):
    root = settings.rebuild_roots[0]
    (root / "bad.tif").write_text("no raster at all")
    (root / "names.txt").write_text("town.tif\n../../etc/passwd\n")
    with serve(settings) as base:
        for location in ("bad.tif", "names.txt"):
            job = wait_until_over(order(base, {**SMALL, "sources": [{"location": location}]}))
            assert job["state"] == "failed"
            assert job["error"]["code"] == "source_error", job
            assert location == "names.txt" or location in job["error"]["message"]
            said = json.dumps(job)
            assert str(root.parent) not in said
            assert "Traceback" not in said
        assert version_of(base) == "v1"
        assert metric(base, 'crossfix_jobs_total{state="failed"}') == 2


def test_one_at_a_time_and_a_cancelled_job_is_resumed(settings):
    with serve(settings) as base:
        address = order(base, LARGE)
        second = ask(base, SMALL)
        assert second.status_code == 409
        assert second.json()["error"]["code"] == "job_running"
        wait_for(address, is_half_done(settings.gallery))
        assert httpx.get(f"{base}/readyz").status_code == 200
        assert httpx.delete(address).status_code == 202
        job = wait_until_over(address)
        assert (job["state"], job["version"], job["error"]) == ("cancelled", None, None), job
        assert builder_pids(settings.gallery) == []
        over = httpx.delete(address)
        assert (over.status_code, over.json()["error"]["code"]) == (409, "job_over")
        assert version_of(base) == "v1"
        again = order(base, LARGE)
        resumed = wait_for(again, lambda job: job["progress"]["done"] > 0)
        assert resumed["progress"]["resumed"] > 0, resumed
        httpx.delete(again)
        assert wait_until_over(again)["state"] == "cancelled"


def test_another_builder_at_work_is_a_failed_job(settings):
    import fcntl

    with serve(settings) as base, (settings.gallery / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        job = wait_until_over(order(base, SMALL))
    assert job["state"] == "failed"
    assert str(settings.gallery) not in json.dumps(job)


def test_a_builder_that_is_killed_is_a_failed_job_and_the_next_goes_on(settings):
    with serve(settings) as base:
        address = order(base, LARGE)
        wait_for(address, is_half_done(settings.gallery))
        (pid,) = builder_pids(settings.gallery)
        os.kill(pid, signal.SIGKILL)
        job = wait_until_over(address)
        assert job["state"] == "failed"
        assert job["error"]["code"] == "builder_killed"
        assert "SIGKILL" in job["error"]["message"]
        again = order(base, LARGE)
        assert wait_for(again, lambda job: job["progress"]["done"])["progress"]["resumed"] > 0
        httpx.delete(again)
        wait_until_over(again)


def test_the_builder_gets_no_secrets_and_yields_to_the_service(settings, monkeypatch):
    monkeypatch.setenv("CROSSFIX_ANYTHING", "secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("HTTPS_PROXY", "http://user:secret@proxy")
    with serve(settings) as base:
        address = order(base, LARGE)
        wait_for(address, is_half_done(settings.gallery))
        (pid,) = builder_pids(settings.gallery)
        with open(f"/proc/{pid}/environ", "rb") as handle:
            environment = handle.read()
        assert b"secret" not in environment
        assert b"CROSSFIX_" not in environment
        assert os.getpriority(os.PRIO_PROCESS, pid) >= 10
        assert os.getpgid(pid) == pid
        httpx.delete(address)
        wait_until_over(address)


def test_a_service_that_stops_stops_its_builder(settings):
    with serve(settings) as base:
        address = order(base, LARGE)
        wait_for(address, is_half_done(settings.gallery))
        job_id = address.rpartition("/")[2]
    assert builder_pids(settings.gallery) == []
    record = json.loads((settings.jobs_folder / f"{job_id}.json").read_text())
    assert record["state"] == "interrupted"
    assert record["error"]["code"] == "service_stopped"


def test_photos_are_answered_while_a_job_runs(settings):
    with serve(settings) as base:
        address = order(base, LARGE)
        answers = []
        while len(answers) < 20 or not httpx.get(address).json()["progress"]["done"]:
            answers.append(
                httpx.post(f"{base}/localize", params={"view": "drone"}, content=jpeg(1))
            )
            time.sleep(0.02)
        assert {answer.status_code for answer in answers} == {200}
        httpx.delete(address)
        wait_until_over(address)
