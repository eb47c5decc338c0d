"""The proxies' and systemd's files: their programs understand them, and they fit the service."""

import re
import shutil
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from benchmarks.proxied_service import SHIPPED, SHIPPED_PORTS, haproxy_command, nginx_command
from benchmarks.proxied_service import program as find
from service.http.body_limit import JSON_BODY_BYTES, MULTIPART_OVERHEAD_BYTES
from service.http.connection_guard import HEAD_S
from service.routes.jobs import ORDER_BYTES
from service.server import KEEP_ALIVE_S
from service.settings import Settings

DEPLOY = SHIPPED.parent
HAPROXY = (SHIPPED / "haproxy.cfg").read_text(encoding="utf-8")
NGINX = (SHIPPED / "nginx.conf").read_text(encoding="utf-8")
UNIT = (DEPLOY / "systemd" / "crossfix@.service").read_text(encoding="utf-8")
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0}


def default(name: str) -> float:
    return Settings.model_fields[name].default


def haproxy_s(words: str) -> float:
    """The time that follows these words."""
    (found,) = re.findall(rf"^ *{words} (\d+)(ms|s|m)\b", HAPROXY, re.M)[:1]
    return int(found[0]) * SECONDS[found[1]]


def nginx_s(text: str, name: str) -> float:
    found = re.search(rf"\b{name} (\d+)(s|m);", text)
    assert found, name
    return int(found[1]) * SECONDS[found[2]]


def nginx_location(head: str) -> str:
    found = re.search(rf"^    location {re.escape(head)} {{$(.*?)^    }}$", NGINX, re.M | re.S)
    assert found, head
    return found[1]


def test_haproxy_understands_its_file(tmp_path) -> None:
    if find("haproxy") is None:
        pytest.skip("haproxy is not installed (Debian package `haproxy`)")
    words = haproxy_command(tmp_path, ports=SHIPPED_PORTS, port=8080, metrics_port=8405)
    done = subprocess.run([*words, "-c"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower()


def test_nginx_understands_its_file(tmp_path) -> None:
    if find("nginx") is None:
        pytest.skip("nginx is not installed (Debian package `nginx`)")
    words = nginx_command(tmp_path, ports=SHIPPED_PORTS, port=8080, metrics_port=0)
    done = subprocess.run([*words, "-t"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr


def test_bodies_may_be_as_long_as_for_the_service() -> None:
    single = int(default("max_body_bytes")) + MULTIPART_OVERHEAD_BYTES
    batch = int(default("max_batch_body_bytes")) + MULTIPART_OVERHEAD_BYTES
    assert f"acl too_long req.hdr(Content-Length) -m int gt {single}\n" in HAPROXY
    assert f"acl too_long_batch req.hdr(Content-Length) -m int gt {batch}\n" in HAPROXY
    for head, size in (("= /localize", single), ("= /localize/batch", batch)):
        # The same: what does not fit into memory would go to a file.
        for directive in ("client_max_body_size", "client_body_buffer_size"):
            assert f"{directive} {size};" in nginx_location(head)
    admin = nginx_location("~ ^/gallery/(rebuild|jobs|activate)")
    assert f"client_max_body_size {ORDER_BYTES};" in admin
    assert f"client_max_body_size {JSON_BODY_BYTES};" in NGINX


def test_proxies_wait_longer_than_the_service_and_keep_connections_shorter() -> None:
    answer_s, upload_s = default("deadline_s"), default("upload_s")
    at_once = default("max_batch_body_bytes") // default("max_body_bytes")
    rounds = -(-default("batch_limit") // at_once)
    assert haproxy_s("timeout server") > upload_s + answer_s
    assert haproxy_s("timeout client") > upload_s
    assert haproxy_s("http-request wait-for-body time") == upload_s
    assert haproxy_s("timeout http-request") == HEAD_S
    assert haproxy_s("http-request set-timeout server") > rounds * answer_s
    assert nginx_s(NGINX, "proxy_read_timeout") > answer_s
    assert nginx_s(nginx_location("= /localize/batch"), "proxy_read_timeout") > rounds * answer_s
    assert nginx_s(NGINX[: NGINX.index("server {")], "keepalive_timeout") < KEEP_ALIVE_S
    assert nginx_s(NGINX, "client_header_timeout") == HEAD_S


def test_haproxy_notices_a_draining_process_before_it_is_gone() -> None:
    check = re.search(r"inter (\d+)s fastinter (\d+)ms downinter \d+ms fall (\d+)", HAPROXY)
    assert check
    worst_s = int(check[1]) + int(check[2]) / 1000 * (int(check[3]) - 1)
    assert worst_s < default("drain_s")


def test_only_what_changes_nothing_is_asked_twice() -> None:
    _, photos, admin = re.split(r"^backend ", HAPROXY, flags=re.M)
    assert "retry-on conn-failure empty-response" in photos
    assert "retry-on" not in admin
    assert "disable-l7-retry" in admin
    assert "proxy_next_upstream off;" in nginx_location("~ ^/gallery/(rebuild|jobs|activate)")
    assert NGINX.count("non_idempotent;") == 2
    for head in ("= /localize", "= /localize/batch"):
        assert "non_idempotent;" in nginx_location(head)


def test_systemd_gives_a_process_the_time_it_takes_to_stop() -> None:
    stop_s = int(re.search(r"^TimeoutStopSec=(\d+)$", UNIT, re.M)[1])
    assert stop_s > default("drain_s") + default("shutdown_s") + 10


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed (Debian package `systemd`)")
    unit = tmp_path / "crossfix@8001.service"
    unit.write_text(UNIT.replace("/opt/crossfix/bin/python", shutil.which("python3")))
    words = ["systemd-analyze", "--man=no", "verify", str(unit)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_upgrade_script_is_plain_sh_and_refuses_to_stop_the_only_process() -> None:
    script = SHIPPED / "rolling_upgrade.sh"
    assert subprocess.run(["sh", "-n", str(script)], check=False).returncode == 0
    done = subprocess.run([str(script), "8001"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "two processes or more" in done.stderr


def test_the_upgrade_script_restarts_nothing_while_one_is_not_ready(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    done = subprocess.run(
        [str(SHIPPED / "rolling_upgrade.sh"), "1", "2"],
        env={"PATH": "/usr/bin:/bin", "RESTART": f"touch {tmp_path}/restarted"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "port 1 is not ready" in done.stderr
    assert not list(tmp_path.iterdir())


class _Ready(BaseHTTPRequestHandler):
    """Ready until the folder has a file of its port's name."""

    folder: Path

    def do_GET(self) -> None:
        gone = (self.folder / str(self.server.server_port)).exists()
        self.send_response(503 if gone else 200)
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: object) -> None:
        pass


def test_the_upgrade_script_stops_at_a_process_that_does_not_come_back(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    handler = type("Handler", (_Ready,), {"folder": tmp_path})
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for _ in range(2)]
    for server in servers:
        Thread(target=server.serve_forever, daemon=True).start()
    ports = [str(server.server_port) for server in servers]
    settings = {"PATIENCE_S": "1", "RESTART": f"touch {tmp_path}/{{port}}"}
    try:
        done = subprocess.run(
            [str(SHIPPED / "rolling_upgrade.sh"), *ports],
            env={"PATH": "/usr/bin:/bin", **settings},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
    assert done.returncode == 1
    assert f"port {ports[0]} is not ready after 1 s" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ports[:1]


def test_onnx_runtime_reports_nothing_from_the_units_processes() -> None:
    assert "\nEnvironment=ORT_DISABLE_TELEMETRY=1\n" in UNIT
