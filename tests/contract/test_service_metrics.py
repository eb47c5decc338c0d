"""What /metrics says is well-formed, complete, and counts what happened."""

import shutil
import subprocess

import httpx
import pytest

from service.app import create_app
from service.snapshot import load_snapshot
from tests.service_world import jpeg, make_world

NAMES = [
    "requests_total",
    "request_seconds_bucket",
    "in_flight_requests",
    "request_body_bytes_bucket",
    "stage_seconds_bucket",
    "batch_size_bucket",
    "queue_depth",
    "expired_total",
    "cancelled_total",
    "top1_score_bucket",
    "top1_margin_bucket",
    "confidence_bucket",
    "refusals_total",
    "priors_total",
    "snapshot_info",
    "snapshot_age_seconds",
    "snapshot_tiles",
    "reload_results_total",
    "provider_info",
    "provider_fallback",
    "build_info",
    "ready",
]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def app(tmp_path):
    settings = make_world(tmp_path).settings()
    return create_app(settings, snapshot=load_snapshot(settings))


async def scrape_after_a_request(app) -> str:
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://x") as client,
    ):
        prior = {"lat": 50, "lon": 8, "radius_m": 9000, "view": "drone"}
        answer = await client.post("/localize", content=jpeg(1), params=prior)
        assert answer.status_code == 200
        assert (await client.post("/localize", content=b"x")).status_code == 415
        assert (await client.get("/nowhere/at/all")).status_code == 404
        return (await client.get("/metrics")).text


@pytest.mark.anyio
async def test_every_metric_is_there_and_counts(app) -> None:
    text = await scrape_after_a_request(app)
    for name in NAMES:
        assert f"\ncrossfix_{name}" in text, name
    assert 'crossfix_requests_total{route="/localize",status="200"} 1.0' in text
    assert 'crossfix_requests_total{route="/localize",status="415"} 1.0' in text
    assert 'crossfix_requests_total{route="unmatched",status="404"} 1.0' in text
    for stage in ("decode", "queue", "encode", "search", "estimate"):
        assert f'crossfix_stage_seconds_count{{stage="{stage}"}} 1.0' in text
    assert "crossfix_priors_total 1.0" in text
    assert "crossfix_ready 1.0" in text
    assert "crossfix_snapshot_tiles 16.0" in text
    assert "nowhere" not in text


@pytest.mark.anyio
async def test_two_apps_do_not_share_metrics(app, tmp_path) -> None:
    settings = make_world(tmp_path / "other").settings()
    other = create_app(settings, snapshot=load_snapshot(settings))
    await scrape_after_a_request(app)
    text = await scrape_after_a_request(other)
    assert 'crossfix_requests_total{route="/localize",status="200"} 1.0' in text


@pytest.mark.anyio
async def test_promtool_has_no_complaint(app) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian package `prometheus`)")
    text = await scrape_after_a_request(app)
    ours = "".join(line + "\n" for line in text.splitlines() if "crossfix_" in line)
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=ours, text=True, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")
