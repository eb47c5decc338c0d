"""The shipped unit under a real systemd: a Debian in a container, installed as the docs say."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service_world import jpeg, make_world

ROOT = Path(__file__).parents[2]
MAKE_IMAGE = ROOT / "deploy" / "systemd" / "make_test_image.sh"
PATIENCE_S = 180.0
CODE = ("crossfix", "index_builder", "sample_world", "service", "training", "deploy", "constraints")
FILES = ("pyproject.toml", "README.md", "LICENSE", "NOTICE", "THIRD_PARTY_LICENCES.md")
# What systemd needs to be process 1: its own cgroups (a namespace, so that those of the machine
# stay as they are) and mounts. More privileges than that it does not get.
RUN = (
    *("--cgroupns", "private", "--tmpfs", "/sys/fs/cgroup", "--tmpfs", "/run"),
    *("--tmpfs", "/run/lock", "--tmpfs", "/tmp:exec", "--cap-add", "SYS_ADMIN"),
    *("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
    *("--env", "container=docker", "--network", "none"),
)
UNIT = "crossfix@8001"
pytestmark = pytest.mark.slow


class Machine:
    """A container with systemd as process 1."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, script: str, *, check: bool = True) -> str:
        """What a shell of root said on stdout."""
        words = ["docker", "exec", self.name, "bash", "-ec", script]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not check, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    def put(self, source: Path, target: str) -> None:
        """Copies a file or folder there; it belongs to root."""
        words = ["docker", "cp", str(source), f"{self.name}:{target}"]
        subprocess.run(words, check=True, capture_output=True)

    def show(self, name: str, unit: str = UNIT) -> str:
        """A property of the unit."""
        return self.run(f"systemctl show --value --property {name} {unit}")

    def journal(self, unit: str = UNIT) -> str:
        """Everything the unit has written."""
        return self.run(f"journalctl --sync; journalctl --no-pager -o cat -u {unit}")

    def wait_until(self, condition: str) -> None:
        """Returns once the shell finds the condition true."""
        give_up = time.monotonic() + PATIENCE_S
        while not self.run(f"({condition}) >/dev/null 2>&1 && echo yes || true"):
            assert time.monotonic() < give_up, f"never: {condition}\n{self.journal()[-3000:]}"
            time.sleep(0.3)

    def wait_until_ready(self, port: int = 8001) -> None:
        self.wait_until(f"curl -fsS http://127.0.0.1:{port}/readyz")


