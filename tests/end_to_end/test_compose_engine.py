"""docker-compose.yml on a real Docker engine: started, asked, killed, changed and taken away.

Images are built here, or `COMPOSE_IMAGE_TAG` names the tag of finished ones (`crossfix-serve:TAG`
and `crossfix-ray:TAG`).
"""

import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.service_world import jpeg, make_world
from tests.sharded_world import SHARDS, make_sharded_world

ROOT = Path(__file__).parents[2]
IMAGES = {
    name: service["image"]
    for name, service in yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))[
        "services"
    ].items()
}
GIVEN = "COMPOSE_IMAGE_TAG"
PATIENCE_S = 300.0
UP = ("up", "--detach", "crossfix")
KILL_ALL = ("sh", "-c", "kill -9 -1")  # all but docker-init, which then ends with 137
pytestmark = pytest.mark.slow


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


def wait_until(look: Callable[[], Any]) -> Any:
    """The first thing seen that is true; a failed connection is nothing seen."""
    give_up = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up:
        try:
            if found := look():
                return found
        except (httpx.TransportError, ValueError):
            pass
        time.sleep(0.3)
    raise AssertionError(f"not seen in {PATIENCE_S:g} s")


@dataclass
class Project:
    """One Compose project with a name and ports of its own, and no `.env`."""

    variables: dict[str, str]
    empty: Path
    name: str = field(default_factory=lambda: f"crossfix-test-{uuid.uuid4().hex[:8]}")

    def compose(self, *words: str, **changes: str) -> str:
        given = {"GRAFANA_ADMIN_PASSWORD": "unused", **self.variables, **changes}
        files = ("--env-file", str(self.empty), "-f", "docker-compose.yml", "-p", self.name)
        done = run("docker", "compose", *files, *words, **given)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def inspect(self, service: str) -> dict[str, Any]:
        (one,) = self.inspect_all(service)
        return one

    def inspect_all(self, service: str) -> list[dict[str, Any]]:
        names = self.compose("--profile", "ray", "ps", "--all", "--quiet", service).split()
        return yaml.safe_load(run("docker", "inspect", *names).stdout)

    def url(self, port: str) -> str:
        return f"http://127.0.0.1:{self.variables[port]}"

    def locate(self, photo: bytes, port: str = "PUBLISH_PORT", **headers: str) -> dict[str, Any]:
        answer = httpx.post(
            f"{self.url(port)}/localize?view=drone", content=photo,
            headers={"Content-Type": "image/jpeg", **headers}, timeout=30.0,
        )  # fmt: skip
        return answer.json() if answer.status_code == 200 else {}

    def left(self) -> dict[str, list[str]]:
        """Containers, networks and volumes that bear the project's name."""
        label = f"label=com.docker.compose.project={self.name}"
        kinds = {"container": ["--all"], "network": [], "volume": []}
        return {
            kind: run("docker", kind, "ls", *more, "--quiet", "--filter", label).stdout.split()
            for kind, more in kinds.items()
        }


@contextmanager
def project(folder: Path, tag: str, encoder: Path, **variables: str) -> Iterator[Project]:
    (folder / "empty.env").touch()
    ports = ("PUBLISH_PORT", "RAY_PUBLISH_PORT", "PROMETHEUS_PORT")
    owner = {"RUN_AS": f"{os.getuid()}:{os.getgid()}"} if os.getuid() else {}
    one = Project(
        {
            **{name: free_port() for name in ports}, **owner, **variables,
            "IMAGE_TAG": tag, "ENCODER_FOLDER": str(encoder), "CROSSFIX_DRAIN_S": "0.5",
        },
        folder / "empty.env",
    )  # fmt: skip
    try:
        yield one
    finally:
        one.compose("--profile", "ray", "down", "--volumes", "--timeout", "20")


def is_there(image: str) -> bool:
    return run("docker", "image", "inspect", image).returncode == 0


