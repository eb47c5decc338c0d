"""Exit codes of every command: 2 for usage, 1 for failure with one line on stderr, 0 for help."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("package", ["sample_world", "training", "index_builder", "service"])
def test_help_and_unknown_options(package):
    assert run(package, "--help").returncode == 0
    wrong = run(package, "--no-such-option")
    assert wrong.returncode == 2
    assert "usage" in wrong.stderr


FAILURES = {
    "missing encoder": [
        "index_builder",
        "build",
        "--encoder",
        "{tmp}/none",
        "--source",
        "{tmp}/none.tif",
        "--tile-size-m",
        "80",
        "--overlap",
        "0.5",
        "--out",
        "{tmp}/gallery",
    ],
    "missing gallery": ["index_builder", "verify", "--gallery", "{tmp}/none"],
    "service without encoder": [
        "service",
        "--encoder",
        "{tmp}/none",
        "--gallery",
        "{tmp}/none",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
    ],
    "missing recipe": [
        "training",
        "train",
        "--recipe",
        "{tmp}/none.yaml",
        "--data",
        "{tmp}",
        "--out",
        "{tmp}/run",
    ],
    "missing run": ["training", "export", "--checkpoint", "{tmp}/none", "--out", "{tmp}/encoder"],
}


@pytest.mark.parametrize("command", FAILURES.values(), ids=FAILURES.keys())
def test_failures_are_one_clear_line(tmp_path, command):
    done = run(*(part.format(tmp=tmp_path) for part in command))
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert "none" in lines[0]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "gallery" / "CURRENT.json").exists()
    assert not (tmp_path / "encoder").exists()