@pytest.fixture(scope="module")
def image() -> str:
    """Made once for these pins and kept by the engine."""
    if missing := [name for name in ("docker", "debootstrap") if shutil.which(name) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("debootstrap needs root")
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        pytest.skip("no Docker engine answers")
    made_of = (MAKE_IMAGE, ROOT / "constraints" / "serve.txt", ROOT / "pyproject.toml")
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in made_of)).hexdigest()
    name = f"crossfix-systemd-test:{digest[:12]}"
    words = ["docker", "image", "inspect", name]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        made = subprocess.run([MAKE_IMAGE, name], capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr
    return name


def documented_commands() -> str:
    """The installation that docs/load_balancing.md gives, but without fetching packages."""
    text = (ROOT / "docs" / "load_balancing.md").read_text(encoding="utf-8")
    found = re.search(r"^## On one machine, with systemd$.*?```sh\n(.*?)```", text, re.M | re.S)
    assert found, "docs/load_balancing.md has no commands for systemd"
    commands, count = re.subn(
        r"^python3 -m venv (\S+) && .*$",
        r"\1/bin/pip install -q --no-index --no-deps --no-build-isolation .",
        found[1],
        flags=re.M,
    )
    assert count == 1
    return commands


@pytest.fixture(scope="module")
def machine(image, tmp_path_factory) -> Iterator[Machine]:
    """It runs what the docs say, for two tiny processes."""
    folder = tmp_path_factory.mktemp("systemd")
    name = f"crossfix-systemd-{uuid.uuid4().hex[:8]}"
    words = ["docker", "run", "--detach", "--name", name, *RUN, image, "/lib/systemd/systemd"]
    subprocess.run(words, check=True, capture_output=True)
    try:
        there = Machine(name)
        there.wait_until("systemctl is-system-running | grep -E 'running|degraded'")
        there.run("mkdir -p /root/crossfix /srv/crossfix/releases")
        for part in (*CODE, *FILES):
            there.put(ROOT / part, "/root/crossfix/")
        make_world(folder / "first")
        there.put(folder / "first", "/srv/crossfix/releases/first")
        (folder / "photo.jpg").write_bytes(jpeg(9))
        there.put(folder / "photo.jpg", "/root/photo.jpg")
        there.run("chown -R root:root /srv && ln -s first /srv/crossfix/releases/current")
        said = there.run(f"cd /root/crossfix\n{documented_commands()}")
        (key,) = re.findall(r"^crossfix_\S+$", said, re.M)
        there.run(f"echo {key} > /root/key")
        for port in (8001, 8002):
            there.wait_until_ready(port)
        yield there
    finally:
        subprocess.run(["docker", "rm", "--force", name], check=False, capture_output=True)


def localize(machine: Machine, port: int) -> dict:
    return json.loads(
        machine.run(
            'curl -sS --data-binary @/root/photo.jpg -H "Authorization: Bearer $(cat /root/key)" '
            f"-H 'Content-Type: image/jpeg' 'http://127.0.0.1:{port}/localize?view=drone'"
        )
    )


def test_each_process_and_the_proxy_answer_a_photo(machine) -> None:
    machine.wait_until("curl -fsS http://127.0.0.1:80/readyz")
    for port in (8001, 8002, 80):
        assert localize(machine, port)["matches"][0]["tile_id"] == "made-up/9"
    lines = [json.loads(line) for line in machine.journal().splitlines() if line[0] == "{"]
    assert {"start", "listening", "snapshot_live", "request"} <= {line["event"] for line in lines}


def test_a_killed_process_comes_back_by_itself(machine) -> None:
    before = machine.show("MainPID")
    machine.run(f"systemctl kill --signal KILL {UNIT}")
    machine.wait_until(f"[ $(systemctl show --value -p NRestarts {UNIT}) -gt 0 ]")
    machine.wait_until_ready()
    assert machine.show("MainPID") not in (before, "0")
    assert localize(machine, 8001)["matches"][0]["tile_id"] == "made-up/9"


def test_reload_is_understood_and_stop_is_clean(machine) -> None:
    before = machine.show("MainPID")
    machine.run(f"systemctl reload {UNIT}")
    assert machine.show("MainPID") == before
    assert '"event": "reload_asked"' in machine.journal()
    machine.run(f"systemctl stop {UNIT}")
    assert machine.show("Result") == "success"  # `timeout` if it had to be killed
    assert machine.show("ExecMainStatus") == "0"
    assert '"event": "stopped"' in machine.journal()
    machine.run(f"systemctl start {UNIT}")
    machine.wait_until_ready()


def test_a_gallery_that_comes_late_is_found_and_a_wrong_setting_is_not_tried_again(machine) -> None:
    machine.run("systemctl stop crossfix@8002; mv /srv/crossfix/releases /srv/crossfix/away")
    try:
        machine.run("systemctl start crossfix@8002")
        machine.wait_until("[ $(systemctl show --value -p NRestarts crossfix@8002) -gt 0 ]")
    finally:
        machine.run("mv /srv/crossfix/away /srv/crossfix/releases")
    machine.wait_until_ready(8002)
    assert "there is no encoder at" in machine.journal("crossfix@8002")

    machine.run("echo CROSSFIX_GALERY=/nowhere > /etc/crossfix/8002.env")
    machine.run("systemctl restart crossfix@8002")
    machine.wait_until("systemctl is-failed crossfix@8002")
    assert machine.show("NRestarts", "crossfix@8002") == "0"
    assert "the nearest is CROSSFIX_GALLERY" in machine.journal("crossfix@8002")

    machine.run("rm /etc/crossfix/8002.env; systemctl restart crossfix@8002")
    machine.wait_until_ready(8002)


def test_nothing_can_be_written_outside_its_folders(machine) -> None:
    """Tried as root, so that it is the unit that refuses, not a file's owner."""
    places = ("/srv/crossfix/releases", "/opt", "/etc", "/usr", "/var", "/root", "/home")
    own = ("/var/lib/crossfix", "/tmp", "/dev/shm")
    touch = "; ".join(f"touch {place}/x && echo wrote {place}" for place in (*places, *own))
    machine.run(
        "mkdir -p /etc/systemd/system/crossfix@9.service.d\n"
        "printf '[Service]\\nType=oneshot\\nUser=root\\nRestart=no\\nExecStart=\\n"
        f'ExecStart=/bin/sh -c "{touch}; true"\\n\' '
        "> /etc/systemd/system/crossfix@9.service.d/try.conf\n"
        "systemctl daemon-reload; systemctl start crossfix@9"
    )
    wrote = re.findall(r"^wrote (\S+)$", machine.journal("crossfix@9"), re.M)
    assert wrote == list(own)
    machine.run("! test -e /tmp/x")  # its /tmp is not ours