def images_of(target: str) -> Iterator[str]:
    """The tag of an image that is there, or is built and taken away again."""
    if shutil.which("docker") is None or run("docker", "info").returncode:
        pytest.skip("no Docker engine answers here")
    if run("docker", "compose", "version").returncode:
        pytest.skip("docker has no plugin `compose` (Compose v2)")
    if tag := os.environ.get(GIVEN):
        if not is_there(f"crossfix-{target}:{tag}"):
            pytest.skip(f"{GIVEN} is {tag}, and there is no image crossfix-{target}:{tag}")
        yield tag
        return
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        pytest.skip(f"a build needs root and debootstrap; {GIVEN} names finished images")
    script = str(ROOT / "deploy" / "containers" / "build.sh")
    base, tag = is_there("crossfix-base:bookworm"), f"test-{uuid.uuid4().hex[:8]}"
    done = run(script, "--with", "docker", "--this-machines-pip", "--tag", tag, target)
    assert done.returncode == 0, done.stderr[-3000:]
    yield tag
    run("docker", "rmi", f"crossfix-{target}:{tag}", *([] if base else ["crossfix-base:bookworm"]))


@pytest.fixture(scope="module")
def serve_tag() -> Iterator[str]:
    yield from images_of("serve")


@pytest.fixture(scope="module")
def ray_tag() -> Iterator[str]:
    yield from images_of("ray")


@pytest.fixture(scope="module")
def running(serve_tag, tmp_path_factory) -> Iterator[Project]:
    """The service, and Prometheus where its image is."""
    folder = tmp_path_factory.mktemp("compose")
    world = make_world(folder)
    gallery = {"GALLERY_VOLUME": str(world.gallery_path)}
    with project(folder, serve_tag, world.encoder_path, **gallery) as one:
        services = ["crossfix", *(["prometheus"] if is_there(IMAGES["prometheus"]) else [])]
        one.compose("up", "--detach", "--wait", "--wait-timeout", "300", *services)
        yield one


def test_a_photo_sent_to_the_published_port_is_located(running) -> None:
    assert running.locate(jpeg(9))["matches"][0]["tile_id"] == "made-up/9"
    assert running.inspect("crossfix")["State"]["Health"]["Status"] == "healthy"


