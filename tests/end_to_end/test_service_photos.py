"""Photos over real HTTP: priors by area, forms, GeoJSON, batches, kept photos, silent logs."""

import io
import itertools
import json
import logging
import math
from pathlib import Path

import httpx
import pytest
from PIL import Image

from crossfix.geodesy import distance_m
from service.errors import Overloaded
from service.localizer import Localizer
from service.logs.log import JsonFormatter
from service.photos.schemas import TAKEN_FOR_TRUE
from service.runtime import Runtime
from tests.service_world import World, jpeg, make_world, serve

JPEG = {"Content-Type": "image/jpeg"}
SAMPLES = Path(__file__).parents[1] / "samples"
CORNER = {"type": "Polygon", "coordinates": [[[7.999, 49.9995], [8.002, 49.9995], [8.002, 50.0014],
                                              [7.999, 50.0014], [7.999, 49.9995]]]}  # fmt: skip
IN_CORNER = {"made-up/0", "made-up/1", "made-up/4", "made-up/5"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def base(world: World):
    settings = world.settings(max_body_bytes=200_000, max_batch_body_bytes=600_000, batch_limit=6)
    with serve(settings) as url:
        yield url


def localize(base: str, data: bytes, headers: dict | None = None, **params) -> httpx.Response:
    return httpx.post(
        f"{base}/localize", content=data, headers=headers or JPEG, params=params, timeout=20
    )


def batch(base: str, photos: list[bytes], parameters=None, headers=None, **params):
    files = [("image", (f"{i}.jpg", data, "image/jpeg")) for i, data in enumerate(photos)]
    data = {} if parameters is None else {"parameters": json.dumps(parameters)}
    return httpx.post(
        f"{base}/localize/batch",
        files=files,
        data=data,
        params=params,
        headers=headers,
        timeout=20,
    )


def test_heic_is_answered(base: str) -> None:
    pytest.importorskip("pi_heif")
    data = (SAMPLES / "plain.heic").read_bytes()
    response = localize(base, data, {"Content-Type": "image/heic"}, view="drone")
    assert response.status_code == 200, response.text


def test_the_content_decides_not_the_declared_type(base: str) -> None:
    for kind in ("image/png", "image/heic", "application/octet-stream"):
        assert localize(base, jpeg(1), {"Content-Type": kind}, view="drone").status_code == 200


@pytest.mark.parametrize("wrap", ["bare", "feature", "multi"])
def test_an_area_keeps_other_tiles_out(base: str, wrap: str) -> None:
    area = {
        "bare": CORNER,
        "feature": {"type": "Feature", "properties": {}, "geometry": CORNER},
        "multi": {"type": "MultiPolygon", "coordinates": [CORNER["coordinates"]]},
    }[wrap]
    answer = localize(base, jpeg(15), view="drone", area=json.dumps(area))
    assert answer.status_code == 200, answer.text
    assert {match["tile_id"] for match in answer.json()["matches"]} == IN_CORNER


BAD_AREAS = {
    "no json": "hello",
    "deep": "[" * 2_400,
    "point": '{"type": "Point", "coordinates": [8, 50]}',
    "nan": '{"type": "Polygon", "coordinates": [[[NaN, 50], [8, 51], [9, 50], [8, 50]]]}',
    "off": '{"type": "Polygon", "coordinates": [[[8, 95], [8, 51], [9, 50], [8, 95]]]}',
    "words": '{"type": "Polygon", "coordinates": [[["x", 50], [8, 51], [9, 50]]]}',
    "flat": '{"type": "Polygon", "coordinates": [[[8, 50], [9, 50], [8, 50]]]}',
    "number": "7",
    "null": "null",
    "empty": '{"type": "MultiPolygon", "coordinates": []}',
}


@pytest.mark.parametrize("name", BAD_AREAS)
def test_what_is_no_area_is_refused_in_our_words(base: str, name: str) -> None:
    response = localize(base, jpeg(1), view="drone", area=BAD_AREAS[name])
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (422, "parameter_invalid")
    for leak in ("float()", "argument", "Expecting", "recursion", "unpack", "Traceback"):
        assert leak not in error["message"]


def test_an_area_elsewhere_and_an_area_beside_a_disc(base: str) -> None:
    far = json.dumps({"type": "Polygon", "coordinates": [[[10, 10], [11, 10], [11, 11], [10, 10]]]})
    nowhere = localize(base, jpeg(1), view="drone", area=far)
    assert (nowhere.status_code, nowhere.json()["error"]["code"]) == (422, "prior_outside_gallery")
    both = localize(base, jpeg(1), view="drone", area=json.dumps(CORNER), lat=50, lon=8, radius_m=9)
    assert (both.status_code, both.json()["error"]["code"]) == (422, "parameter_invalid")
    assert "either area" in both.json()["error"]["message"]


def test_a_form_may_hold_the_parameters_but_not_contradict_the_address(base: str) -> None:
    def post(data, **params):
        files = {"image": ("a.jpg", jpeg(5), "image/jpeg")}
        return httpx.post(f"{base}/localize", files=files, data=data, params=params)

    deep = post({"area": "[" * 15_000})
    assert (deep.status_code, deep.json()["error"]["code"]) == (422, "parameter_invalid")
    answer = post({"view": "drone", "k": "2", "area": json.dumps(CORNER)})
    assert len(answer.json()["matches"]) == 2
    assert answer.json()["matches"][0]["tile_id"] == "made-up/5"
    assert post({"k": "2"}, k=2, view="drone").status_code == 200
    for fields, params in (
        ({"k": "2"}, {"k": 3}),
        ({"k": "many"}, {}),
        ({"size": "3"}, {}),
        ({"lat": "50"}, {}),
        ({"area": json.dumps(CORNER)}, {"lat": 50, "lon": 8, "radius_m": 500}),
    ):
        refused = post({"view": "drone", **fields}, **params)
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "parameter_invalid")


