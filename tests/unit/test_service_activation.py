"""POST /gallery/activate: what goes live, what is refused and why; a kill harms nothing."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from crossfix.encoder import Encoder
from crossfix.gallery import Gallery, current_version
from crossfix.gallery_versions import list_versions, locked, make_live
from service.app import create_app
from service.errors import JobRunning, NotReady, VersionNotFound, VersionUnusable
from service.galleries import snapshot as holding
from service.galleries import snapshot_activation
from service.galleries.snapshot import SnapshotHolder, load_snapshot
from tests.service_world import World, make_world, publish_gallery, serve
from tests.swap_world import publish_marked
from tests.tiny_encoder import write_tiny_encoder


@pytest.fixture
def world(tmp_path) -> World:
    """Versions v1 to v3, the last one live."""
    world = make_world(tmp_path)
    for number in (1, 2, 3):
        shutil.rmtree(world.gallery_path / "versions" / f"v{number}", ignore_errors=True)
        publish_marked(world.gallery_path, world.encoder, number)
    return world


@pytest.fixture
def base(world: World):
    with serve(world.settings(reload_interval_s=3600)) as url:
        yield url


def activate(base: str, version: object = "nothing") -> httpx.Response:
    body = None if version == "nothing" else {"version": version}
    return httpx.post(f"{base}/gallery/activate", json=body, timeout=30)


def live(base: str) -> str:
    return httpx.get(f"{base}/readyz").json()["gallery_version"]


def test_a_version_goes_live_here_and_on_disk(world: World, base: str) -> None:
    answer = activate(base, "v1")
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["old_version"], told["version"], told["tiles"]) == ("v3", "v1", 16)
    assert told["encoder"]["name"] == "tiny"
    assert told["encoder_changed"] is False
    assert told["load_s"] > 0
    assert (live(base), current_version(world.gallery_path)) == ("v1", "v1")
    metrics = httpx.get(f"{base}/metrics").text
    assert 'crossfix_reload_results_total{result="ok"} 1.0' in metrics
    assert 'crossfix_activations_total{result="ok"} 1.0' in metrics
    assert 'gallery_version="v1"' in metrics


@pytest.mark.parametrize("version", [None, "nothing"])
def test_without_a_name_the_one_before_comes_back(world: World, base: str, version) -> None:
    for expected in ("v2", "v1"):
        assert activate(base, version).json()["version"] == expected
        assert live(base) == current_version(world.gallery_path) == expected
    answer = activate(base, version)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "version_not_found")
    assert "no version older" in answer.json()["error"]["message"]


def test_the_live_version_can_be_activated_again(base: str) -> None:
    assert activate(base, "v3").json()["old_version"] == "v3"


def refused(base: str, version: str, status: int, code: str) -> str:
    """Checks a refusal: the old version stays, and no path of ours is told."""
    answer = activate(base, version)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == code
    assert error["hint"]
    assert "/" not in (error["message"] + error["hint"]).replace("GET /gallery", "")
    assert live(base) == "v3"
    return error["message"]


def test_an_unknown_version_is_404(base: str) -> None:
    assert "'v9'" in refused(base, "v9", 404, "version_not_found")
    refused(base, "..", 404, "version_not_found")
    refused(base, ".", 404, "version_not_found")


@pytest.mark.parametrize("version", ["", "a/b", "../v1", "v1\n", 7, ["v1"], "x" * 300])
def test_what_is_no_name_is_422(base: str, version: object) -> None:
    assert activate(base, version).status_code == 422
    assert httpx.post(f"{base}/gallery/activate", json={"name": "v1"}).status_code == 422


def test_only_json_is_read(base: str) -> None:
    said = {}
    for kind in ("application/json", "text/plain"):
        answer = httpx.post(
            f"{base}/gallery/activate", content=b"{", headers={"Content-Type": kind}
        )
        said[kind] = (answer.status_code, answer.json()["error"]["code"])
    assert said["application/json"] == (400, "body_malformed")
    assert said["text/plain"][0] == 415


def test_nothing_is_read_of_a_stranger(world: World) -> None:
    """An address that is not loopback and no keys: changing is for nobody."""

    async def ask(stranger: str) -> tuple[int, bool]:
        app = create_app(world.settings(), snapshot=load_snapshot(world.settings()))
        read = []

        def body():
            read.append(True)
            yield b"{}"

        async def parts():
            for part in body():
                yield part

        transport = httpx.ASGITransport(app, client=(stranger, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            answer = await client.post(
                "/gallery/activate", content=parts(), headers={"Content-Type": "application/json"}
            )
        return answer.status_code, bool(read)

    assert asyncio.run(ask("203.0.113.9")) == (403, False)


@pytest.mark.parametrize("name", ["vectors.f16", "tiles.parquet", "pictures.parquet"])
def test_a_damaged_version_is_409_and_nothing_changes(world: World, base: str, name: str) -> None:
    path = world.gallery_path / "versions" / "v1" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert "v1 is damaged" in refused(base, "v1", 409, "version_unusable")
    assert current_version(world.gallery_path) == "v3"
    metrics = httpx.get(f"{base}/metrics").text
    assert 'crossfix_activations_total{result="version_unusable"} 1.0' in metrics
    assert "crossfix_reload_failing 0.0" in metrics, "what CURRENT.json names is served"
    assert httpx.get(f"{base}/readyz").json()["last_reload_failure"] == ""


def test_another_encoders_version_is_409_until_the_encoder_is_there(world, base, tmp_path) -> None:
    path = write_tiny_encoder(tmp_path / "other" / "encoder", seed=7, name="tiny-7")
    publish_gallery(world.gallery_path, Encoder.load(path, device="cpu"), "v0")
    make_live(world.gallery_path, "v3")
    said = refused(base, "v0", 409, "version_unusable")
    assert "tiny-7" in said
    assert "the encoder is tiny (" in said
    shutil.rmtree(world.encoder_path)
    shutil.copytree(path, world.encoder_path)
    answer = activate(base, "v0").json()
    assert (answer["encoder"]["name"], answer["encoder_changed"]) == ("tiny-7", True)
    assert httpx.get(f"{base}/encoder").json()["name"] == "tiny-7"


def test_a_builder_that_holds_the_lock_is_409(world: World, base: str) -> None:
    with locked(world.gallery_path):
        assert "another program" in refused(base, "v1", 409, "job_running")
    assert activate(base, "v1").status_code == 200


def test_a_gallery_that_cannot_be_written_is_told(world, base, monkeypatch) -> None:
    def read_only(*_arguments: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(snapshot_activation, "make_live", read_only)
    assert "cannot write" in refused(base, "v1", 409, "version_unusable")
    (world.gallery_path / ".lock").unlink()
    (world.gallery_path / ".lock").mkdir()
    assert "cannot write" in refused(base, "v1", 409, "version_unusable")


def test_what_was_never_meant_to_happen_tells_nothing(base, monkeypatch) -> None:
    monkeypatch.setattr(snapshot_activation, "load_version", lambda *_arguments: 1 / 0)
    answer = activate(base, "v1")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert "division" not in answer.text
    assert live(base) == "v3"


def test_a_damaged_pointer_is_mended_by_naming_a_version(world: World, base: str) -> None:
    (world.gallery_path / "CURRENT.json").write_text("{")
    refused(base, None, 409, "version_unusable")
    assert activate(base, "v2").status_code == 200
    assert current_version(world.gallery_path) == live(base) == "v2"


def test_a_version_that_was_never_live_is_none(world: World, base: str) -> None:
    (world.gallery_path / ".publishing.json").write_text('{"name": "v2"}')
    refused(base, "v2", 404, "version_not_found")
    assert list_versions(world.gallery_path) == ["v1", "v3"]


class Held:
    """A holder whose activations stop, once loaded, until they are let go."""

    def __init__(self, world: World, monkeypatch) -> None:
        self.loaded, self.go_on = threading.Event(), threading.Event()
        self.holder = SnapshotHolder(
            world.settings(), on_change=lambda _: None, on_result=lambda *_: None
        )
        switch = holding.switch_on_disk

        def held(*arguments):
            fresh = switch(*arguments)
            self.loaded.set()
            assert self.go_on.wait(20)
            return fresh

        monkeypatch.setattr(holding, "switch_on_disk", held)


def test_a_caller_who_leaves_does_not_stop_the_switch_halfway(world, monkeypatch) -> None:
    held = Held(world, monkeypatch)

    async def leave() -> None:
        await held.holder.load_first()
        caller = asyncio.create_task(held.holder.activate("v1"))
        await asyncio.to_thread(held.loaded.wait, 20)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert current_version(world.gallery_path) == "v1"
        assert held.holder.current().version == "v3"
        held.go_on.set()
        assert await held.holder.reload_if_new() is False, "the switch has come first"
        assert held.holder.current().version == "v1"

    asyncio.run(leave())
    held.holder.close()


def test_errors_of_the_holder_are_the_documented_ones(world: World) -> None:
    holder = SnapshotHolder(world.settings(), on_change=lambda _: None, on_result=lambda *_: None)

    async def ask() -> None:
        with pytest.raises(NotReady):
            await holder.activate("v1")
        await holder.load_first()
        with pytest.raises(VersionNotFound):
            await holder.activate("v9")
        with locked(world.gallery_path), pytest.raises(JobRunning):
            await holder.activate("v1")
        (world.gallery_path / "versions" / "v1" / "vectors.f16").write_bytes(b"")
        with pytest.raises(VersionUnusable):
            await holder.activate("v1")

    asyncio.run(ask())
    holder.close()


SWITCHER = """
import sys
from pathlib import Path
from service.settings import Settings
from service.galleries.snapshot import load_snapshot
from service.galleries.snapshot_activation import switch_on_disk

