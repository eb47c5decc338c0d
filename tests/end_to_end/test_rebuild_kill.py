"""kill -9 of the service in the midst of a rebuild, and disks that are full."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from crossfix.gallery import Gallery
from tests.end_to_end.test_service_process import free_port, start, wait_until_started
from tests.rebuild_world import (
    LARGE,
    SMALL,
    ask,
    builder_pids,
    is_half_done,
    order,
    rebuild_settings,
    wait_for,
    wait_until_over,
)
from tests.service_world import make_world, serve, wait_until_ready


@pytest.fixture
def world(tmp_path):
    return make_world(tmp_path)


@contextlib.contextmanager
def service_process(settings):
    """`python -m service` in a process of its own; gives it and its address."""
    port = free_port()
    process = start(
        "--encoder", settings.encoder, "--gallery", settings.gallery, "--port", port,
        "--device", "cpu", "--rebuild-roots", settings.rebuild_roots[0],
    )  # fmt: skip
    try:
        base = f"http://127.0.0.1:{port}"
        wait_until_started(base)
        wait_until_ready(base, patience_s=60)
        yield process, base
    finally:
        process.kill()
        process.communicate()


def test_kill_9_of_the_service_ends_the_builder_and_the_next_start_resumes(tmp_path, world):
    settings = rebuild_settings(world, tmp_path)
    with service_process(settings) as (process, base):
        address = order(base, LARGE)
        half = wait_for(address, is_half_done(settings.gallery))
        (pid,) = builder_pids(settings.gallery)
        process.send_signal(signal.SIGKILL)
        process.wait()
        give_up = time.monotonic() + 30
        while pid in builder_pids(settings.gallery):
            assert time.monotonic() < give_up, "the builder survived the service"
            time.sleep(0.05)
    assert len(list(settings.gallery.glob(".building-*/parts/*.arrow"))) > 0
    Gallery.open(settings.gallery, verify=True)
    with serve(settings) as base:
        told = httpx.get(f"{base}/gallery/jobs/{half['id']}").json()
        assert told["state"] == "interrupted"
        assert told["ended"]
        assert told["error"]["code"] == "service_stopped"
        again = order(base, LARGE)
        resumed = wait_for(again, lambda job: job["progress"]["done"])["progress"]
        assert resumed["resumed"] > 0
        httpx.delete(again)
        assert wait_until_over(again)["state"] == "cancelled"
        assert httpx.get(f"{base}/gallery").json()["version"] == "v1"


@contextlib.contextmanager
def small_disk(folder: Path, size: str):
    """A file system of a size of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a small file system can be mounted by root only")
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("no tmpfs can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> None:
    with contextlib.suppress(OSError), (folder / "filling").open("wb") as handle:
        while True:
            handle.write(b"x" * 4096)
            handle.flush()


def test_a_full_disk_below_the_gallery_is_a_failed_job(tmp_path, world):
    with small_disk(tmp_path / "disk", "2m") as disk:
        gallery = shutil.copytree(world.gallery_path, disk / "gallery")
        settings = rebuild_settings(world, tmp_path, gallery=gallery, jobs=tmp_path / "jobs")
        with serve(settings) as base:
            job = wait_until_over(order(base, LARGE))
            assert job["state"] == "failed"
            assert job["error"]["code"] == "publish_error", job
            assert "free" in job["error"]["message"], job
            assert str(tmp_path) not in str(job)
            assert httpx.get(f"{base}/readyz").status_code == 200
            assert httpx.get(f"{base}/gallery").json()["version"] == "v1"


def test_a_full_disk_below_the_jobs_is_a_failed_job_and_the_service_goes_on(tmp_path, world):
    with small_disk(tmp_path / "disk", "64k") as disk:
        settings = rebuild_settings(world, tmp_path, jobs=disk)
        fill(disk)
        with serve(settings) as base:
            job = wait_until_over(order(base, SMALL))
            assert job["state"] == "failed"
            assert job["error"]["code"] == "job_not_started"
            assert "no space left" in job["error"]["message"]
            assert httpx.get(f"{base}/gallery/jobs").json()["jobs"] == [job]
            (disk / "filling").unlink()
            assert wait_until_over(order(base, SMALL))["state"] == "succeeded"


def test_a_disk_that_fills_during_the_job_costs_its_records_only(tmp_path, world):
    with small_disk(tmp_path / "disk", "64k") as disk:
        settings = rebuild_settings(world, tmp_path, jobs=disk)
        with serve(settings) as base:
            address = order(base, SMALL)
            wait_for(address, lambda job: job["state"] != "queued")
            fill(disk)
            job = wait_until_over(address)
            assert job["state"] == "succeeded", job
            assert httpx.get(f"{base}/gallery").json()["version"] == job["version"]


def test_a_builder_that_cannot_write_large_files_is_a_failed_job(tmp_path, world):
    """The limit that unprivileged tests can set: files of 60 kB at most."""
    settings = rebuild_settings(world, tmp_path)
    limited = (
        "import resource, runpy, sys; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)); "
        "sys.argv[0] = 'service'; runpy.run_module('service', run_name='__main__')"
    )
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", limited, "--encoder", str(settings.encoder),
         "--gallery", str(settings.gallery), "--port", str(port), "--device", "cpu",
         "--rebuild-roots", str(settings.rebuild_roots[0])],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    base = f"http://127.0.0.1:{port}"
    try:
        wait_until_started(base)
        wait_until_ready(base, patience_s=60)
        job = wait_until_over(order(base, SMALL))
        assert job["state"] == "failed", job
        assert job["error"]["message"]
        assert str(tmp_path) not in str(job)
        assert httpx.get(f"{base}/readyz").status_code == 200
        assert ask(base, {"recipe": "a.yaml"}).status_code == 403
    finally:
        process.kill()
        process.communicate()
