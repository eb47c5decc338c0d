"""What produced a run: the resolved recipe, the code's revision, the libraries' versions."""

import subprocess
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from training.recipe import Recipe

LIBRARIES = ("torch", "torchvision", "timm", "accelerate", "numpy", "pillow", "onnx", "onnxruntime")


def run_record(recipe: Recipe) -> dict[str, Any]:
    """The resolved recipe with the code's revision and the libraries' versions, as JSON."""
    return {
        "recipe": recipe.model_dump(mode="json"),
        "revision": git_revision(),
        "libraries": dict(_versions(LIBRARIES)),
    }


def git_revision() -> str:
    """The checkout's commit, with `-dirty` when files differ; `unknown` outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def _versions(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            yield name, "absent"
