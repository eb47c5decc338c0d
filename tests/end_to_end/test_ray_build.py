"""The same gallery from a cluster as from one machine, also when a node dies on the way."""

import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import pytest

from crossfix.gallery import Gallery
from index_builder.build import build_gallery
from tests.ray_build import request
from tests.tiny_encoder import write_geotiff, write_tiny_encoder

pytest.importorskip("ray", reason="pip install 'ray[data]'")

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 240
MARK = "CROSSFIX_TEST_MARK"


def run_ray_build(folder: Path, *, raylets: int, kill_at_tile: int = 0) -> dict:
    """Ray in a process of its own: its warnings are not this suite's, its threads do not stay."""
    words = [str(folder), str(raylets), str(kill_at_tile)]
    mark = f"test-{uuid.uuid4()}"
    with tempfile.TemporaryDirectory(prefix="ray-") as scratch:  # short: it holds sockets
        done = subprocess.run(
            [sys.executable, "-m", "tests.ray_build", *words],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "RAY_TMPDIR": scratch, MARK: mark},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        assert wait_for_end_of(mark) == []
    return json.loads((folder / "told.json").read_text())


def wait_for_end_of(mark: str) -> list[str]:
    """Processes started with the mark in their environment that do not end."""
    give_up = time.monotonic() + 20
    while (found := processes_with(mark)) and time.monotonic() < give_up:
        time.sleep(0.2)
    return found


def processes_with(mark: str) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_text())
        except OSError:
            continue
    return found


@pytest.mark.parametrize("kill_at_tile", [pytest.param(0, marks=pytest.mark.slow), 100])
def test_a_cluster_builds_the_same_gallery(tmp_path, kill_at_tile):
    write_tiny_encoder(tmp_path / "encoder")
    write_geotiff(tmp_path / "map.tif", size_px=(300, 300))
    local = build_gallery(request(tmp_path, "local"))
    told = run_ray_build(tmp_path, raylets=3, kill_at_tile=kill_at_tile)
    assert bool(told["killed_at"]) == bool(kill_at_tile)
    ray = Gallery.open(tmp_path / "ray", verify=True)
    assert told["tiles"] == local.stats.tiles == len(ray)
    assert ray.manifest.content_hash == local.manifest.content_hash
    for name in ("vectors.f16", "tiles.parquet", "pictures.parquet"):
        assert (ray.directory / name).read_bytes() == (local.directory / name).read_bytes()
    left = {path.name for path in (tmp_path / "ray").iterdir()}
    assert left == {"CURRENT.json", "versions", ".lock"}
