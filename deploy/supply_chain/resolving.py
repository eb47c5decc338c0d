"""Resolves the extras of `pyproject.toml` to pinned versions, with uv."""

import os
import subprocess
import sys
from collections.abc import Sequence

from deploy.supply_chain.sets import ROOT, SETS, PinnedSet


def resolve(pinned: PinnedSet, *, options: Sequence[str] = ()) -> None:
    """Writes `pinned.constraints`, for Python 3.11 and later on every system.

    Without `options`, pins already in the file are kept while they fit; `--upgrade` and
    `--upgrade-package NAME` take newer ones. Raises `CalledProcessError` where uv finds no answer.
    """
    extras = [argument for extra in pinned.extras for argument in ("--extra", extra)]
    compiling = "-m uv pip compile pyproject.toml --universal --python-version 3.11".split()
    quietly = "--no-emit-index-url --no-annotate --quiet".split()
    target = ["--output-file", str(pinned.constraints.relative_to(ROOT))]
    subprocess.run(
        [sys.executable, *compiling, *quietly, *extras, *options, *target],
        cwd=ROOT,
        check=True,
        env=os.environ | {"UV_CUSTOM_COMPILE_COMMAND": "make constraints"},
        stdout=subprocess.DEVNULL,
    )


def resolve_all(options: Sequence[str] = ()) -> None:
    """Writes every constraint file."""
    for pinned in SETS:
        resolve(pinned, options=options)
