"""Every status that the service answers failures with, through the real app, in the one shape."""

import asyncio
import io

import httpx
import pytest
from PIL import Image

from service.app import create_app
from service.errors import JobRunning
from service.galleries.snapshot import load_snapshot
from service.guard.key_file import KeyFile, make_key, write_keys
from tests.service_world import World, jpeg, make_world

JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


async def ask(world: World, method: str, path: str, *, given=None, **options) -> httpx.Response:
    """One request to an app of its own with a loaded gallery."""
    settings = world.settings(**(given or {}))
    app = create_app(settings, snapshot=load_snapshot(settings))

    @app.post("/fails/busy")
    async def fail_busy() -> None:
        raise JobRunning("a rebuild is running", hint="wait")

    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        answer = await client.request(method, path, **options)
        if answer.status_code == 200:
            answer = await client.request(method, path, **options)
    return answer


def check(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert list(answer.json()) == ["error"]
    assert list(answer.json()["error"]) == ["code", "message", "hint", "request_id"]
    assert answer.json()["error"]["message"]
    assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["cache-control"] == "no-store"
    assert ("retry-after" in answer.headers) == (status in (429, 503))
    assert ("www-authenticate" in answer.headers) == (status == 401)
    assert ("allow" in answer.headers) == (status == 405)


def big_picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (2000, 2000)).save(buffer, "PNG")
    return buffer.getvalue()


CASES = [
    (400, "image_empty", "POST", "/localize", {"headers": JPEG, "content": b""}, {}),
    (
        400,
        "body_malformed",
        "POST",
        "/localize",
        {"headers": {"Content-Type": "multipart/form-data"}, "content": b"x"},
        {},
    ),
    (403, "forbidden", "POST", "/gallery/activate", {"headers": {"Origin": "http://x"}}, {}),
    (404, "not_found", "GET", "/nowhere", {}, {}),
    (404, "tile_not_found", "GET", "/tiles/none", {}, {}),
    (405, "method_not_allowed", "PUT", "/localize", {"content": b"x"}, {}),
    (409, "job_running", "POST", "/fails/busy", {}, {}),
    (
        413,
        "body_too_large",
        "POST",
        "/localize",
        {"headers": JPEG, "content": bytes(100_000)},
        {"max_body_bytes": 1024},
    ),
    (
        413,
        "body_too_large",
        "POST",
        "/gallery/rebuild",
        {"headers": {"Content-Type": "application/json"}, "content": bytes(210_000)},
        {"rebuild_roots": "."},
    ),
    (
        413,
        "image_too_large",
        "POST",
        "/localize",
        {"content": big_picture()},
        {"max_pixels": 1_000_000},
    ),
    (
        415,
        "body_type_unsupported",
        "POST",
        "/localize",
        {"headers": {"Content-Type": "text/html"}, "content": b"x"},
        {},
    ),
    (415, "image_format_unsupported", "POST", "/localize", {"content": b"GIF89a"}, {}),
    (422, "image_unreadable", "POST", "/localize", {"content": jpeg(1)[:300]}, {}),
    (422, "parameter_invalid", "POST", "/localize?k=0", {"content": jpeg(1)}, {}),
    (422, "parameter_invalid", "POST", "/localize?nonsense=1", {"content": jpeg(1)}, {}),
    (
        429,
        "rate_limited",
        "POST",
        "/localize?view=drone",
        {"content": jpeg(1)},
        {"rate_per_minute": 1, "rate_burst": 1},
    ),
    (
        504,
        "deadline_exceeded",
        "POST",
        "/localize?view=drone",
        {"content": jpeg(1)},
        {"deadline_s": 1e-6},
    ),
]


@pytest.mark.parametrize(
    ("status", "code", "method", "path", "options", "given"),
    CASES,
    ids=[f"{case[0]} {case[1]}" for case in CASES],
)
@pytest.mark.anyio
async def test_failures(world, status, code, method, path, options, given) -> None:
    check(await ask(world, method, path, given=given, **options), status, code)


@pytest.mark.anyio
async def test_401_and_403_with_keys(world, tmp_path) -> None:
    key, record = make_key("reader", "localize")
    path = tmp_path / "keys.json"
    write_keys(path, KeyFile(keys=(record,)))
    given = {"keys": path}
    check(await ask(world, "POST", "/localize", given=given), 401, "unauthorized")
    options = {"headers": {"X-Api-Key": key}}
    refused = await ask(world, "POST", "/gallery/activate", given=given, **options)
    check(refused, 403, "forbidden")


@pytest.mark.parametrize("path", ["/localize", "/localize/batch", "/gallery/activate"])
@pytest.mark.anyio
async def test_408_when_a_body_stalls(world, path) -> None:
    kind = "application/json" if "activate" in path else "multipart/form-data; boundary=b"

    async def stalled():
        yield b"--b\r\n"
        await asyncio.sleep(60)

    options = {"headers": {"Content-Type": kind}, "content": stalled()}
    check(
        await ask(world, "POST", path, given={"upload_s": 0.1}, **options), 408, "upload_too_slow"
    )


@pytest.mark.anyio
async def test_503_before_anything_is_loaded(world) -> None:
    app = create_app(world.settings())
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        for method, path in (("POST", "/localize"), ("GET", "/readyz"), ("GET", "/gallery")):
            check(await client.request(method, path), 503, "not_ready")


@pytest.mark.parametrize("path", ["/localize", "/localize/batch", "/gallery/activate"])
@pytest.mark.anyio
async def test_who_leaves_while_sending_is_a_499_and_no_trace(world, caplog, path) -> None:
    settings = world.settings()
    app = create_app(settings, snapshot=load_snapshot(settings))
    kind = b"application/json" if "activate" in path else b"multipart/form-data; boundary=b"
    messages = [{"type": "http.request", "body": b"--b", "more_body": True}]
    sent = []

    async def receive():
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", kind)],
        "client": ("127.0.0.1", 1),
    }
    async with app.router.lifespan_context(app):
        await app(scope, receive, send)
    assert sent[0]["status"] == 499
    assert not [record for record in caplog.records if record.exc_info]
