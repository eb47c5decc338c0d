"""A service that may rebuild its gallery, and what it takes to watch it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from service.settings import Settings
from tests.service_world import World
from tests.tiny_encoder import write_geotiff

SMALL = {"sources": [{"location": "town.tif"}], "tile_sizes_m": [40]}
# Thousands of tiles: seconds of work, in parts of 256.
LARGE = {"sources": [{"location": "town.tif"}], "tile_sizes_m": [30], "overlap": 0.95}
PATIENCE_S = 90.0


def rebuild_settings(world: World, folder: Path, **changes: object) -> Settings:
    """Settings with a root that holds `town.tif`."""
    root = folder / "imagery"
    if not root.exists():
        write_geotiff(root / "town.tif")
    return world.settings(rebuild_roots=(root,), **changes)


def ask(base: str, order: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"{base}/gallery/rebuild", json=order)


def order(base: str, what: dict[str, Any]) -> str:
    """Starts a job; gives its address."""
    answer = ask(base, what)
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert answer.headers["location"] == f"/gallery/jobs/{job['id']}"
    return base + answer.headers["location"]


def wait_for(address: str, wanted: Callable[[dict], bool]) -> dict:
    give_up = time.monotonic() + PATIENCE_S
    while True:
        job = httpx.get(address).json()
        if wanted(job):
            return job
        assert time.monotonic() < give_up, job
        time.sleep(0.03)


def is_over(job: dict) -> bool:
    return job["ended"] is not None


def is_half_done(gallery: Path) -> Callable[[dict], bool]:
    """Some parts are on the disk, many are not."""

    def look(job: dict) -> bool:
        assert not is_over(job), job
        return job["progress"]["done"] > 0 and any(gallery.glob(".building-*/parts/*.arrow"))

    return look


def wait_until_over(address: str) -> dict:
    return wait_for(address, is_over)


def metric(base: str, name: str) -> float:
    for line in httpx.get(f"{base}/metrics").text.splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[-1])
    raise AssertionError(f"no metric {name}")


def builder_pids(gallery: Path) -> list[int]:
    """Processes that build into the gallery, by their command lines."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"index_builder" in words and str(gallery).encode() in words:
            found.append(int(folder.name))
    return found
