"""What /metrics says is well-formed, complete, bounded, and counts what happened."""

import asyncio
import itertools
import shutil
import subprocess
from contextlib import asynccontextmanager

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from crossfix.errors import CrossfixError, InvalidParameter
from service import errors
from service.app import create_app
from service.galleries.snapshot import load_snapshot
from service.observing.metric_families import LAG_BUCKETS_S, MAP_QUEUE_FULL, STAGE_BUCKETS_S
from service.observing.metrics import Metrics, watch_loop_lag
from tests.service_world import jpeg, make_world

PRIOR = {"lat": 50, "lon": 8, "radius_m": 9000, "view": "drone"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def app(world):
    return create_app(world.settings(), snapshot=load_snapshot(world.settings()))


@asynccontextmanager
async def client_of(app):
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://x") as client,
    ):
        yield client


async def scrape_after_a_request(app) -> str:
    async with client_of(app) as client:
        answer = await client.post("/localize", content=jpeg(1), params=PRIOR)
        assert answer.status_code == 200
        assert (await client.post("/localize", content=b"x")).status_code == 415
        assert (await client.get("/nowhere/at/all")).status_code == 404
        return (await client.get("/metrics")).text


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value_of(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"crossfix_{name}", labels)


@pytest.mark.anyio
async def test_every_metric_is_there_and_counts(app) -> None:
    text = await scrape_after_a_request(app)
    for family in app.state.runtime.metrics.registry.collect():
        assert f"\n# HELP {family.name}" in "\n" + text, family.name
    assert 'crossfix_requests_total{route="/localize",status="200"} 1.0' in text
    assert 'crossfix_requests_total{route="/localize",status="415"} 1.0' in text
    assert 'crossfix_requests_total{route="unmatched",status="404"} 1.0' in text
    assert 'crossfix_errors_total{code="image_format_unsupported"} 1.0' in text
    for stage in ("decode", "queue", "encode", "search", "estimate"):
        assert f'crossfix_stage_seconds_count{{stage="{stage}"}} 1.0' in text
    for line in (
        'crossfix_answer_seconds_count{view="drone"} 1.0',
        'crossfix_top1_score_count{view="drone"} 1.0',
        'crossfix_top1_margin_count{view="drone"} 1.0',
        "crossfix_priors_total 1.0",
        "crossfix_ready 1.0",
        "crossfix_draining 0.0",
        "crossfix_snapshot_tiles 16.0",
        "crossfix_queue_limit 64.0",
        "crossfix_reload_failing 0.0",
        "crossfix_log_lines_lost_total 0.0",
        "crossfix_index_fallback 0.0",
        "crossfix_provider_fallback 0.0",
    ):
        assert "\n" + line in text, line
    assert 'crossfix_snapshot_info{embedding_space_id="' in text
    assert 'crossfix_disk_free_bytes{folder="gallery"}' in text
    assert value_of(app.state.runtime.metrics, "snapshot_bytes") > 1000
    assert "nowhere" not in text
    assert "_created" not in text


@pytest.mark.anyio
async def test_two_apps_do_not_share_metrics(app, world) -> None:
    other = create_app(world.settings(), snapshot=load_snapshot(world.settings()))
    await scrape_after_a_request(app)
    text = await scrape_after_a_request(other)
    assert 'crossfix_requests_total{route="/localize",status="200"} 1.0' in text


@pytest.mark.anyio
async def test_promtool_has_no_complaint(app) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian package `prometheus`)")
    checked = subprocess.run(
        [promtool, "check", "metrics"],
        input=await scrape_after_a_request(app),
        text=True,
        capture_output=True,
        check=False,
    )
    assert (checked.returncode, checked.stderr) == (0, "")


HOSTILE = [
    ("GET", "/tiles/%2e%2e%2f{n}"),
    ("GET", "/tiles/{n}?v={n}"),
    ("GET", "/gallery/jobs/{n}"),
    ("DELETE", "/gallery/jobs/{n}"),
    ("GET", "/map/{n}/1/1"),
    ("GET", "/static/{n}"),
    ("GET", "/{n}"),
    ("PROPFIND{n}", "/gallery"),
    ("POST", "/localize?view={n}"),
    ("POST", "/localize/batch?{n}=1"),
    ("POST", "/gallery/activate"),
    ("GET", "/metrics?{n}"),
]


@pytest.mark.anyio
async def test_nothing_a_caller_sends_becomes_a_series(app) -> None:
    async with client_of(app) as client:

        async def storm(seed: int) -> set[tuple[str, frozenset[tuple[str, str]]]]:
            for number in range(seed, seed + 20):
                for method, path in HOSTILE:
                    name = f"evil-{number}"
                    await client.request(
                        method.format(n=name),
                        path.format(n=name),
                        content=f'{{"version": "{name}"}}'.encode(),
                        headers={
                            "x-request-id": name,
                            "x-api-key": name,
                            "host": name,
                            "content-type": f"image/{name}",
                        },
                    )
            return set(samples((await client.get("/metrics")).text))

        first = await storm(0)
        assert await storm(1000) == first
        assert "evil" not in repr(first)


