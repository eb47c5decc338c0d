"""What a rebuild may be asked for, its command line and what a job makes of the builder's words."""

import json
import os
import signal
import sys
import time
from itertools import pairwise

import pytest

from crossfix.errors import InvalidParameter
from service.errors import Forbidden, MalformedBody
from service.rebuild.commands import builder_command, builder_environment, make_plan
from service.rebuild.orders import RebuildOrder, inline_schema
from service.rebuild.records import Job, JobRecords
from service.rebuild.telling import apply_event, explain_end, not_started
from service.rebuild.wording import PathScrubber
from service.routes.jobs import parse_order
from service.settings import Settings

AREA = {"type": "Polygon", "coordinates": [[[8, 47], [9, 47], [9, 48], [8, 47]]]}
WRONG = {
    "nothing": {},
    "two forms": {"recipe": "a.yaml", "update": {}},
    "unknown key": {"recipe": "a.yaml", "force": True},
    "no source": {"sources": []},
    "unknown key of a source": {"sources": [{"location": "a.tif", "cache": "/tmp/x"}]},
    "web by kind": {"sources": [{"location": "a.tif", "kind": "web"}]},
    "tile of no size": {"sources": [{"location": "a.tif"}], "tile_sizes_m": [0]},
    "infinite tile": {"sources": [{"location": "a.tif"}], "tile_sizes_m": ["inf"]},
    "overlap of one": {"sources": [{"location": "a.tif"}], "overlap": 1},
    "area of a point": {"sources": [{"location": "a.tif"}], "area": {"type": "Point"}},
    "area of a file": {"sources": [{"location": "a.tif"}], "area": "/etc/passwd"},
    "area with a recipe": {"recipe": "a.yaml", "area": AREA},
    "retired file": {"update": {"retire": ["/etc/passwd"]}},
    "recipe with a path": {"recipe": "../a.yaml"},
    "absolute recipe": {"recipe": "/etc/a.yaml"},
    "recipe of another ending": {"recipe": "passwd"},
    "hidden recipe": {"recipe": ".a.yaml"},
    "too many sources": {"sources": [{"location": "a"}] * 101},
}


@pytest.mark.parametrize("name", WRONG)
def test_impossible_orders_are_refused(name):
    with pytest.raises(InvalidParameter) as refused:
        parse_order(json.dumps(WRONG[name]).encode())
    assert refused.value.hint
    assert "pydantic" not in str(refused.value)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_is_refused(body):
    with pytest.raises((MalformedBody, InvalidParameter)):
        parse_order(body)


def test_the_schema_needs_no_references():
    schema = json.dumps(inline_schema(RebuildOrder))
    assert "$ref" not in schema
    assert "$defs" not in schema
    assert "attribution" in schema


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "imagery").mkdir()
    (tmp_path / "imagery" / "a.tif").write_bytes(b"x")
    return Settings(
        encoder=tmp_path / "encoder",
        gallery=tmp_path / "gallery",
        rebuild_roots=(tmp_path / "imagery",),
        rebuild_threads=2,
        rebuild_keep=5,
        device="cpu",
    )


def test_sources_become_a_recipe_within_the_roots(settings, tmp_path):
    order = RebuildOrder(sources=[{"location": "a.tif", "licence": "CC0"}], tile_sizes_m=[40])
    plan = make_plan(order, settings)
    assert plan.content == {
        "sources": [{"location": str(tmp_path / "imagery" / "a.tif"), "licence": "CC0"}],
        "tile_sizes_m": [40.0],
        "overlap": 0.5,
    }
    words = builder_command(plan, tmp_path / "order.json", settings)
    assert words[:5] == [sys.executable, "-P", "-m", "index_builder", "build"]
    told = dict(pairwise(words))
    assert told["--within"] == str(tmp_path / "imagery")
    assert (told["--keep"], told["--threads"], told["--device"]) == ("5", "2", "cpu")
    assert told["--progress"] == "json"
    assert "--stop-with-stdin" in words


def test_an_update_is_within_the_roots_too(settings, tmp_path):
    plan = make_plan(RebuildOrder(update={"remove": ["--out=/tmp/x"], "retire": [AREA]}), settings)
    words = builder_command(plan, tmp_path / "order.json", settings)
    assert words[4] == "update"
    assert "--within" in words
    assert "--out=/tmp/x" not in words, "a caller's words are never words of the command"
    assert plan.content["remove"] == ["--out=/tmp/x"]