def test_the_engine_holds_the_container_to_what_the_file_says(running) -> None:
    host = running.inspect("crossfix")["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert (host["Memory"], host["PidsLimit"]) == (4 << 30, 1024)
    assert {one["HostIp"] for one in host["PortBindings"]["8000/tcp"]} == {"127.0.0.1"}
    try_all = "id -u; for at in / /data /data/gallery /data/keys /opt /tmp; do touch $at/x; done"
    said = running.compose("exec", "-T", "crossfix", "sh", "-c", f"({try_all}) 2>&1")
    uid, *refused = said.splitlines()
    assert uid != "0"
    assert len(refused) == 5  # all but /tmp
    assert all("Read-only file system" in line for line in refused)


def test_prometheus_finds_the_service_by_its_name_and_knows_the_rules(running) -> None:
    if not is_there(IMAGES["prometheus"]):
        pytest.skip(f"no image {IMAGES['prometheus']} here")
    api = f"{running.url('PROMETHEUS_PORT')}/api/v1"

    def up() -> dict[str, str]:
        targets = httpx.get(f"{api}/targets").json()["data"]["activeTargets"]
        health = {one["labels"]["instance"]: one["health"] for one in targets}
        return health if set(health.values()) == {"up"} else {}

    assert set(wait_until(up)) == {"crossfix:8000", "localhost:9090"}
    groups = httpx.get(f"{api}/rules").json()["data"]["groups"]
    rules = yaml.safe_load((ROOT / "deploy" / "alerts.yml").read_text("utf-8"))["groups"]
    assert {one["name"] for one in groups} == {one["name"] for one in rules}
    assert {rule["health"] for group in groups for rule in group["rules"]} <= {"ok", "unknown"}


def test_a_changed_setting_arrives_with_the_next_up(running) -> None:
    running.compose(*UP, CROSSFIX_DEFAULT_K="3")
    assert len(wait_until(lambda: running.locate(jpeg(9)))["matches"]) == 3
    running.compose(*UP)
    assert len(wait_until(lambda: running.locate(jpeg(9)))["matches"]) == 10


def test_a_service_that_is_killed_comes_back_by_itself(running) -> None:
    before = running.inspect("crossfix")["RestartCount"]
    run("docker", "exec", running.inspect("crossfix")["Id"], *KILL_ALL)
    wait_until(lambda: running.inspect("crossfix")["RestartCount"] == before + 1)
    assert wait_until(lambda: running.locate(jpeg(9)))["matches"][0]["tile_id"] == "made-up/9"


def test_a_stop_ends_the_service_and_not_by_force(running) -> None:
    wait_until(lambda: running.locate(jpeg(9)))
    running.compose("stop", "crossfix")
    assert running.inspect("crossfix")["State"]["ExitCode"] == 0
    assert '"event": "stopped"' in running.compose("logs", "--tail", "3", "crossfix")
    running.compose(*UP)


def test_keys_are_made_in_a_volume_that_only_their_owner_reads(running) -> None:
    create = ("create", "--file", "/data/keys/keys.json", "--name", "phone", "--scope", "localize")
    key = running.compose("run", "--rm", "-T", "keys", *create).split()[-1]
    assert key.startswith("crossfix_")
    assert "phone" in running.compose("run", "--rm", "-T", "keys")
    running.compose(*UP, CROSSFIX_KEYS="/data/keys/keys.json")
    answer = wait_until(lambda: running.locate(jpeg(9), **{"X-Api-Key": key}))
    assert answer["matches"][0]["tile_id"] == "made-up/9"
    assert running.locate(jpeg(9)) == {}  # 401 without a key
    mode = running.compose("exec", "-T", "crossfix", "stat", "-c", "%a", "/data/keys/keys.json")
    assert mode.strip() == "600"


def test_down_with_volumes_leaves_nothing(serve_tag, tmp_path) -> None:
    world = make_world(tmp_path)
    gallery = {"GALLERY_VOLUME": str(world.gallery_path)}
    with project(tmp_path, serve_tag, world.encoder_path, **gallery) as one:
        one.compose("up", "--detach", "crossfix")
        assert all(one.left().values())
        one.compose("down", "--volumes", "--timeout", "20")
        assert one.left() == {"container": [], "network": [], "volume": []}


def test_a_killed_ray_worker_costs_its_shards_until_it_is_back(ray_tag, tmp_path) -> None:
    world = make_sharded_world(tmp_path, 1)
    sharded = {
        "RAY_GALLERY_VOLUME": str(world.root), "RAY_AUTH_TOKEN": uuid.uuid4().hex * 2,
        "RAY_WORKER_CPUS": "1",  # room for two of the four shards
    }  # fmt: skip
    with project(tmp_path, ray_tag, tmp_path / "encoder", **sharded) as one:
        one.compose("--profile", "ray", "up", "--detach", "crossfix-ray", "ray-worker")

        def answered(count: int) -> dict[str, Any]:
            answer = one.locate(jpeg(105), "RAY_PUBLISH_PORT")
            return answer if answer.get("gallery", {}).get("shards_answered") == count else {}

        whole = wait_until(lambda: answered(SHARDS))
        assert whole["matches"][0]["tile_id"] == "v1/5"
        assert not whole["warnings"]
        run("docker", "exec", one.inspect_all("ray-worker")[0]["Id"], *KILL_ALL)
        assert "partial" in wait_until(lambda: answered(SHARDS // 2))["warnings"][0]
        again = wait_until(lambda: answered(SHARDS))
        assert again["matches"] == whole["matches"]
        assert not again["warnings"]
