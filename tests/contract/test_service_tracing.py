"""Traces as a collector receives them: true times, standard attributes, nothing about places."""

import json
import logging
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

pytest.importorskip("opentelemetry.sdk", reason="the extra `otel` is not installed")

from crossfix.errors import InvalidParameter
from service.observing.tracing import Tracing
from tests.otlp_receiver import Receiver, attributes_of, receive
from tests.service_world import jpeg, make_world, serve

ROOT = Path(__file__).parents[2]
STAGES = {"decode", "prepare", "encode", "search", "estimate"}
WAITS = {"decode_queue", "encode_queue", "search_queue"}  # which of them depends on the device
TRACE_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PRIOR = {"view": "drone", "lat": 50.0012345, "lon": 8.0012345, "radius_m": 7654.321}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


def localize(base: str, **headers: str) -> httpx.Response:
    files = {"image": ("holiday-in-secret.jpg", jpeg(1), "image/jpeg")}
    return httpx.post(f"{base}/localize", files=files, params=PRIOR, headers=headers)


def test_a_photo_is_a_server_span_with_its_stages_and_true_times(world) -> None:
    with receive() as collector, serve(world.settings(otlp_endpoint=collector.url)) as base:
        before_ns = time.time_ns()
        answer = localize(base, traceparent=f"00-{TRACE_ID}-{PARENT_ID}-01")
        after_ns = time.time_ns()
        assert answer.status_code == 200
        span = collector.wait_for("POST /localize")
        check_server_span(span, answer)
        assert before_ns <= span.start_time_unix_nano <= after_ns
        stages = [one for one in collector.spans if one.parent_span_id == span.span_id]
        check_stages(span, stages)
        assert collector.resources[0]["service.name"] == "crossfix"


def check_server_span(span, answer: httpx.Response) -> None:
    assert span.trace_id.hex() == TRACE_ID
    assert span.parent_span_id.hex() == PARENT_ID
    assert span.kind == span.SPAN_KIND_SERVER
    found = attributes_of(span)
    expected = {
        "http.request.method": "POST",
        "http.route": "/localize",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "server.address": "127.0.0.1",
        "crossfix.request_id": answer.headers["x-request-id"],
        "crossfix.gallery_version": "v1",
    }
    assert {key: found[key] for key in expected} == expected
    for secret in (b"0012345", b"7654", b"radius_m", b"holiday"):
        assert secret not in span.SerializeToString()


def check_stages(span, stages: list) -> None:
    assert STAGES < {stage.name for stage in stages} <= STAGES | WAITS
    assert len(stages) == len({stage.name for stage in stages})
    for stage in stages:
        assert stage.trace_id == span.trace_id
        assert span.start_time_unix_nano <= stage.start_time_unix_nano
        assert stage.start_time_unix_nano <= stage.end_time_unix_nano <= span.end_time_unix_nano
    starts = {stage.name: stage.start_time_unix_nano for stage in stages}
    assert starts["decode"] <= starts["prepare"] <= starts["encode"] <= starts["search"]


def test_the_log_line_names_the_trace(world, caplog) -> None:
    with (
        caplog.at_level(logging.INFO, "service.request"),
        receive() as collector,
        serve(world.settings(otlp_endpoint=collector.url)) as base,
    ):
        localize(base)
        span = collector.wait_for("POST /localize")
    lines = [record.fields for record in caplog.records if record.name == "service.request"]
    photo = next(line for line in lines if line["route"] == "/localize")
    assert photo["trace_id"] == span.trace_id.hex()


def test_failures_are_marked_and_strange_words_of_callers_are_not_repeated(world) -> None:
    with receive() as collector, serve(world.settings(otlp_endpoint=collector.url)) as base:
        httpx.post(f"{base}/localize", content=b"no image")
        httpx.request("PROPFIND", f"{base}/coffee/with/milk?lat=50.0012345")
        refused = collector.wait_for("POST /localize")
        strange = collector.wait_for("HTTP")
    assert attributes_of(refused)["http.response.status_code"] == 415
    assert attributes_of(refused)["crossfix.error_code"] == "image_format_unsupported"
    assert refused.status.code == refused.status.STATUS_CODE_UNSET  # the caller's fault, not ours
    assert attributes_of(strange)["http.request.method"] == "_OTHER"
    for word in (b"PROPFIND", b"coffee", b"0012345"):
        assert word not in strange.SerializeToString()