def test_geojson_has_a_polygon_of_the_radius(base: str) -> None:
    response = localize(
        base, jpeg(2), {**JPEG, "Accept": "application/geo+json, */*;q=0.1"}, view="drone", k=2
    )
    features = response.json()["features"]
    assert [one["properties"]["role"] for one in features] == [
        "estimate",
        "radius",
        "match",
        "match",
    ]
    lon, lat = features[0]["geometry"]["coordinates"]
    radius_m = features[0]["properties"]["radius_m"]
    ring = features[1]["geometry"]["coordinates"][0]
    assert ring[0] == ring[-1]
    for east, north in ring:
        assert float(distance_m(east, north, lon, lat)) == pytest.approx(radius_m, rel=0.01)
    area = sum(a[0] * b[1] - b[0] * a[1] for a, b in itertools.pairwise(ring)) / 2
    assert area > 0  # counter-clockwise
    assert response.headers["vary"] == "Accept"


def test_a_batch_answers_each_photo_and_a_bad_one_fails_alone(base: str) -> None:
    response = batch(base, [jpeg(5), b"hello", jpeg(7), b""], view="drone", k=1)
    assert response.status_code == 200, response.text
    results = response.json()["results"]
    assert [one["index"] for one in results] == [0, 1, 2, 3]
    assert [one["file_name"] for one in results] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    assert [one["status"] for one in results] == [200, 415, 200, 400]
    assert results[0]["answer"]["matches"][0]["tile_id"] == "made-up/5"
    assert results[2]["answer"]["matches"][0]["tile_id"] == "made-up/7"
    assert results[1]["error"]["code"] == "image_format_unsupported"
    assert results[1]["answer"] is None
    assert results[3]["error"]["code"] == "image_empty"
    assert response.json()["gallery"]["version"] == "v1"
    assert response.json()["stage_ms"]["encode"] > 0
    assert response.json()["request_id"] == response.headers["x-request-id"]
    assert "total;dur=" in response.headers["server-timing"]


def test_a_batchs_photos_may_each_have_their_parameters(base: str) -> None:
    own = [
        None,
        {"k": 3},
        {"area": json.dumps(CORNER), "k": 10},
        {"lat": 1, "lon": 1, "radius_m": 9},
    ]
    response = batch(
        base, [jpeg(15)] * 4, own, view="drone", k=1, lat=50.0, lon=8.0, radius_m=90_000
    )
    results = response.json()["results"]
    assert [one["status"] for one in results] == [200, 200, 200, 422]
    counts = [len(one["answer"]["matches"]) for one in results[:3]]
    assert counts == [1, 3, 4]
    assert {match["tile_id"] for match in results[2]["answer"]["matches"]} == IN_CORNER
    assert results[3]["error"]["code"] == "prior_outside_gallery"


def test_an_area_in_a_batchs_parameters_may_be_json_itself(base: str) -> None:
    feature = {"type": "Feature", "properties": {}, "geometry": CORNER}
    response = batch(base, [jpeg(15)] * 2, [{"area": CORNER}, {"area": feature}], view="drone")
    for result in response.json()["results"]:
        assert {match["tile_id"] for match in result["answer"]["matches"]} == IN_CORNER


