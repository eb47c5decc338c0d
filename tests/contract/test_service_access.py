"""Who may do what, through the real app: keys, scopes, loopback, proxies, rates, CORS, headers."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from fastapi import FastAPI
from starlette.responses import Response

from service.app import create_app
from service.guard.key_file import KeyFile, make_key, write_keys
from service.routes.access import Admin, MetricsReader, Reader
from service.settings import Settings

LOCAL, REMOTE = ("127.0.0.1", 40_000), ("203.0.113.9", 40_000)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> dict[str, str]:
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date()
    made = {
        "reader": make_key("reader", "localize"),
        "admin": make_key("admin", "admin"),
        "expired": make_key("expired", "admin", yesterday),
        "unknown": make_key("unknown", "admin"),
    }
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    kept = [record for name, (_, record) in made.items() if name != "unknown"]
    write_keys(path, KeyFile(keys=tuple(kept)))
    return {"file": str(path)} | {name: key for name, (key, _) in made.items()}


def make(tmp_path, **changes) -> FastAPI:
    """The app, nothing loaded, with one plain route of each kind beside its own."""
    app = create_app(Settings(encoder=tmp_path / "e", gallery=tmp_path / "g", **changes))

    @app.get("/try/read")
    async def read(caller: Reader) -> str:
        app.state.runtime.rate_limit.take(caller.rate_key)
        return f"{caller.name}|{caller.rate_key}"

    @app.post("/try/change")
    async def change(caller: Admin) -> str:
        return caller.name

    @app.get("/try/metrics")
    async def look(caller: MetricsReader) -> str:
        return caller.name

    return app


async def ask(app, method, path, *, client=LOCAL, host="localhost", **headers) -> httpx.Response:
    transport = httpx.ASGITransport(app, client=client)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as asking:
        return await asking.request(method, path, headers=named)


def bearer(key: str) -> str:
    return f"Bearer {key}"


@pytest.mark.anyio
async def test_without_a_keys_file_everybody_reads(tmp_path) -> None:
    app = make(tmp_path, host="0.0.0.0")
    answer = await ask(app, "GET", "/try/read", client=REMOTE, host="x")
    assert answer.json() == "|203.0.113.9"
    assert (await ask(app, "GET", "/try/metrics", client=REMOTE)).status_code == 200
    ignored = await ask(app, "GET", "/try/read", authorization=bearer("whatever"))
    assert ignored.status_code == 200


@pytest.mark.anyio
async def test_without_a_keys_file_changes_are_for_this_machine_alone(tmp_path) -> None:
    app = make(tmp_path)
    assert (await ask(app, "POST", "/try/change")).status_code == 200
    for refused in (
        {"client": REMOTE},
        {"host": "evil.example.org"},
        {"x_forwarded_for": "127.0.0.1"},
        {"origin": "https://evil.example.org"},
        {"sec_fetch_site": "cross-site"},
    ):
        answer = await ask(app, "POST", "/try/change", **refused)
        assert answer.status_code == 403, refused
        error = answer.json()["error"]
        assert error["code"] == "forbidden"
        assert "keys file" in error["hint"]
    everywhere = make(tmp_path, host="0.0.0.0")
    assert (await ask(everywhere, "POST", "/try/change")).status_code == 403


@pytest.mark.anyio
async def test_every_own_admin_route_refuses_a_foreign_page(tmp_path) -> None:
    app = make(tmp_path, rebuild_roots=(tmp_path,))
    for method, path in (
        ("POST", "/gallery/rebuild"),
        ("GET", "/gallery/jobs/a"),
        ("DELETE", "/gallery/jobs/a"),
        ("POST", "/gallery/activate"),
    ):
        answer = await ask(app, method, path, origin="https://evil.example.org")
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden"), path


@pytest.mark.anyio
async def test_scopes(tmp_path, keys) -> None:
    app = make(tmp_path, keys=keys["file"])
    for header in ("authorization", "x_api_key"):
        wrap = bearer if header == "authorization" else str
        read = await ask(app, "GET", "/try/read", client=REMOTE, **{header: wrap(keys["reader"])})
        assert read.json().startswith("reader|key:")
        admin = {header: wrap(keys["admin"])}
        assert (await ask(app, "GET", "/try/read", client=REMOTE, **admin)).status_code == 200
        changed = await ask(app, "POST", "/try/change", client=REMOTE, host="x", **admin)
        assert changed.json() == "admin"
        refused = await ask(app, "POST", "/try/change", **{header: wrap(keys["reader"])})
        assert refused.status_code == 403
        assert "scope admin" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({}, "missing"),
        ({"authorization": "Basic YTpi"}, "missing"),
        ({"authorization": "Bearer"}, "malformed"),
        ({"authorization": "Bearer hello"}, "malformed"),
        ({"x_api_key": ""}, "malformed"),
        ({"x_api_key": "crossfix_é"}, "malformed"),
        ({"authorization": "Bearer {reader}", "x_api_key": "{admin}"}, "malformed"),
        ({"authorization": "Bearer {unknown}"}, "unknown"),
        ({"x_api_key": "{unknown}"}, "unknown"),
        ({"x_api_key": "{expired}"}, "expired"),
    ],
)
@pytest.mark.anyio
async def test_wrong_keys_are_401_and_counted(tmp_path, keys, given, reason) -> None:
    app = make(tmp_path, keys=keys["file"])
    headers = {name: value.format(**keys).encode("latin-1") for name, value in given.items()}
    for method, path in (("GET", "/try/read"), ("POST", "/try/change")):
        answer = await ask(app, method, path, **headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert ("invalid_token" in answer.headers["www-authenticate"]) == (reason != "missing")
        assert answer.json()["error"]["code"] == "unauthorized"
        assert not any(key in answer.text for key in keys.values())
    text = app.state.runtime.metrics.render().decode()
    assert f'crossfix_denied_total{{reason="{reason}"}} 2.0' in text


@pytest.mark.anyio
async def test_every_own_reading_route_needs_a_key_and_the_open_ones_do_not(tmp_path, keys) -> None:
    app = make(tmp_path, keys=keys["file"])
    guarded = (
        ("POST", "/localize"),
        ("POST", "/localize/batch"),
        ("GET", "/gallery"),
        ("GET", "/encoder"),
        ("GET", "/tiles/a"),
        ("GET", "/map/1/0/0"),
        ("POST", "/gallery/activate"),
        ("POST", "/gallery/rebuild"),
        ("GET", "/gallery/jobs/a"),
    )
    for method, path in guarded:
        assert (await ask(app, method, path)).status_code == 401, path
    for path in ("/", "/livez", "/metrics", "/openapi.json", "/docs", "/page.json"):
        assert (await ask(app, "GET", path)).status_code == 200, path
    assert (await ask(app, "GET", "/readyz")).status_code == 503


@pytest.mark.anyio
async def test_reading_can_be_left_open_beside_keys(tmp_path, keys) -> None:
    app = make(tmp_path, keys=keys["file"], localize_key=False)
    assert (await ask(app, "GET", "/try/read")).json() == "|127.0.0.1"
    basic = await ask(app, "GET", "/try/read", authorization="Basic YTpi")
    assert basic.status_code == 200
    named = await ask(app, "GET", "/try/read", x_api_key=keys["reader"])
    assert named.json().startswith("reader|key:")
    assert (await ask(app, "GET", "/try/read", x_api_key=keys["unknown"])).status_code == 401
    assert (await ask(app, "POST", "/try/change")).status_code == 401, "loopback is no key"


@pytest.mark.anyio
async def test_metrics_may_need_any_key(tmp_path, keys) -> None:
    app = make(tmp_path, keys=keys["file"], metrics_key=True, localize_key=False)
    for path in ("/try/metrics", "/metrics"):
        assert (await ask(app, "GET", path)).status_code == 401
        for name in ("reader", "admin"):
            assert (await ask(app, "GET", path, x_api_key=keys[name])).status_code == 200


@pytest.mark.anyio
async def test_the_log_names_the_key_and_never_shows_it(tmp_path, keys, caplog) -> None:
    app = make(tmp_path, keys=keys["file"])
    with caplog.at_level("INFO", logger="service"):
        await ask(app, "GET", "/try/read", x_api_key=keys["reader"])
    line = next(r for r in caplog.records if r.name == "service.request")
    assert line.fields["caller"] == "reader"
    assert keys["reader"] not in str([vars(r) for r in caplog.records])


@pytest.mark.anyio
async def test_rates_are_per_key_and_say_when_to_come_back(tmp_path, keys) -> None:
    app = make(tmp_path, keys=keys["file"], rate_per_minute=1, rate_burst=2)
    for _ in range(2):
        assert (await ask(app, "GET", "/try/read", x_api_key=keys["reader"])).status_code == 200
    refused = await ask(app, "GET", "/try/read", x_api_key=keys["reader"])
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "rate_limited"
    assert 59 <= int(refused.headers["retry-after"]) <= 60
    assert (await ask(app, "GET", "/try/read", x_api_key=keys["admin"])).status_code == 200


@pytest.mark.anyio
async def test_rates_are_per_address_without_keys(tmp_path) -> None:
    app = make(tmp_path, host="0.0.0.0", rate_per_minute=1, rate_burst=1)
    for client in (LOCAL, REMOTE):
        assert (await ask(app, "GET", "/try/read", client=client)).status_code == 200
        assert (await ask(app, "GET", "/try/read", client=client)).status_code == 429


@pytest.mark.anyio
async def test_cors_is_off_by_default(tmp_path) -> None:
    answer = await ask(make(tmp_path), "GET", "/livez", origin="https://example.org")
    assert not [name for name in answer.headers if name.startswith("access-control")]
    preflight = await ask(
        make(tmp_path),
        "OPTIONS",
        "/localize",
        origin="https://example.org",
        access_control_request_method="POST",
    )
    assert preflight.status_code == 405
    assert not [name for name in preflight.headers if name.startswith("access-control")]


@pytest.mark.anyio
async def test_cors_for_named_origins(tmp_path, keys) -> None:
    app = make(tmp_path, cors_origins="https://example.org", keys=keys["file"])
    answer = await ask(app, "GET", "/try/read", origin="https://example.org")
    assert answer.status_code == 401, "pages read why they were refused"
    assert answer.headers["access-control-allow-origin"] == "https://example.org"
    assert "access-control-allow-credentials" not in answer.headers
    exposed = answer.headers["access-control-expose-headers"].lower()
    assert all(name in exposed for name in ("x-request-id", "server-timing", "retry-after"))
    assert "Origin" in answer.headers["vary"]
    other = await ask(app, "GET", "/livez", origin="https://evil.example.org")
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.anyio
async def test_preflights(tmp_path) -> None:
    app = make(tmp_path, cors_origins="https://example.org")
    asked = {
        "access_control_request_method": "POST",
        "access_control_request_headers": "authorization, x-api-key, content-type, x-request-id",
    }
    granted = await ask(app, "OPTIONS", "/localize", origin="https://example.org", **asked)
    assert granted.status_code == 200
    assert granted.headers["access-control-allow-origin"] == "https://example.org"
    refused = await ask(app, "OPTIONS", "/localize", origin="https://evil.example.org", **asked)
    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "origin_not_allowed"
    assert refused.json()["error"]["request_id"] == refused.headers["x-request-id"]
    assert "access-control-allow-origin" not in refused.headers


HARDENING = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "strict-origin-when-cross-origin",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/livez"),
        ("GET", "/nowhere"),
        ("PUT", "/localize"),
        ("POST", "/localize"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("GET", "/docs"),
        ("HEAD", "/livez"),
        ("OPTIONS", "/localize"),
    ],
)
@pytest.mark.anyio
async def test_hardening_headers_are_on_every_answer(tmp_path, method, path) -> None:
    answer = await ask(make(tmp_path), method, path)
    assert HARDENING.items() <= dict(answer.headers).items()
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["permissions-policy"]
    assert answer.headers["cache-control"]
    assert answer.headers["x-request-id"]
    assert "server" not in answer.headers
    for name in (*HARDENING, "content-security-policy", "cache-control", "x-request-id"):
        assert len(answer.headers.get_list(name)) == 1, name
    if answer.status_code >= 400:
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.anyio
async def test_what_needs_a_key_is_not_for_shared_caches(tmp_path, keys) -> None:
    for changes, word in (({"keys": keys["file"]}, "private"), ({}, "public")):
        app = make(tmp_path, **changes)

        @app.get("/try/cached")
        async def cached() -> Response:
            return Response("x", headers={"Cache-Control": "public, max-age=9"})

        answer = await ask(app, "GET", "/try/cached")
        assert answer.headers["cache-control"] == f"{word}, max-age=9"


@pytest.mark.anyio
async def test_the_document_describes_the_keys(tmp_path) -> None:
    document = (await ask(make(tmp_path), "GET", "/openapi.json")).json()
    assert set(document["components"]["securitySchemes"]) == {"apiKeyBearer", "apiKeyHeader"}
    operation = document["paths"]["/gallery/rebuild"]["post"]
    assert operation["security"] == [{}, {"apiKeyBearer": []}, {"apiKeyHeader": []}]
    assert {"401", "403"} <= set(operation["responses"])


@pytest.mark.anyio
async def test_with_a_trusted_proxy_changing_needs_keys(tmp_path) -> None:
    app = make(tmp_path, trusted_proxies="127.0.0.1")
    answer = await ask(app, "POST", "/try/change")
    assert answer.status_code == 403
    assert "trusted_proxies" in answer.json()["error"]["message"]


@pytest.mark.anyio
async def test_pages_of_allowed_origins_may_read_answers(tmp_path) -> None:
    for origins, policy in (((), "same-origin"), (("https://example.org",), "cross-origin")):
        app = make(tmp_path, cors_origins=origins)
        answer = await ask(app, "GET", "/try/read", origin="https://example.org")
        assert answer.headers.get_list("cross-origin-resource-policy") == [policy]


@pytest.mark.anyio
async def test_whoever_refuses_gzip_gets_none(tmp_path) -> None:
    app = make(tmp_path)
    for accepted, coding in (("gzip;q=0", None), ("gzip", "gzip"), ("br, *;q=0.5", "gzip")):
        answer = await ask(app, "GET", "/", accept_encoding=accepted)
        assert answer.headers.get("content-encoding") == coding
