"""The small programs of the images: health check, requirements, this machine's pip."""

import http.server
import importlib.util
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "deploy" / "containers"


def load(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Answering(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(self.server.answer if self.path == "/readyz" else 404)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.HTTPServer(("127.0.0.1", 0), Answering) as one:
        one.answer = 200
        thread = threading.Thread(target=one.serve_forever)
        thread.start()
        yield one
        one.shutdown()
        thread.join()


def health(**environment):
    return subprocess.run(
        [sys.executable, "-I", "-S", FOLDER / "healthcheck.py"],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
def test_a_ready_service_is_healthy_at_the_port_it_was_given(server, host) -> None:
    said = health(CROSSFIX_HOST=host, CROSSFIX_PORT=str(server.server_port))
    assert (said.returncode, said.stdout) == (0, "ready\n")


def test_a_service_that_is_not_ready_is_unhealthy(server) -> None:
    server.answer = 503
    said = health(CROSSFIX_PORT=str(server.server_port))
    assert (said.returncode, said.stdout) == (1, "/readyz answers 503\n")


def test_no_proxy_is_asked(server) -> None:
    said = health(CROSSFIX_PORT=str(server.server_port), http_proxy="http://127.0.0.1:9")
    assert said.returncode == 0, said.stdout


def test_nobody_listening_is_unhealthy_and_one_sentence(server) -> None:
    port = server.server_port
    server.shutdown()
    server.server_close()
    said = health(CROSSFIX_PORT=str(port))
    assert said.returncode == 1
    assert said.stdout.startswith(f"no answer from 127.0.0.1 port {port}: ")
    assert not said.stderr


def test_requirements_are_the_projects_own_and_the_extras_each_once(tmp_path) -> None:
    (tmp_path / "p.toml").write_text(
        '[project]\ndependencies = ["b>=1"]\n'
        '[project.optional-dependencies]\none = ["A[x]>=2", "b>=1"]\ntwo = ["c"]\n'
    )
    read = load("requirements_of").requirements_of
    assert read(tmp_path / "p.toml", ["one"]) == ["A[x]>=2", "b>=1"]
    with pytest.raises(SystemExit, match="no extra 'three'; it has one, two"):
        read(tmp_path / "p.toml", ["one", "three"])


def test_the_environment_overrides_pips_files(tmp_path) -> None:
    pip = load("this_machines_pip")
    listing = (
        f":env:.default-timeout='180'\n:env:.find-links='{tmp_path}'\n"
        "global.find-links='/nowhere'\nglobal.disable-pip-version-check='1'\n"
        "global.index-url='http://127.0.0.1/simple'\n"
    )
    assert pip.settings_of(listing) == {
        "timeout": "180",
        "find-links": str(tmp_path),
        "index-url": "http://127.0.0.1/simple",
    }


def test_folders_on_this_disk_become_volumes_with_what_lies_beside_an_index(tmp_path) -> None:
    (tmp_path / "index" / "simple").mkdir(parents=True)
    (tmp_path / "wheels").mkdir()
    settings = {
        "extra-index-url": f"file://{tmp_path}/index/simple http://127.0.0.1/simple",
        "find-links": f"{tmp_path}/wheels /nowhere",
    }
    assert load("this_machines_pip").volumes_of(settings) == [
        f"{tmp_path}/{name}:{tmp_path}/{name}:ro" for name in ("index", "wheels")
    ]


def test_a_build_without_volumes_keeps_addresses_and_sees_the_certificates_elsewhere() -> None:
    settings = {
        "cert": "/etc/ssl/certs/ca-certificates.crt",
        "extra-index-url": "file:///srv/simple http://127.0.0.1/simple",
        "find-links": "/srv/wheels",
        "timeout": "180",
    }
    pip = load("this_machines_pip")
    assert pip.without_folders(settings) == {
        "cert": "/etc/pip-certificates.pem",
        "extra-index-url": "http://127.0.0.1/simple",
        "timeout": "180",
    }
    dockerfile = (FOLDER.parents[1] / "Dockerfile").read_text(encoding="utf-8")
    assert f"id=pip_certificates,target={pip.CERTIFICATES}" in dockerfile


def test_layers_of_an_archive_are_counted_from_the_base_upwards(tmp_path) -> None:
    layers = {"b.tar": b"x" * 700, "a.tar": b"y" * 300}
    listing = json.dumps([{"Layers": ["a.tar", "b.tar"]}]).encode()
    with tarfile.open(tmp_path / "image.tar", "w") as archive:
        for name, content in {**layers, "manifest.json": listing}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    assert load("local_images").layer_bytes_of(tmp_path / "image.tar") == [300, 700]