def every_error() -> list[CrossfixError]:
    return [
        InvalidParameter("x"),
        errors.Overloaded("x", reason="encode_queue_full", retry_after_s=1),
        errors.RateLimited("x", retry_after_s=1),
        errors.Unauthorized("x", reason="unknown"),
        errors.Forbidden("x", reason="scope"),
        errors.BodyTooLarge("x"),
        errors.UploadTooSlow("x"),
        errors.ClientGone("x"),
        errors.MalformedBody("x"),
    ]


def test_failures_are_counted_by_code_and_in_the_counter_of_their_kind() -> None:
    metrics = Metrics()
    for error in every_error():
        metrics.observe_request(route="/localize", status=400, seconds=0.01, error=error)
        assert value_of(metrics, "errors_total", code=error.code) == 1
    assert value_of(metrics, "rejected_total", reason="encode_queue_full") == 1
    crowded = errors.Overloaded("x", reason=MAP_QUEUE_FULL, retry_after_s=1.0)
    metrics.observe_failure(crowded)
    assert value_of(metrics, "map_tiles_rejected_total") == 1
    assert value_of(metrics, "rejected_total", reason=MAP_QUEUE_FULL) is None, "counts photos"
    assert value_of(metrics, "rate_limited_total") == 1
    assert value_of(metrics, "denied_total", reason="unknown") == 1
    assert value_of(metrics, "denied_total", reason="scope") == 1
    for code in ("body_too_large", "upload_too_slow", "client_gone", "body_malformed"):
        assert value_of(metrics, "upload_failures_total", code=code) == 1
    assert value_of(metrics, "requests_total", route="/localize", status="400") == 9


@given(name=st.text(max_size=20), pixels=st.integers(1, 10**9))
@settings(suppress_health_check=list(HealthCheck), max_examples=50)
def test_formats_that_we_do_not_read_are_one_series(name, pixels) -> None:
    metrics = Metrics()
    metrics.observe_photo(image_format=name, pixels=pixels)
    metrics.observe_photo(image_format="JPEG", pixels=2_000_000)
    assert value_of(metrics, "photo_formats_total", format="jpeg") >= 1
    formats = {sample.labels["format"] for sample in formats_of(metrics)}
    assert formats == {"jpeg", "png", "webp", "tiff", "heif"} | (formats & {"other"})


def formats_of(metrics: Metrics) -> list:
    families = metrics.registry.collect()
    family = next(one for one in families if one.name == "crossfix_photo_formats")
    return family.samples


def test_reloads_tell_whether_the_newest_version_was_refused() -> None:
    metrics = Metrics()
    metrics.observe_reload("gallery_corrupt")
    assert (metrics.last_reload_failure, value_of(metrics, "reload_failing")) == (
        "gallery_corrupt",
        1,
    )
    metrics.observe_reload("ok")
    assert (metrics.last_reload_failure, value_of(metrics, "reload_failing")) == ("", 0)
    assert value_of(metrics, "reload_results_total", result="gallery_corrupt") == 1


def test_buckets_tell_one_millisecond_from_half_a_minute() -> None:
    for buckets in (STAGE_BUCKETS_S, LAG_BUCKETS_S):
        assert min(buckets) <= 0.001
        assert list(buckets) == sorted(set(buckets))
    assert max(STAGE_BUCKETS_S) == 30
    ratios = [b / a for a, b in itertools.pairwise(STAGE_BUCKETS_S)]
    assert max(ratios) <= 3


@pytest.mark.anyio
async def test_many_scrapes_at_once_are_one_piece_of_work(app, monkeypatch) -> None:
    async with client_of(app) as client:
        metrics: Metrics = app.state.runtime.metrics
        rendered = 0
        render = metrics.render

        def count_and_render() -> bytes:
            nonlocal rendered
            rendered += 1
            return render()

        monkeypatch.setattr(metrics, "render", count_and_render)
        answers = await asyncio.gather(*(client.get("/metrics") for _ in range(40)))
        assert {answer.status_code for answer in answers} == {200}
        assert rendered < 40
        before = rendered
        await client.get("/metrics")
        assert rendered == before + 1


@pytest.mark.anyio
async def test_a_blocked_loop_shows() -> None:
    metrics = Metrics()
    task = asyncio.ensure_future(watch_loop_lag(metrics))
    await asyncio.sleep(0)
    blocked = asyncio.get_running_loop().time() + 0.5
    while asyncio.get_running_loop().time() < blocked:
        pass
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert value_of(metrics, "loop_lag_seconds_sum") >= 0.2


def test_free_disk_is_told_for_folders_that_do_not_exist_yet(world, tmp_path) -> None:
    metrics = Metrics()
    metrics.describe_settings(
        world.settings(jobs=tmp_path / "not" / "yet", keep_images=tmp_path / "photos")
    )
    for folder in ("gallery", "jobs", "keep_images"):
        assert value_of(metrics, "disk_free_bytes", folder=folder) > 0