def test_what_is_not_switched_on_names_its_setting(settings):
    bare = settings.model_copy(update={"rebuild_roots": ()})
    for order, setting in (
        (RebuildOrder(recipe="a.yaml"), "rebuild_recipes"),
        (RebuildOrder(sources=[{"location": "a.tif"}]), "rebuild_roots"),
        (RebuildOrder(update={}), "rebuild_roots"),
    ):
        with pytest.raises(Forbidden, match=setting):
            make_plan(order, bare)


def test_the_builders_environment_holds_no_secret(settings):
    ours = {
        "PATH": "/bin", "CROSSFIX_KEYS": "secret", "AWS_SECRET_ACCESS_KEY": "secret",
        "OTEL_EXPORTER_OTLP_HEADERS": "secret", "HTTPS_PROXY": "http://u:secret@p",
        "PYTHONPATH": "/code", "GDAL_DRIVER_PATH": "secret", "LD_PRELOAD": "secret",
    }  # fmt: skip
    plan = make_plan(RebuildOrder(update={}), settings)
    told = builder_environment(plan, settings, ours)
    assert "secret" not in json.dumps(told)
    assert told["OMP_NUM_THREADS"] == "2"
    assert told["PYTHONPATH"].endswith("/code")
    assert told["PATH"] == "/bin"


def job(**changes):
    return Job(id="x", state="queued", created="t", request={}, **changes)


def test_events_become_a_jobs_progress():
    scrub = PathScrubber([])
    told = {"event": "embedding", "done": 5, "total": 20, "tiles_per_s": 2, "eta_s": 7.5,
            "resumed": 3}  # fmt: skip
    half = apply_event(job(), told, scrub)
    assert half.state == "embedding"
    assert (half.progress.share, half.progress.resumed, half.progress.eta_s) == (0.25, 3, 7.5)
    step = apply_event(half, {"event": "step", "name": "embedded"}, scrub)
    assert (step.state, step.progress.share, step.progress.step) == ("publishing", 1.0, "embedded")
    done = apply_event(step, {"event": "published", "version": "v2"}, scrub)
    assert (done.version, done.published) == ("v2", True)
    same = apply_event(step, {"event": "unchanged", "version": "v1"}, scrub)
    assert (same.version, same.published) == ("v1", False)
    failed = apply_event(half, {"event": "failed", "code": "c", "message": "in /a/b/c.tif"}, scrub)
    assert failed.error.message == "in c.tif"


STRANGE = [{}, {"event": "other"}, {"event": "embedding", "done": "a"}, {"event": "step"},
           {"event": "published", "version": 5}]  # fmt: skip


@pytest.mark.parametrize("event", STRANGE)
def test_events_that_are_not_understood_change_nothing(event):
    assert apply_event(job(), event, PathScrubber([])) == job()


def test_ends_that_nobody_explained_are_explained():
    assert "SIGKILL" in explain_end(-signal.SIGKILL, []).message
    assert "exit code 1" in explain_end(1, ["boom"]).message
    missing = explain_end(1, ["ModuleNotFoundError: No module named 'rasterio'"])
    assert missing.code == "builder_missing"
    assert "rasterio" in missing.message
    assert "no space left" in not_started(OSError(28, "No space left on device")).message


NAMES = ["20260101T000000000Z-00000001", "20260102T000000000Z-00000002"]


def test_records_are_bounded_and_nonsense_is_left_alone(tmp_path):
    records = JobRecords(tmp_path / "jobs", keep=1)
    assert records.read() == []
    jobs = [job().model_copy(update={"id": name}) for name in NAMES]
    for one in jobs:
        records.write(one)
    (tmp_path / "jobs" / "20260103T000000000Z-00000003.json").write_text("{")
    (tmp_path / "jobs" / "other.json").write_text("{}")
    for name, age_s in ((".left.json.77", 3600), (".being-written.json.78", 0)):
        path = tmp_path / "jobs" / name
        path.write_text("{}")
        os.utime(path, (time.time() - age_s,) * 2)
    assert records.read() == jobs
    assert records.prune(jobs) == jobs[1:]
    records.sweep()
    assert sorted(path.name for path in (tmp_path / "jobs").iterdir()) == sorted(
        [
            f"{NAMES[1]}.json",
            "20260103T000000000Z-00000003.json",
            "other.json",
            ".being-written.json.78",  # by another service that shares the folder
        ]
    )


def test_a_folder_that_cannot_be_written_costs_records_only(tmp_path):
    (tmp_path / "jobs").write_text("a file where the folder should be")
    records = JobRecords(tmp_path / "jobs")
    records.write(job())
    records.sweep()
    assert records.read() == []
    with pytest.raises(OSError, match=r"exists|directory"):
        records.write_order("x", {})
