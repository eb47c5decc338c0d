"""The log: one JSON object per line whatever is sent, and a broken stdout stops nobody."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfix.errors import InvalidParameter
from service.errors import DeadlineExceeded
from service.logs.log import JsonFormatter, log_request, log_start
from service.logs.log_writer import LineWriter, WriterHandler
from service.settings import Settings

ROOT = Path(__file__).parents[2]
TEXTS = st.text(st.characters()) | st.text('\n\r\x00\x1b\x7f\x85\u2028\u2029\x9b"\\{}')


def line_of(message: str, name: str = "service.event", **extra: object) -> str:
    record = logging.makeLogRecord({"name": name, "msg": message, "levelname": "INFO", **extra})
    return JsonFormatter().format(record)


@given(message=TEXTS, name=TEXTS, value=TEXTS)
def test_a_line_is_one_line_of_printable_ascii_that_says_what_was_given(
    message, name, value
) -> None:
    line = line_of(message, fields={"x" + name: value})
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["event"] == message
    assert json.loads(line)["x" + name] == value


def test_fields_cannot_pass_for_what_the_log_itself_says() -> None:
    line = json.loads(line_of("request", fields={"event": "forged", "level": "x", "time": "y"}))
    assert (line["event"], line["level"]) == ("request", "info")
    assert line["time"] != "y"


def test_numbers_that_json_lacks_and_endless_texts_are_made_harmless() -> None:
    fields = {"a": float("nan"), "b": [float("inf"), 1.5], "c": "x" * 100_000, "d": object()}
    line = line_of("event", fields=fields)
    assert json.loads(line, parse_constant=pytest.fail)["a"] is None
    assert json.loads(line)["b"] == [None, 1.5]
    assert len(line) < 5000


def scope(**state: object) -> dict[str, object]:
    return {
        "type": "http",
        "method": "POST",
        "path": "/tiles/secret",
        "query_string": b"lat=50.0012345",
        "headers": [(b"x-file-name", b"secret.jpg")],
        "route": SimpleNamespace(path="/tiles/{tile_id}"),
        "state": {"request_id": "r1", **state},
    }


def logged(caplog, scope: dict[str, object], status: int) -> dict[str, object]:
    with caplog.at_level(logging.INFO, "service.request"):
        log_request(scope, status=status, seconds=0.0123)
    line = JsonFormatter().format(caplog.records[-1])
    assert "secret" not in line
    assert "0012345" not in line
    return json.loads(line)


def test_a_request_says_route_status_time_caller_trace_and_what_its_route_adds(caplog) -> None:
    caller = SimpleNamespace(name="phone app", rate_key="key:0123456789ab")
    found = logged(
        caplog, scope(caller=caller, trace_id="f" * 32, log={"bytes": 7, "stage_ms": {}}), 200
    )
    assert found == {
        "time": found["time"],
        "level": "info",
        "event": "request",
        "request_id": "r1",
        "method": "POST",
        "route": "/tiles/{tile_id}",
        "status": 200,
        "duration_ms": 12.3,
        "trace_id": "f" * 32,
        "caller": "phone app",
        "bytes": 7,
        "stage_ms": {},
    }


def test_errors_give_their_code_and_only_our_own_faults_their_reason(caplog) -> None:
    theirs = logged(caplog, scope(error=InvalidParameter("no lat 50.0012345 here")), 422)
    assert (theirs["error"], "reason" in theirs) == ("parameter_invalid", False)
    ours = logged(caplog, scope(error=DeadlineExceeded("no answer within 10 s")), 504)
    assert (ours["error"], ours["reason"]) == ("deadline_exceeded", "no answer within 10 s")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_probes_are_told_only_when_they_go_wrong(caplog, path) -> None:
    probe = {**scope(), "route": SimpleNamespace(path=path)}
    with caplog.at_level(logging.INFO, "service.request"):
        log_request(probe, status=200, seconds=0.001)
    assert caplog.records == []
    assert logged(caplog, probe, 503)["route"] == path


def test_methods_are_words_of_the_standard(caplog) -> None:
    assert logged(caplog, {**scope(), "method": "<script>"}, 405)["method"] == "other"


def test_the_start_is_told_with_every_setting_and_no_secret(caplog) -> None:
    settings = Settings(
        encoder=Path("e"),
        gallery=Path("g"),
        map_url="https://tiles.example/{z}/{x}/{y}?token=secret",
        map_attribution="somebody",
        otlp_endpoint="https://user:secret@collector.example:4318/v1/traces",
    )
    with caplog.at_level(logging.INFO, "service.event"):
        log_start(settings)
    line = JsonFormatter().format(caplog.records[-1])
    assert "secret" not in line
    told = json.loads(line)
    assert set(Settings.model_fields) <= set(told)
    assert (told["event"], told["map_url"]) == ("start", "https://tiles.example")
    assert told["otlp_endpoint"] == "https://collector.example"


def lost_after(writer: LineWriter, lines: int) -> int:
    """Writes lines and closes; how many were lost."""
    for number in range(lines):
        writer.put(f"line {number}")
    writer.close()
    return writer.lost


def test_lines_arrive_whole_and_in_order() -> None:
    reading, writing = os.pipe()
    assert lost_after(LineWriter(writing), 500) == 0
    os.close(writing)
    with os.fdopen(reading) as pipe:
        assert pipe.read().splitlines() == [f"line {number}" for number in range(500)]


def test_a_closed_pipe_costs_lines_and_nothing_else() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    assert lost_after(LineWriter(writing), 50) == 50
    os.close(writing)


def test_a_full_disk_costs_lines_and_nothing_else() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    assert lost_after(LineWriter(full), 50) == 50
    os.close(full)


def test_without_a_stdout_lines_are_lost_rather_than_written_elsewhere() -> None:
    assert lost_after(LineWriter(-1), 3) == 3


def test_a_reader_that_stalls_stops_nobody_and_is_told_what_it_missed() -> None:
    reading, writing = os.pipe()
    writer = LineWriter(writing, queue_lines=10)
    for number in range(2000):  # far more than the pipe and the queue hold
        writer.put(f"{number} " + "x" * 1000)
    assert writer.lost > 1000
    lost = writer.lost
    received = b""
    while b"log_lines_lost" not in received:
        received += os.read(reading, 1 << 16)
        writer.put("and on")
    writer.close()
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        received += pipe.read()
    lines = received.decode().splitlines()
    told = next(json.loads(line) for line in lines if "log_lines_lost" in line)
    assert told["lines_lost"] >= lost
    assert all(line.endswith("x" * 1000) or line == "and on" or line[0] == "{" for line in lines)


def test_what_cannot_be_formatted_is_a_lost_line_and_no_error() -> None:
    class Unspeakable:
        def __str__(self) -> str:
            raise RuntimeError

    handler = WriterHandler(LineWriter(-1))
    handler.setFormatter(JsonFormatter())
    fields = {"x": Unspeakable()}
    handler.handle(logging.makeLogRecord({"msg": "x", "fields": fields}))
    handler.close()
    assert handler.writer.lost == 1


SCRIPT = """
import logging, sys, warnings
from service.logs.log import EVENTS, configure_logging
configure_logging()
EVENTS.info("first", extra={"fields": {"x": 1}})
logging.getLogger("somebody").warning("theirs")
logging.getLogger("somebody").info("too quiet")
logging.getLogger("python_multipart.multipart").warning("quotes bytes of a body")
warnings.warn("careful", UserWarning)
EVENTS.info("last")
print("done", file=sys.stderr)
"""


def run_script(stdout: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_process_writes_its_last_line_before_it_ends() -> None:
    done = run_script(subprocess.PIPE)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["event"] for line in lines][:2] == ["first", "theirs"]
    assert "careful" in lines[2]["event"]
    assert lines[-1]["event"] == "last"
    assert len(lines) == 4
    assert (done.returncode, done.stderr) == (0, "done\n")


def test_a_process_whose_stdout_is_gone_or_full_ends_well() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    reading, closed = os.pipe()
    os.close(reading)
    for stdout in (full, closed):
        done = run_script(stdout)
        assert (done.returncode, done.stderr) == (0, "done\n")
        os.close(stdout)


def test_a_process_whose_stdout_is_never_read_ends_soon() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(writing, True)
    assert run_script(writing).returncode == 0  # within run_script's patience
    os.close(reading)
    os.close(writing)


def test_lines_after_the_end_are_counted_as_lost_and_not_kept() -> None:
    reading, writing = os.pipe()
    writer = LineWriter(writing)
    assert lost_after(writer, 1) == 0
    assert lost_after(writer, 3) == 3
    os.close(writing)
    os.close(reading)
