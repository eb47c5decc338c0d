"""The real service over real HTTP with a tiny encoder and gallery."""

import concurrent.futures
import io
import json
import shutil
import threading
import time

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.service_world import GRID, World, jpeg, make_world, publish_gallery, serve

JPEG = {"Content-Type": "image/jpeg"}
TILES = GRID * GRID


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def base(world: World):
    settings = world.settings(max_body_bytes=200_000, max_pixels=1_000_000)
    with serve(settings) as url:
        yield url


def localize(base: str, data: bytes, headers: dict | None = None, **params) -> httpx.Response:
    return httpx.post(
        f"{base}/localize", content=data, headers=headers or JPEG, params=params, timeout=20
    )


def test_a_drone_photo_of_a_tile_finds_that_tile(base: str) -> None:
    response = localize(base, jpeg(5, 200, 200), view="drone", k=3)
    assert response.status_code == 200, response.text
    answer = response.json()
    best = answer["matches"][0]
    assert [m["rank"] for m in answer["matches"]] == [1, 2, 3]
    assert best["tile_id"] == "made-up/5"
    assert best["score"] > 0.9
    assert best["distance_to_best_m"] == 0
    assert best["bounds"]["west"] < best["lon"] < best["bounds"]["east"]
    assert answer["matches"][1]["distance_to_best_m"] > 50
    assert (best["attribution"], best["licence"], best["date"]) == ("someone", "CC0-1.0", "2026")
    assert abs(answer["estimate"]["lat"] - best["lat"]) < 0.001
    assert 0 <= answer["estimate"]["confidence"] <= 1
    assert answer["estimate"]["radius_m"] == pytest.approx(50)
    in_one_piece = {"shards_total": 1, "shards_asked": 1, "shards_answered": 1}
    assert answer["gallery"] == {"version": "v1", "tiles": TILES, **in_one_piece}
    assert answer["encoder"]["name"] == "tiny"
    assert answer["request_id"] == response.headers["x-request-id"]


def test_stage_times_are_in_the_body_and_in_server_timing(base: str) -> None:
    response = localize(base, jpeg(1), view="drone")
    stages = response.json()["stage_ms"]
    assert list(stages) == ["decode", "queue", "encode", "search", "estimate", "total"]
    assert all(value >= 0 for value in stages.values())
    assert sum(stages.values()) - stages["total"] <= stages["total"]
    assert response.headers["server-timing"].startswith("decode;dur=")
    assert "total;dur=" in response.headers["server-timing"]


def without_times(answer: dict) -> dict:
    return {k: v for k, v in answer.items() if k not in ("stage_ms", "request_id")}


def test_raw_octets_and_multipart_give_equal_answers(base: str) -> None:
    data = jpeg(7, 300, 200)
    raw = localize(base, data)
    octets = localize(base, data, {"Content-Type": "application/octet-stream"})
    form = httpx.post(f"{base}/localize", files={"image": ("a.jpg", data, "image/jpeg")})
    assert raw.status_code == octets.status_code == form.status_code == 200
    assert without_times(raw.json()) == without_times(octets.json()) == without_times(form.json())
    assert len(raw.json()["matches"]) == 10
    assert any("heading_deg" in warning for warning in raw.json()["warnings"])


def test_a_chunked_body_is_read(base: str) -> None:
    data = jpeg(3)
    pieces = iter([data[:100], data[100:]])
    response = httpx.post(
        f"{base}/localize", params={"view": "drone"}, content=pieces, headers=JPEG
    )
    assert response.json()["matches"][0]["tile_id"] == "made-up/3"


def test_a_prior_keeps_other_tiles_out(base: str) -> None:
    response = localize(base, jpeg(15), view="drone", lat=50.0, lon=8.0, radius_m=150)
    answer = response.json()
    assert response.status_code == 200, answer
    assert {m["tile_id"] for m in answer["matches"]} == {
        "made-up/0",
        "made-up/1",
        "made-up/4",
        "made-up/5",
    }


