"""Every failure answers {"error": {"code", "message", "hint", "request_id"}} and nothing more."""

import inspect
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from crossfix import errors as contract
from service import errors
from service.app import create_app
from service.settings import Settings

# What JSON can carry and UTF-8 cannot.
HALF_A_CHARACTER = "\ud800"
SECRET = "/srv/secret/weights.onnx"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def app() -> FastAPI:
    """Not started, so nothing is loaded; with routes that fail in their own ways."""
    app = create_app(Settings(encoder=Path("none"), gallery=Path("none")))

    @app.get("/fails/unforeseen")
    async def fail_unforeseen() -> None:
        raise ZeroDivisionError(SECRET)

    @app.get("/fails/corrupt")
    async def fail_corrupt() -> None:
        raise contract.EncoderCorrupt(f"{SECRET} is damaged")

    @app.get("/fails/wordy")
    async def fail_wordy() -> None:
        raise contract.InvalidParameter(HALF_A_CHARACTER + "word " * 10_000, hint="x" * 10_000)

    @app.post("/takes/json")
    async def take_json(body: dict[str, int]) -> int:
        return len(body)

    return app


async def ask(app: FastAPI, method: str, path: str, **options) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        return await client.request(method, path, **options)


CASES = [
    ("GET", "/nowhere", 404, "not_found"),
    ("DELETE", "/localize", 405, "method_not_allowed"),
    ("POST", "/localize?k=0", 422, "parameter_invalid"),
    ("POST", "/localize", 503, "not_ready"),
    ("GET", "/readyz", 503, "not_ready"),
    ("GET", "/gallery", 503, "not_ready"),
    ("GET", "/encoder", 503, "not_ready"),
    ("GET", "/tiles/a", 503, "not_ready"),
    ("POST", "/gallery/", 404, "not_found"),
    ("BREW", "/localize", 405, "method_not_allowed"),
    ("TRACE", "/gallery", 405, "method_not_allowed"),
    ("OPTIONS", "/localize", 405, "method_not_allowed"),
    ("POST", "/livez", 405, "method_not_allowed"),
    ("GET", "/fails/unforeseen", 500, "internal_error"),
    ("GET", "/fails/corrupt", 500, "internal_error"),
]


@pytest.mark.parametrize(("method", "path", "status", "code"), CASES)
@pytest.mark.anyio
async def test_one_shape_for_every_failure(app, method, path, status, code) -> None:
    response = await ask(app, method, path, headers={"X-Request-Id": "abc-1"})
    assert response.status_code == status
    assert list(response.json()) == ["error"]
    error = response.json()["error"]
    assert list(error) == ["code", "message", "hint", "request_id"]
    assert error["code"] == code
    assert error["message"]
    assert error["request_id"] == response.headers["x-request-id"] == "abc-1"
    assert SECRET not in response.text
    assert "ZeroDivision" not in response.text
    assert ("retry-after" in response.headers) == (status == 503)


@pytest.mark.anyio
async def test_the_trace_is_in_the_log_only(app, caplog) -> None:
    with caplog.at_level(logging.ERROR, logger="service.request"):
        response = await ask(app, "GET", "/fails/unforeseen")
    record = next(r for r in caplog.records if r.exc_info)
    assert record.fields["request_id"] == response.json()["error"]["request_id"]


