"""What the page is made of: types, compression, conditional requests, policies, vendored files."""

import gzip
import hashlib
import re
import shutil
from pathlib import Path

import httpx
import pytest

from service.routes.page import MEDIA_TYPES, STATIC, static_files
from service.settings_checks import map_origin
from tests.service_world import make_world, serve

OWN_FILES = sorted(path for path in STATIC.iterdir() if path.is_file())
ROWS = re.findall(
    r"^\| `(vendor/[^`]+)` \|.*`([0-9a-f]{64})` \|$", (STATIC / "VENDORED.md").read_text(), re.M
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def base(world):
    with serve(world.settings(default_k=7)) as url:
        yield url


def test_vendored_files_are_those_of_their_packages():
    assert {name for name, _ in ROWS} == {n for n in static_files() if n.startswith("vendor/")}
    for name, digest in ROWS:
        assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == digest, name


def test_every_vendored_package_comes_with_its_licence():
    for folder in (STATIC / "vendor").iterdir():
        assert (
            "icen" in (folder / "LICENSE").read_text()
            or "Redistribution" in (folder / "LICENSE").read_text()
        )


@pytest.mark.parametrize("path", OWN_FILES, ids=lambda path: path.name)
def test_own_files_are_small_and_ask_nobody_else(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    found = set(re.findall(r"https?://[^\"'<> )]+", text))
    assert found <= {"https://leafletjs.com", "http://www.w3.org/2000/svg"}, found


@pytest.mark.parametrize("path", sorted(STATIC.glob("*.html")), ids=lambda path: path.name)
def test_pages_hold_no_script_and_no_style_of_their_own(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon[a-z]+=|javascript:", text)


def test_types_do_not_depend_on_the_machine(base):
    for name, file in static_files().items():
        answer = httpx.get(f"{base}/static/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == MEDIA_TYPES.get(
            Path(name).suffix, "text/plain; charset=utf-8"
        )
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.content == file.data


def test_large_files_are_sent_compressed_to_those_who_take_it(base):
    address = f"{base}/static/vendor/leaflet/leaflet.js"
    with httpx.stream("GET", address, headers={"Accept-Encoding": "gzip"}) as answer:
        raw = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["vary"] == "Accept-Encoding"
    assert gzip.decompress(raw) == (STATIC / "vendor/leaflet/leaflet.js").read_bytes()
    plain = httpx.get(address, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert len(raw) < len(plain.content) / 3


def test_an_unchanged_file_is_not_sent_again(base):
    first = httpx.get(f"{base}/static/page.js")
    again = httpx.get(f"{base}/static/page.js", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    assert not again.content
    assert again.headers["etag"] == first.headers["etag"]
    assert first.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "name", ["../page.py", "..%2fpage.py", "%2e%2e/settings.py", "nothing.js", "", "vendor", "/etc"]
)
def test_nothing_but_the_files_of_the_page_is_sent(base, name):
    answer = httpx.get(f"{base}/static/{name}")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


@pytest.mark.parametrize("address", ["/", "/docs"])
def test_policies_allow_only_our_own_scripts(base, address):
    answer = httpx.get(base + address)
    policy = dict(
        part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";")
    )
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["connect-src"] == "'self'"
    assert policy["img-src"] == "'self' blob: data:"
    assert policy["frame-ancestors"] == "'none'"


def test_the_page_is_told_what_the_service_does(base):
    told = httpx.get(f"{base}/page.json").json()
    assert told["limits"]["default_k"] == 7
    assert told["limits"]["max_k"] == 100
    assert told["keeps_images"] is False
    assert told["needs_key"] is False
    assert told["views"]["ground"] == {"calibrated": True, "takes_heading": True}
    assert told["views"]["drone"]["takes_heading"] is False


@pytest.mark.parametrize(
    ("map_url", "host"),
    [
        ("https://tiles.example.org/{z}/{x}/{y}.png", "https://tiles.example.org"),
        ("http://10.0.0.7:8080/osm/{z}/{x}/{y}", "http://10.0.0.7:8080"),
        ("", ""),
        ("/tiles/{z}/{x}/{y}", ""),
        ("https://a.org; script-src */{z}", ""),
        ("javascript://a.org/{z}", ""),
    ],
)
def test_a_base_map_opens_the_policy_for_its_own_host_only(map_url, host):
    assert map_origin(map_url) == host


def test_map_tiles_are_cached_by_version(base):
    address = f"{base}/map/17/68452/44464"
    brief, for_ever = httpx.get(address), httpx.get(address, params={"v": "v1"})
    assert brief.status_code == for_ever.status_code == 200
    assert brief.headers["content-type"] in ("image/png", "image/jpeg")
    assert "immutable" in for_ever.headers["cache-control"]
    assert "immutable" not in brief.headers["cache-control"]
    again = httpx.get(address, headers={"If-None-Match": brief.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("place", ["3/8/0", "3/0/8", "23/0/0", "-1/0/0", "2/a/0", "2/0/1e9"])
def test_map_tiles_off_the_map_are_refused(base, place):
    answer = httpx.get(f"{base}/map/{place}")
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "parameter_invalid"


def test_a_gallery_that_cannot_be_read_yet_has_no_map(tmp_path, world):
    broken = tmp_path / "gallery"
    shutil.copytree(world.gallery_path, broken)
    (broken / "CURRENT.json").write_text("{}")
    from fastapi.testclient import TestClient

    from service.app import create_app

    with TestClient(create_app(world.settings(gallery=broken))) as client:
        answer = client.get("/map/3/1/1")
        assert answer.status_code == 503
        assert client.get("/page.json").json()["views"] is None
        assert client.get("/").status_code == 200
