"""Memory stays bounded whatever the number of tiles."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny_encoder import write_tiny_encoder

ROOT = Path(__file__).resolve().parents[2]


def measure(encoder, tiles):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.gallery_throughput", "--no-record"),
            *("--encoder", str(encoder), "--made-up", str(tiles), "--tile-size-m", "20"),
        ],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=3000,
    )
    assert done.returncode == 0, done.stderr
    return dict(line.split(maxsplit=1) for line in done.stdout.splitlines())


def test_a_small_build_is_measured(tmp_path):
    row = measure(write_tiny_encoder(tmp_path / "encoder"), 500)
    assert 500 <= int(row["tiles"]) < 700
    assert 0 < float(row["encoder_busy_share"]) <= 1
    assert float(row["memory_before_mb"]) < float(row["memory_peak_mb"]) < 2000


@pytest.mark.slow
def test_a_hundred_thousand_tiles_stay_under_two_gigabytes(tmp_path):
    row = measure(write_tiny_encoder(tmp_path / "encoder"), 100_000)
    assert int(row["tiles"]) >= 100_000
    assert float(row["memory_peak_mb"]) - float(row["memory_before_mb"]) < 2000