settings = Settings(encoder=Path(sys.argv[1]), gallery=Path(sys.argv[2]), device="cpu")
live = load_snapshot(settings)
print("ready", flush=True)
while True:
    for version in ("v1", "v2", "v3"):
        live = switch_on_disk(settings, live, version)
"""


def check_gallery(world: World) -> None:
    """CURRENT.json names a whole version, all three are there, and a writer can start."""
    assert current_version(world.gallery_path) in ("v1", "v2", "v3")
    Gallery.open(world.gallery_path)
    assert list_versions(world.gallery_path) == ["v1", "v2", "v3"]
    with locked(world.gallery_path):
        pass


def test_a_kill_at_any_instant_of_a_switch_leaves_a_valid_gallery(world: World) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", SWITCHER, str(world.encoder_path), str(world.gallery_path)]
    for delay_s in (0.003, 0.02):
        with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as switcher:
            assert switcher.stdout.readline() == "ready\n"
            time.sleep(delay_s)
            os.kill(switcher.pid, signal.SIGKILL)
        check_gallery(world)


@pytest.mark.parametrize("at", ["open", "write", "sync", "replace"])
def test_a_kill_at_each_step_of_repointing_leaves_a_valid_gallery(world: World, at: str) -> None:
    """Dies in the call itself: what is on disk is what a reader finds after a SIGKILL there."""
    dies = {
        "open": "Path.write_text = lambda *a, **k: os.kill(os.getpid(), 9)",
        "write": "manifest.fsync_file = lambda *a: os.kill(os.getpid(), 9)",
        "sync": "os.replace = lambda *a: os.kill(os.getpid(), 9)",
        "replace": "manifest.fsync_directory = lambda *a: os.kill(os.getpid(), 9)",
    }[at]
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom crossfix import manifest\n"
        "from crossfix.gallery_versions import locked, make_live\n"
        "with locked(Path(sys.argv[1])):\n"
        f"    {dies}\n"
        "    make_live(Path(sys.argv[1]), 'v1')\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, str(world.gallery_path)], cwd=root, check=False
    )
    assert done.returncode == -signal.SIGKILL
    expected = "v1" if at == "replace" else "v3"
    assert json.loads((world.gallery_path / "CURRENT.json").read_text()) == {"version": expected}
    check_gallery(world)
