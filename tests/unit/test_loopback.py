"""Which requests surely come from this machine: DNS rebinding and foreign pages do not."""

import pytest
from starlette.datastructures import Headers

from service.loopback import is_loopback, why_not_local


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.200.3.4", "::1", "[::1]", "localhost", "LocalHost", "::ffff:127.0.0.1"],
)
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "0.0.0.0",
        "::",
        "10.0.0.1",
        "localhost.example.org",
        "127.0.0.1.example.org",
        "::ffff:10.0.0.1",
        "127.1x",
        "2130706433",
    ],
)
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def why(client: str = "127.0.0.1", **headers: str) -> str:
    named = {"host": "localhost:8000", **{k.replace("_", "-"): v for k, v in headers.items()}}
    return why_not_local(client, Headers(headers=named))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": "127.0.0.1"},
        {"host": "[::1]:8000"},
        {"host": "LOCALHOST:8000"},
        {"origin": "http://localhost:8000", "sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "none"},
    ],
)
def test_programs_and_the_services_own_page_are_local(headers) -> None:
    assert why(**headers) == ""


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"client": "10.0.0.9"}, "another machine"),
        ({"client": ""}, "another machine"),
        ({"x_forwarded_for": "127.0.0.1"}, "proxy"),
        ({"x_forwarded_host": "localhost"}, "proxy"),
        ({"forwarded": "for=127.0.0.1"}, "proxy"),
        ({"via": "1.1 x"}, "proxy"),
        ({"x_real_ip": "127.0.0.1"}, "proxy"),
        ({"cf_ray": "1"}, "proxy"),
        ({"true_client_ip": "127.0.0.1"}, "proxy"),
        ({"cdn_loop": "x"}, "proxy"),
        ({"x_envoy_external_address": "127.0.0.1"}, "proxy"),
        ({"x_original_host": "x"}, "proxy"),
        ({"x_amzn_trace_id": "x"}, "proxy"),
        ({"host": "evil.example.org:8000"}, "Host"),
        ({"host": ""}, "Host"),
        ({"host": "localhost:8000@evil.example.org"}, "Host"),
        ({"host": "localhost:8000/x"}, "Host"),
        ({"host": "localhost.evil.example.org"}, "Host"),
        ({"origin": "http://evil.example.org"}, "web page"),
        ({"origin": "null"}, "web page"),
        ({"origin": "http://localhost:3000"}, "web page"),
        ({"origin": "https://localhost:8000"}, "web page"),
        ({"sec_fetch_site": "cross-site"}, "web page"),
        ({"sec_fetch_site": "same-site"}, "web page"),
    ],
)
def test_all_others_are_not(headers, words) -> None:
    assert words in why(**headers)


def test_two_host_headers_are_no_host() -> None:
    raw = [(b"host", b"localhost"), (b"host", b"evil.example.org")]
    assert "Host" in why_not_local("127.0.0.1", Headers(raw=raw))
    assert "Host" in why_not_local("127.0.0.1", Headers(raw=[]))


def test_http_1_0_is_what_proxies_speak() -> None:
    local = Headers(headers={"host": "127.0.0.1:8000", "connection": "close"})
    assert "HTTP/1.0" in why_not_local("127.0.0.1", local, http_version="1.0")
