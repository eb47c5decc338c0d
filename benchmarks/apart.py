"""Measuring in a process of its own, whose peak of memory is the measured thing's alone."""

import json
import resource
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

GIB = 2**30


def run_apart(module: str, worker: list[str], sizes: Mapping[str, int]) -> dict[str, Any]:
    """Starts `python -m module` with the worker's arguments and reads the JSON it prints.

    Args:
        sizes: passed on as `--name value`.
    """
    command = [sys.executable, "-m", module, *worker]
    for name, value in sizes.items():
        command += [f"--{name}", str(value)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def peak_bytes() -> int:
    """The most memory this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def gib_since(before: int) -> float:
    """GiB that the peak has grown since it was `before` bytes."""
    return round((peak_bytes() - before) / GIB, 3)


def unit_rows(rows: int, dim: int, *, seed: int) -> NDArray[np.float32]:
    """(rows, dim) random vectors of length 1."""
    values = np.random.default_rng(seed).standard_normal((rows, dim), np.float32)
    values /= np.sqrt(np.einsum("ij,ij->i", values, values))[:, None]
    return values
