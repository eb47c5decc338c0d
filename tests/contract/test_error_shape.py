"""Every failure answers {"error": {"code", "message", "hint", "request_id"}} and nothing more."""

import inspect
import logging
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from crossfix import errors as contract
from service import errors
from service.app import create_app
from service.settings import Settings

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
        arguments = {"reason": "x", "retry_after_s": 1.0} if kind is errors.Overloaded else {}
        assert 400 <= errors.status_of(kind("found", **arguments)) <= 504


def test_only_what_the_service_words_itself_is_shown_with_a_5xx() -> None:
    shown = {kind for kind, status in errors.STATUS_OF.items() if status > 500}
    assert shown == {errors.NotReady, errors.Overloaded, errors.DeadlineExceeded}