DEEP = json.loads("[" * 800 + "]" * 800)


@pytest.mark.parametrize(
    "parameters",
    [
        [None],
        {"k": 1},
        [1, 2],
        [{"k": 0}, None],
        [{"size": 1}, None],
        [None] * 3,
        [{"k": True}, None],
        [{"heading_deg": False}, None],
        [{"area": {"type": "Polygon", "coordinates": "x" * 16_000}}, None],
        [{"\ud800": 1}, None],
        [{"area": "\ud800"}, None],
        [{"k": DEEP}, None],
        [{"lat": float("nan"), "lon": 1, "radius_m": 1}, None],
    ],
)
def test_wrong_parameters_refuse_the_whole_batch(base: str, parameters) -> None:
    response = batch(base, [jpeg(1), jpeg(2)], parameters, view="drone")
    assert (response.status_code, response.json()["error"]["code"]) == (422, "parameter_invalid")


def test_batches_that_are_no_batches_are_refused(base: str) -> None:
    many = batch(base, [jpeg(1)] * 7, view="drone")
    assert (many.status_code, many.json()["error"]["code"]) == (422, "parameter_invalid")
    assert "more than 6 photos" in many.json()["error"]["message"]
    none = httpx.post(f"{base}/localize/batch", files={"photo": ("a.jpg", jpeg(1))})
    assert (none.status_code, none.json()["error"]["code"]) == (422, "parameter_invalid")
    raw = httpx.post(f"{base}/localize/batch", content=jpeg(1), headers=JPEG)
    assert (raw.status_code, raw.json()["error"]["code"]) == (415, "body_type_unsupported")
    long = batch(base, [bytes(200_000)] * 4, view="drone")
    assert (long.status_code, long.json()["error"]["code"]) == (413, "body_too_large")


def test_one_photo_of_a_batch_may_not_be_longer_than_a_single_one(base: str) -> None:
    results = batch(base, [bytes(300_000), jpeg(1)], view="drone").json()["results"]
    assert [one["status"] for one in results] == [413, 200]


def test_a_batch_as_geojson_carries_the_index(base: str) -> None:
    response = batch(
        base,
        [jpeg(5), b"hello", jpeg(7)],
        view="drone",
        k=1,
        headers={"Accept": "application/geo+json"},
    )
    assert response.headers["content-type"] == "application/geo+json"
    collection = response.json()
    assert collection["type"] == "FeatureCollection"
    assert {one["properties"]["index"] for one in collection["features"]} == {0, 2}
    assert [one["status"] for one in collection["results"]] == [200, 415, 200]


def test_a_batch_is_counted_by_its_photos(world: World) -> None:
    with serve(world.settings(rate_per_minute=1, rate_burst=3)) as base:
        assert batch(base, [jpeg(1)] * 3, view="drone").status_code == 200
        refused = localize(base, jpeg(1), view="drone")
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limited")
        assert int(refused.headers["retry-after"]) > 0


@pytest.mark.parametrize("full", [(Runtime, "admitted"), (Localizer, "localize")])
def test_a_photo_that_finds_no_room_costs_nothing(world: World, monkeypatch, full) -> None:
    def refuse(*_: object) -> None:
        raise Overloaded("full", reason="in_flight_limit", retry_after_s=1.0)

    with serve(world.settings(rate_per_minute=1, rate_burst=2)) as base:
        with monkeypatch.context() as patch:
            patch.setattr(*full, refuse)
            refused = [localize(base, jpeg(1), view="drone").status_code for _ in range(5)]
        rest = [localize(base, jpeg(1), view="drone").status_code for _ in range(3)]
    assert refused == [503] * 5
    assert rest == [200, 200, 429]


def test_an_answer_with_a_prior_says_what_its_confidence_rests_on(base: str) -> None:
    disc = {"lat": 50.0, "lon": 8.0, "radius_m": 90_000}
    for prior in (disc, {"area": json.dumps(CORNER)}):
        answer = localize(base, jpeg(5), view="drone", **prior).json()
        assert TAKEN_FOR_TRUE in answer["warnings"]
    assert TAKEN_FOR_TRUE not in localize(base, jpeg(5), view="drone").json()["warnings"]
    first, second = batch(base, [jpeg(5)] * 2, [disc, None], view="drone").json()["results"]
    assert TAKEN_FOR_TRUE in first["answer"]["warnings"]
    assert TAKEN_FOR_TRUE not in second["answer"]["warnings"]
    schemas = httpx.get(f"{base}/openapi.json").json()["components"]["schemas"]
    assert "from elsewhere" in schemas["Estimate"]["properties"]["confidence"]["description"]


