"""/livez, /readyz and /metrics as orchestrators and Prometheus meet them."""

import asyncio
import json
import time
from collections.abc import Callable
from types import SimpleNamespace

import httpx
import pytest

from service.app import create_app
from service.galleries.snapshot import load_snapshot
from service.guard.key_file import KeyFile, make_key, write_keys
from service.version import service_version
from tests.service_world import make_world, publish_gallery, serve


@pytest.fixture
def world(tmp_path):
    return make_world(tmp_path / "world")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def client_of(app) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x")


def ready_after(base: str, wanted: Callable[[dict], bool]) -> dict:
    give_up = time.monotonic() + 20
    while time.monotonic() < give_up:
        told = httpx.get(f"{base}/readyz").json()
        if wanted(told):
            return told
        time.sleep(0.02)
    raise AssertionError(told)


def test_ready_tells_versions_provider_and_whether_photos_are_kept(world, tmp_path) -> None:
    with serve(world.settings(keep_images=tmp_path / "photos")) as base:
        told = httpx.get(f"{base}/readyz").json()
    assert told == {
        "status": "ready",
        "service": service_version(),
        "gallery_version": "v1",
        "shards_total": 1,
        "shards_answering": 1,
        "encoder": world.encoder.manifest.name,
        "embedding_space_id": world.encoder.embedding_space_id,
        "provider": "CPUExecutionProvider",
        "provider_fallback": False,
        "index_fallback": False,
        "keeps_images": True,
        "last_reload_failure": "",
        "keys_problem": False,
    }


def test_a_broken_keys_file_shows(world) -> None:
    app = create_app(world.settings(), snapshot=load_snapshot(world.settings()))
    app.state.runtime.keys = SimpleNamespace(problem="line 1 is no key")

    async def ask() -> dict:
        async with client_of(app) as client:
            return (await client.get("/readyz")).json()

    app.state.runtime.holder.replace(load_snapshot(world.settings()))
    assert asyncio.run(ask())["keys_problem"] is True


def test_a_refused_version_shows_until_a_good_one_comes_and_photos_go_on(world) -> None:
    with serve(world.settings()) as base:
        publish_gallery(world.gallery_path, world.encoder, "v2")
        folder = world.gallery_path / "versions" / "v3"
        folder.mkdir()
        manifest = world.gallery_path / "versions" / "v2" / "manifest.json"
        told = ready_after(base, lambda told: told["gallery_version"] == "v2")
        (folder / "manifest.json").write_text(
            manifest.read_text().replace('"v2"', '"v3"'), encoding="utf-8"
        )
        (world.gallery_path / "CURRENT.json").write_text(json.dumps({"version": "v3"}))
        told = ready_after(base, lambda told: told["last_reload_failure"] != "")
        assert told["gallery_version"] == "v2"
        assert told["last_reload_failure"].startswith("gallery_")
        assert "crossfix_reload_failing 1.0" in httpx.get(f"{base}/metrics").text
        publish_gallery(world.gallery_path, world.encoder, "v4")
        told = ready_after(base, lambda told: told["gallery_version"] == "v4")
        assert told["last_reload_failure"] == ""


@pytest.mark.anyio
async def test_before_the_gallery_is_loaded_it_lives_but_is_not_ready(world) -> None:
    async with client_of(create_app(world.settings())) as client:  # its life never starts
        assert (await client.get("/livez")).json() == {"status": "alive"}
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
        assert int(answer.headers["retry-after"]) >= 1
        assert "\ncrossfix_ready 0.0" in (await client.get("/metrics")).text


@pytest.mark.anyio
async def test_while_draining_it_is_not_ready_and_says_so_in_metrics(world) -> None:
    app = create_app(world.settings(), snapshot=load_snapshot(world.settings()))
    async with app.router.lifespan_context(app), client_of(app) as client:
        assert (await client.get("/readyz")).status_code == 200
        app.state.runtime.draining = True
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/livez")).status_code == 200
        text = (await client.get("/metrics")).text
        assert "\ncrossfix_draining 1.0" in text
        assert "\ncrossfix_ready 0.0" in text


@pytest.mark.anyio
async def test_metrics_ask_for_a_key_only_where_told_to_and_probes_never_do(
    world, tmp_path
) -> None:
    key, record = make_key("prometheus", "localize")
    write_keys(tmp_path / "keys.json", KeyFile(keys=(record,)))
    settings = world.settings(keys=tmp_path / "keys.json", metrics_key=True)
    app = create_app(settings, snapshot=load_snapshot(settings))
    async with app.router.lifespan_context(app), client_of(app) as client:
        assert (await client.get("/metrics")).status_code == 401
        allowed = await client.get("/metrics", headers={"Authorization": f"Bearer {key}"})
        assert allowed.status_code == 200
        assert 'crossfix_denied_total{reason="missing"} 1.0' in allowed.text
        for path in ("/livez", "/readyz"):
            assert (await client.get(path)).status_code == 200
            assert (await client.head(path)).status_code == 200
    open_to_all = world.settings(keys=tmp_path / "keys.json")
    async with client_of(create_app(open_to_all)) as client:
        assert (await client.get("/metrics")).status_code == 200