def test_geojson_has_the_estimate_and_footprints(base: str) -> None:
    response = localize(
        base, jpeg(2), {**JPEG, "Accept": "application/geo+json"}, view="drone", k=2
    )
    assert response.headers["content-type"] == "application/geo+json"
    collection = response.json()
    point, _radius, first, second = collection["features"]
    assert collection["type"] == "FeatureCollection"
    assert point["geometry"]["type"] == "Point"
    assert point["geometry"]["coordinates"][0] == pytest.approx(8.0, abs=0.1)
    assert first["properties"]["tile_id"] == "made-up/2"
    assert second["properties"]["rank"] == 2
    ring = first["geometry"]["coordinates"][0]
    assert ring[0] == ring[-1]
    east, north = zip(*ring, strict=True)
    area = sum(east[i] * north[i + 1] - east[i + 1] * north[i] for i in range(4)) / 2
    assert area > 0


def png_of(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


BAD_INPUTS = {
    "not an image": (b"hello, I am a text file", {}, 415, "image_format_unsupported"),
    "truncated": (jpeg(1, 300, 300)[:3000], {}, 422, "image_unreadable"),
    "empty": (b"", {}, 400, "image_empty"),
    "too many pixels": (png_of(1100, 1000), {}, 413, "image_too_large"),
    "body too large": (b"\xff" * 300_000, {}, 413, "body_too_large"),
    "body just too large": (b"\xff" * 200_001, {}, 413, "image_too_large"),
    "wrong view": (jpeg(1), {"view": "submarine"}, 422, "parameter_invalid"),
    "satellite is no query": (jpeg(1), {"view": "satellite"}, 422, "parameter_invalid"),
    "k too small": (jpeg(1), {"k": 0}, 422, "parameter_invalid"),
    "k too large": (jpeg(1), {"k": 101}, 422, "parameter_invalid"),
    "k not a number": (jpeg(1), {"k": "many"}, 422, "parameter_invalid"),
    "partial prior": (jpeg(1), {"lat": 50, "lon": 8}, 422, "parameter_invalid"),
    "lat off Earth": (jpeg(1), {"lat": 91, "lon": 8, "radius_m": 5}, 422, "parameter_invalid"),
    "nan": (jpeg(1), {"lat": "nan", "lon": 8, "radius_m": 5}, 422, "parameter_invalid"),
    "prior elsewhere": (
        jpeg(1),
        {"lat": -33, "lon": 151, "radius_m": 500},
        422,
        "prior_outside_gallery",
    ),
    "unknown parameter": (jpeg(1), {"radius": 500}, 422, "parameter_invalid"),
    "hfov": (jpeg(1), {"hfov_deg": 5}, 422, "parameter_invalid"),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_input_is_refused_with_its_status_and_no_internals(base: str, name: str) -> None:
    data, params, status, code = BAD_INPUTS[name]
    response = localize(base, data, **params)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    for leak in ("Traceback", "PIL", "site-packages", "/", "pydantic", "0x"):
        assert leak not in response.json()["error"]["message"]


def test_a_chunked_body_that_is_too_large_is_refused(base: str) -> None:
    pieces = (b"\xff" * 50_000 for _ in range(10))
    response = httpx.post(f"{base}/localize", content=pieces, headers=JPEG)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "body_too_large")


def test_other_bodies_are_refused(base: str) -> None:
    text = localize(base, b"{}", {"Content-Type": "application/json"})
    wrong_field = httpx.post(f"{base}/localize", files={"photo": ("a.jpg", jpeg(1))})
    broken = localize(base, b"no boundary here", {"Content-Type": "multipart/form-data"})
    torn = localize(base, b"abc", {"Content-Type": "multipart/form-data; boundary=xyz"})
    assert (text.status_code, text.json()["error"]["code"]) == (415, "body_type_unsupported")
    assert wrong_field.status_code == 422
    assert (broken.status_code, broken.json()["error"]["code"]) == (400, "body_malformed")
    assert torn.status_code in (400, 422)


def test_tiles_gallery_encoder_and_health(base: str) -> None:
    best = localize(base, jpeg(5), view="drone").json()["matches"][0]
    picture = httpx.get(base + best["picture_url"])
    assert picture.content == jpeg(5)
    assert picture.headers["content-type"] == "image/jpeg"
    assert "immutable" in picture.headers["cache-control"]
    again = httpx.get(
        base + best["picture_url"], headers={"If-None-Match": picture.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")
    assert "immutable" not in httpx.get(f"{base}/tiles/made-up/5").headers["cache-control"]
    missing = httpx.get(f"{base}/tiles/nowhere")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "tile_not_found")
    gallery = httpx.get(f"{base}/gallery").json()
    assert (gallery["version"], gallery["tiles"]) == ("v1", TILES)
    encoder = httpx.get(f"{base}/encoder").json()
    assert encoder["views"]["ground"]["calibrated"] is True
    assert encoder["provider"] == "CPUExecutionProvider"
    assert httpx.get(f"{base}/livez").json() == {"status": "alive"}
    assert httpx.get(f"{base}/readyz").json()["gallery_version"] == "v1"


def test_32_clients_at_once_are_all_answered_or_told_to_come_back(world: World) -> None:
    settings = world.settings(queue_limit=4, max_in_flight=16)
    with serve(settings) as base, concurrent.futures.ThreadPoolExecutor(32) as pool:
        photo = jpeg(4, 800, 800)
        responses = list(pool.map(lambda _: localize(base, photo, view="drone"), range(96)))
        metrics = httpx.get(f"{base}/metrics").text
    statuses = [response.status_code for response in responses]
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) >= 16
    for response in responses:
        if response.status_code == 200:
            assert response.json()["matches"][0]["tile_id"] == "made-up/4"
        else:
            assert int(response.headers["retry-after"]) >= 1
            assert response.json()["error"]["code"] == "overloaded"
    if 503 in statuses:
        assert "crossfix_rejected_total{" in metrics


class Stream:
    """Clients that keep asking until told to stop, remembering status and gallery version."""

    def __init__(self, base: str, clients: int = 4) -> None:
        self.base, self.stop = base, threading.Event()
        self.seen: list[tuple[int, str | None, str | None]] = []
        self.threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        with httpx.Client(base_url=self.base, timeout=20) as client:
            while not self.stop.is_set():
                response = client.post(
                    "/localize", params={"view": "drone"}, content=jpeg(105), headers=JPEG
                )
                body = response.json()
                version = body["gallery"]["version"] if response.status_code == 200 else None
                best = body["matches"][0]["tile_id"] if response.status_code == 200 else None
                self.seen.append((response.status_code, version, best))

    def __enter__(self) -> "Stream":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(timeout=20)

    def wait_for(self, condition, patience_s: float = 20.0) -> None:
        give_up = time.monotonic() + patience_s
        while not condition():
            assert time.monotonic() < give_up, self.seen[-3:]
            time.sleep(0.02)


def test_hot_swap_fails_no_request_and_a_corrupt_version_is_refused(tmp_path) -> None:
    world = make_world(tmp_path)
    # Nothing is refused for being too much: what a slow machine refuses is not the swap's doing.
    with serve(world.settings(max_wait_s=30, deadline_s=30)) as base, Stream(base) as stream:
        stream.wait_for(lambda: len(stream.seen) > 10)
        publish_gallery(world.gallery_path, world.encoder, "v2", first_seed=100)
        stream.wait_for(lambda: stream.seen[-1][1] == "v2")
        versions = world.gallery_path / "versions"
        shutil.copytree(versions / "v2", versions / "v3")
        vectors = bytearray((versions / "v3" / "vectors.f16").read_bytes())
        vectors[100] ^= 1
        (versions / "v3" / "vectors.f16").write_bytes(vectors)
        (world.gallery_path / "CURRENT.json").write_text(json.dumps({"version": "v3"}))
        refused = 'crossfix_reload_results_total{result="gallery_corrupt"}'
        stream.wait_for(lambda: refused in httpx.get(f"{base}/metrics").text)
        asked = len(stream.seen)
        stream.wait_for(lambda: len(stream.seen) > asked + 20)
        ready = httpx.get(f"{base}/readyz").json()
        metrics = httpx.get(f"{base}/metrics").text
    assert {status for status, _, _ in stream.seen} == {200}
    assert {version for _, version, _ in stream.seen} == {"v1", "v2"}
    # Vectors, ids and version always belong together.
    assert {best for _, version, best in stream.seen if version == "v2"} == {"made-up/5"}
    assert ready["gallery_version"] == "v2"
    assert 'crossfix_reload_results_total{result="ok"} 1.0' in metrics
    assert 'gallery_version="v2"' in metrics
    assert 'gallery_version="v1"' not in metrics