@pytest.mark.anyio
async def test_messages_are_short_and_can_always_be_sent(app) -> None:
    response = await ask(app, "GET", "/fails/wordy")
    assert response.status_code == 422
    error = response.json()["error"]
    assert error["message"].startswith("?word ")
    assert len(error["message"]) == len(error["hint"]) == 500


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "body_malformed"),
        (b'{"a": "x"}', 422, "parameter_invalid"),
        (b'{"\\ud800": "x"}', 422, "parameter_invalid"),
        (b'{"a": "\xff"}', 400, "body_malformed"),
        (b"[" * 60_000, 400, "body_malformed"),
        (b" " * 65_537, 413, "body_too_large"),
    ],
)
@pytest.mark.anyio
async def test_json_bodies(app, body, status, code) -> None:
    headers = {"Content-Type": "application/json"}
    response = await ask(app, "POST", "/takes/json", content=body, headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


async def in_chunks(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b" " * 1000


@pytest.mark.anyio
async def test_chunked_bodies_are_bounded_too(app) -> None:
    headers = {"Content-Type": "application/json"}
    response = await ask(app, "POST", "/takes/json", content=in_chunks(70), headers=headers)
    assert response.status_code == 413


@pytest.mark.parametrize("length", ["²", "-5", "+5", "1e3", "9" * 5000, "", "0x10"])
@pytest.mark.anyio
async def test_odd_content_lengths_do_no_harm(app, length) -> None:
    headers = [(b"content-length", length.encode("latin-1")), (b"content-type", b"text/plain")]
    response = await ask(app, "POST", "/localize", headers=headers)
    assert response.status_code in (413, 503)
    assert list(response.json()) == ["error"]


@pytest.mark.anyio
async def test_head_is_get_without_the_body(app) -> None:
    for path in ("/livez", "/", "/openapi.json", "/readyz", "/nowhere"):
        got, head = await ask(app, "GET", path), await ask(app, "HEAD", path)
        assert head.status_code == got.status_code, path
        assert head.content == b""
        assert head.headers["content-type"] == got.headers["content-type"]
    assert (await ask(app, "HEAD", "/localize")).status_code == 405


@pytest.mark.parametrize(
    "query", ["k=%FF%FE", "view=%ED%A0%80", "%00=%00", "k=1&k=2", "=&=&;;&&", "k=" + "9" * 5000]
)
@pytest.mark.anyio
async def test_odd_queries_are_no_500(app, query) -> None:
    for method, path in (("POST", "/localize"), ("GET", "/tiles/a"), ("GET", "/livez")):
        response = await ask(app, method, f"{path}?{query}")
        assert response.status_code in (200, 422, 503)
        assert response.headers["x-request-id"]


@pytest.mark.parametrize("host", ["", "a b", "[::", "x:99999999", "é".encode().decode("latin-1")])
@pytest.mark.anyio
async def test_odd_hosts_are_no_500(app, host) -> None:
    for path in ("/", "/livez", "/gallery/", "/openapi.json", "/page.json"):
        response = await ask(app, "GET", path, headers=[(b"host", host.encode("latin-1"))])
        assert response.status_code < 500
        assert "location" not in response.headers


@pytest.mark.anyio
async def test_strange_request_ids_are_replaced(app) -> None:
    for strange in ("a b", "x" * 65, '"}', ""):
        response = await ask(app, "GET", "/livez", headers={"X-Request-Id": strange})
        assert response.headers["x-request-id"] != strange
        assert len(response.headers["x-request-id"]) == 32


def all_errors() -> list[type[contract.CrossfixError]]:
    modules = (contract, errors)
    return [
        kind
        for module in modules
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, contract.CrossfixError) and kind.__module__ == module.__name__
    ]


def test_every_error_has_a_status_and_a_code_of_its_own() -> None:
    kinds = all_errors()
    assert len(kinds) > 20
    assert len({kind.code for kind in kinds}) == len(kinds)
    for kind in kinds:
        wanted = inspect.signature(kind).parameters
        arguments = {
            name: value
            for name, value in {"reason": "x", "retry_after_s": 1.0}.items()
            if name in wanted
        }
        assert 400 <= errors.status_of(kind("found", **arguments)) <= 504


def test_only_what_the_service_words_itself_is_shown_with_a_5xx() -> None:
    shown = {kind for kind, status in errors.STATUS_OF.items() if status > 500}
    assert shown == {
        errors.NotReady,
        errors.Overloaded,
        errors.DeadlineExceeded,
        errors.ShardsLost,
    }