def test_the_address_may_not_contradict_itself(base: str) -> None:
    twice = f"{base}/localize?view=drone&k=1&k=2"
    for refused in (
        httpx.post(twice, content=jpeg(5), headers=JPEG),
        httpx.post(f"{base}/localize/batch?view=drone&view=ground", files={"image": ("", b"a")}),
    ):
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "parameter_invalid")
        assert "is given twice in the address" in refused.json()["error"]["message"]
    same = httpx.post(f"{base}/localize?view=drone&k=2&k=2", content=jpeg(5), headers=JPEG)
    assert len(same.json()["matches"]) == 2


def test_what_curl_sends_by_default_is_a_photo(base: str) -> None:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert localize(base, jpeg(5), kind, view="drone").status_code == 200
    refused = localize(base, b"view=drone&k=2", kind)
    assert (refused.status_code, refused.json()["error"]["code"]) == (
        415,
        "image_format_unsupported",
    )


def test_bodies_are_measured_whole_and_once(world: World) -> None:
    def seen(base: str) -> tuple[float, float]:
        lines = httpx.get(f"{base}/metrics").text.splitlines()
        found = dict(line.rsplit(" ", 1) for line in lines if "request_body_bytes_" in line)
        name = "crossfix_request_body_bytes"
        return float(found[f"{name}_count"]), float(found[f"{name}_sum"])

    with serve(world.settings()) as base:
        sent = batch(base, [jpeg(5)] * 3, view="drone").request
        assert seen(base) == (1, int(sent.headers["content-length"]))


def test_kept_photos_are_told_in_the_answer(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    with serve(world.settings(keep_images=folder)) as base:
        answer = localize(base, jpeg(5), view="drone").json()
        in_batch = batch(base, [jpeg(6), jpeg(7)], view="drone").json()["results"]
    assert any("keeps the photos" in text for text in answer["warnings"])
    assert all(any("keeps" in t for t in one["answer"]["warnings"]) for one in in_batch)
    assert len(list(folder.glob("*.jpg"))) == 3
    stored = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    assert answer in stored
    names = "".join(path.name for path in folder.iterdir())
    assert answer["request_id"] in names


def with_place(data: bytes) -> bytes:
    exif = Image.Exif()
    exif[0x010E] = "Musterstrasse 7"
    place = exif.get_ifd(0x8825)
    place[1], place[2] = "N", (50.0, 7.0, 24.6802)
    place[3], place[4] = "E", (8.0, 13.0, 35.7913)
    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def test_no_log_line_tells_a_place_or_a_photo(world: World) -> None:
    """Every logger of the process, at its most talkative, while photos with places come in."""
    lines: list[str] = []

    class Catch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(JsonFormatter().format(record))

    catch, root = Catch(), logging.getLogger()
    levels = {name: logging.getLogger(name).level for name in ("service", "PIL", "multipart")}
    data = with_place(jpeg(5))
    root.addHandler(catch)
    try:
        for name in levels:
            logging.getLogger(name).setLevel(logging.DEBUG if name != "multipart" else logging.INFO)
        disc = {"lat": 50.0012345, "lon": 8.0012345, "radius_m": 7654.321, "view": "drone"}
        area = {"view": "drone", "area": json.dumps(CORNER)}
        with serve(world.settings()) as base:
            answers = [
                localize(base, data, **disc),
                localize(base, data, **area),
                localize(base, data[:300], **disc),
                localize(base, data, view="drone", lat=-33.8765432, lon=151.1234567, radius_m=5),
                localize(base, data, view="drone", lat=999.8765, lon=8, radius_m=5),
                batch(base, [data, b"hello"], [disc, None]),
                httpx.post(f"{base}/localize", files={"image": ("secret.jpg", data)}, data=disc),
            ]
    finally:
        root.removeHandler(catch)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
    assert [a.status_code for a in answers] == [200, 200, 422, 422, 422, 200, 200]
    text = "\n".join(lines)
    assert text.count("/localize") >= 7
    estimate = answers[0].json()["estimate"]
    secrets = ["0012345", "7654.321", "radius_m", "8765432", "999.8765", "49.9995", "Polygon"]
    secrets += ["24.68", "35.79", "Musterstrasse", "secret.jpg", "0.jpg", "made-up/"]
    secrets += [f"{estimate['lat']:.4f}", f"{estimate['lon']:.4f}"]
    for secret in secrets:
        assert secret not in text, secret
    assert not math.isnan(estimate["lat"])
