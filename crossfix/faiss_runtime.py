"""FAISS, imported with its BLAS told which CPU it runs on."""

import os
import sys
from pathlib import Path
from typing import Any


def choose_openblas_core() -> None:
    """Names a fast OpenBLAS kernel where nobody chose one and AVX2 is certain to be there.

    The FAISS wheel's OpenBLAS does not know newer CPUs and falls back to SSE3, 2.8 times slower;
    it reads this variable once, while it is imported.
    """
    if "faiss" in sys.modules or "OPENBLAS_CORETYPE" in os.environ:
        return
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return
    if " avx2 " in flags:
        os.environ["OPENBLAS_CORETYPE"] = "Haswell"


choose_openblas_core()

import faiss as _faiss  # noqa: E402 - only after the choice above

FaissObject = Any  # the types FAISS ships know little of what it has
faiss: FaissObject = _faiss

# Batches of 8 queries and more go through BLAS; FAISS itself starts at 125 (d = 1024).
faiss.cvar.distance_compute_blas_threshold = 8192


__all__ = ["FaissObject", "faiss"]
