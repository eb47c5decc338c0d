"""Who may ask for a rebuild, in which words, and what is said otherwise; no builder is started."""

import json

import httpx
import pytest

from service.routes import jobs as routes_jobs
from tests.rebuild_world import SMALL, ask, rebuild_settings
from tests.service_world import make_world, serve

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def base(world, tmp_path_factory):
    with serve(rebuild_settings(world, tmp_path_factory.mktemp("root"))) as address:
        yield address


def error(answer):
    told = answer.json()["error"]
    assert set(told) == {"code", "message", "hint", "request_id"}
    return told


def test_without_a_setting_every_route_says_which(world):
    with serve(world.settings()) as base:
        answers = [
            ask(base, SMALL),
            ask(base, {}),
            httpx.get(f"{base}/gallery/jobs"),
            httpx.get(f"{base}/gallery/jobs/a"),
            httpx.delete(f"{base}/gallery/jobs/a"),
        ]
        for answer in answers:
            assert answer.status_code == 403
            assert "rebuild_roots or rebuild_recipes" in error(answer)["message"]


OF_FORMS = ["", "text/plain", "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x", "application/xml"]  # fmt: skip


@pytest.mark.parametrize("kind", OF_FORMS)
def test_only_json_is_read_so_that_no_web_form_can_ask(base, kind):
    answer = httpx.post(
        f"{base}/gallery/rebuild", content=json.dumps(SMALL), headers={"Content-Type": kind}
    )
    assert answer.status_code == 415
    assert "application/json" in error(answer)["hint"]


def test_long_orders_are_refused_even_in_chunks(base):
    def chunks():
        for _ in range(routes_jobs.ORDER_BYTES // 10_000 + 2):
            yield b" " * 10_000

    answer = httpx.post(f"{base}/gallery/rebuild", content=chunks(), headers=JSON)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("body", "status"), [(b"", 400), (b"{", 400), (b"\xff", 400), (b"{}", 422), (b"[]", 422)]
)
def test_wrong_orders_are_refused(base, body, status):
    answer = httpx.post(f"{base}/gallery/rebuild", content=body, headers=JSON)
    assert answer.status_code == status
    assert error(answer)["hint"]


NASTY = ["/etc/passwd", "../a.tif", "a/../../b", "~/x", "http://127.0.0.1/{z}/{x}/{y}.png",
         "file:///etc/passwd", "/vsicurl/http://127.0.0.1/a.tif", "vsicurl/http://127.0.0.1/a.tif",
         "none.tif", "a\\..\\b", "a\0b", "HTTPS://169.254.169.254/"]  # fmt: skip


@pytest.mark.parametrize("location", NASTY)
def test_nasty_locations_never_start_a_builder(base, location):
    for order in (
        {**SMALL, "sources": [{"location": "town.tif"}, {"location": location}]},
        {"update": {"add": [{"location": location}]}},
    ):
        answer = ask(base, order)
        assert answer.status_code == 422
        assert error(answer)["code"] == "parameter_invalid"
    assert httpx.get(f"{base}/gallery/jobs").json() == {"jobs": []}


@pytest.mark.parametrize("job", ["none", "%2e%2e%2fCURRENT", "a.order", "%00", "x" * 5000])
def test_jobs_that_are_not_there(base, job):
    for method in ("GET", "DELETE"):
        answer = httpx.request(method, f"{base}/gallery/jobs/{job}")
        assert answer.status_code in (404, 405), answer.text


def test_the_document_describes_the_order(base):
    document = httpx.get(f"{base}/openapi.json").json()
    route = document["paths"]["/gallery/rebuild"]["post"]
    schema = route["requestBody"]["content"]["application/json"]["schema"]
    assert {"recipe", "sources", "update", "tile_sizes_m", "overlap", "area"} == set(
        schema["properties"]
    )
    assert {"202", "403", "409", "413", "415", "422"} <= set(route["responses"])