def test_the_share_holds_and_a_callers_own_decision_goes_before_it(world) -> None:
    with (
        receive() as collector,
        serve(world.settings(otlp_endpoint=collector.url, trace_share=0.0)) as base,
    ):
        for _ in range(5):
            assert localize(base).status_code == 200
        assert localize(base, traceparent=f"00-{TRACE_ID}-{PARENT_ID}-01").status_code == 200
        collector.wait_for("POST /localize")
    servers = [span for span in collector.spans if span.kind == span.SPAN_KIND_SERVER]
    assert [span.trace_id.hex() for span in servers] == [TRACE_ID]


@pytest.mark.parametrize("header", ["", "00-zz-zz-01", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
def test_a_malformed_traceparent_begins_a_trace_of_its_own(world, header) -> None:
    with receive() as collector, serve(world.settings(otlp_endpoint=collector.url)) as base:
        state = ",".join(f"k{number}={'v' * 300}" for number in range(60))
        assert localize(base, traceparent=header, tracestate=state).status_code == 200
        span = collector.wait_for("POST /localize")
    assert span.parent_span_id == b""
    assert span.trace_state == ""


@pytest.mark.parametrize("behaviour", ["fail", "hang", "absent"])
def test_a_collector_that_fails_hangs_or_is_absent_hurts_nobody(world, behaviour) -> None:
    with receive(behaviour if behaviour != "absent" else "take") as collector:
        url = collector.url if behaviour != "absent" else "http://127.0.0.1:9/v1/traces"
        with serve(world.settings(otlp_endpoint=url)) as base:
            for _ in range(3):
                assert localize(base).status_code == 200
            if behaviour != "absent":
                assert collector.asked.wait(20)
            assert localize(base).status_code == 200
    assert collector.spans == []


@pytest.mark.parametrize("endpoint", ["localhost:4318", "ftp://host/", "http://", "http://[::1"])
def test_what_is_no_address_is_refused_at_once(world, endpoint) -> None:
    with pytest.raises((InvalidParameter, ValidationError), match="otlp_endpoint"):
        Tracing(world.settings(otlp_endpoint=endpoint))


def run_without_otel(world, *flags: str) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys; sys.modules['opentelemetry.sdk'] = None\n"
        "from service.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    paths = ("--encoder", str(world.encoder_path), "--gallery", str(world.gallery_path))
    return subprocess.run(
        [sys.executable, "-c", code, *paths, "--port", "0", "--device", "cpu", *flags],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_an_endpoint_without_the_extra_is_one_sentence_and_exit_1(world) -> None:
    done = run_without_otel(world, "--otlp-endpoint", "http://127.0.0.1:4318/v1/traces")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "OpenTelemetry is not installed" in done.stderr
    assert "crossfix[otel]" in done.stderr
    assert not [line for line in done.stdout.splitlines() if "trace" in json.loads(line)]


def test_without_an_endpoint_no_part_of_the_extra_is_imported() -> None:
    code = (  # FastAPI itself imports OpenTelemetry's bare interface
        "import sys\nfrom pathlib import Path\n"
        "from service.app import create_app\nfrom service.settings import Settings\n"
        "create_app(Settings(encoder=Path('e'), gallery=Path('g')))\n"
        "sys.exit(bool({'opentelemetry.sdk', 'opentelemetry.exporter'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_probes_are_not_traced(world) -> None:
    with receive() as collector, serve(world.settings(otlp_endpoint=collector.url)) as base:
        for path in ("livez", "readyz", "metrics"):
            assert httpx.get(f"{base}/{path}").status_code == 200
        assert httpx.get(f"{base}/gallery").status_code == 200
        collector.wait_for("GET /gallery")
    assert names(collector) == {"GET /gallery"}


def names(collector: Receiver) -> set[str]:
    return {span.name for span in collector.spans}
