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


@pytest.mark.parametrize("in_chunks", [True, False])
@pytest.mark.parametrize(("more_bytes", "status"), [(0, 422), (1, 413)])
def test_orders_may_be_long_but_not_too_long(base, in_chunks, more_bytes, status):
    body = b"{}" + b" " * (routes_jobs.ORDER_BYTES - 2 + more_bytes)
    content = (body[i : i + 10_000] for i in range(0, len(body), 10_000)) if in_chunks else body
    answer = httpx.post(f"{base}/gallery/rebuild", content=content, headers=JSON)
    assert answer.status_code == status


RING = [[8, 50], [9, 50], [9, 51], [8, 50]]
AREAS = [
    {"type": "Polygon"},
    {"type": "Polygon", "coordinates": "x"},
    {"type": "Polygon", "coordinates": []},
    {"type": "Polygon", "coordinates": [RING[:2]]},
    {"type": "Polygon", "coordinates": [[["x", 50], *RING]]},
    {"type": "Polygon", "coordinates": [[[True, 50], *RING]]},
    {"type": "Polygon", "coordinates": [[[float("nan"), 50], *RING]]},
    {"type": "Polygon", "coordinates": [[[8, 91], *RING]]},
    {"type": "Polygon", "coordinates": [RING], "note": float("inf")},
    {"type": "MultiPolygon", "coordinates": 7},
    {"type": "Point", "coordinates": [8, 50]},
    {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [8, 50]}},
    {"type": "Feature", "geometry": None},
    {"type": "FeatureCollection", "features": {}},
    {"type": ["Polygon"]},
]


@pytest.mark.parametrize("area", AREAS, ids=str)
def test_areas_that_cannot_be_meant_are_refused_at_once(base, area):
    for order in ({**SMALL, "area": area}, {"update": {"retire": [area]}}):
        answer = httpx.post(f"{base}/gallery/rebuild", content=json.dumps(order), headers=JSON)
        assert answer.status_code == 422
        assert error(answer)["message"].startswith(("area: ", "update.retire: "))
    assert httpx.get(f"{base}/gallery/jobs").json() == {"jobs": []}


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
