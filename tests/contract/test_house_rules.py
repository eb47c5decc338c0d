"""The rules of the house, checked: import table, sizes, docstrings with units, no pickle."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "crossfix",
    "sample_world",
    "training",
    "index_builder",
    "service",
    "demo",
    "benchmarks",
    "deploy",
)
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

OPTIONAL = ("ray",)  # of extras that most do without

MAY_IMPORT = {
    "crossfix": set(),
    "sample_world": {"crossfix"},
    "training": {"crossfix", "sample_world"},
    "index_builder": {"crossfix"},
    "service": {"crossfix"},
}


def imported_roots(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_import_table(package):
    for path in (ROOT / package).rglob("*.py"):
        ours = {name for name in imported_roots(path) if name in PACKAGES and name != package}
        assert ours <= MAY_IMPORT[package], f"{path} imports {ours - MAY_IMPORT[package]}"


def test_only_training_imports_torch():
    # Benchmarks may: what the service is measured against is what others write with torch.
    for path in SOURCES:
        if not {"training", "benchmarks"} & set(path.parts):
            assert not {"torch", "timm", "torchvision"} & set(imported_roots(path)), path


def test_nothing_is_pickled():
    for path in SOURCES:
        assert not {"pickle", "joblib", "shelve"} & set(imported_roots(path)), path


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_are_small(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 60, f"{path}: {node.name}"


def test_no_room_is_called_utils():
    assert not [path for path in SOURCES if path.stem in ("utils", "util", "common", "helpers")]


@pytest.mark.parametrize("package", ["crossfix", "index_builder", "service", "sample_world"])
def test_imports_cleanly_without_torch(package):
    code = (
        "import sys\n"
        "sys.modules.update(torch=None, torchvision=None, timm=None)\n"
        f"import importlib, pkgutil, {package}\n"
        f"for module in pkgutil.walk_packages({package}.__path__, '{package}.'):\n"
        "    if module.name.endswith('__main__'):\n"
        "        continue\n"
        "    try:\n"
        "        importlib.import_module(module.name)\n"
        "    except ModuleNotFoundError as missing:\n"
        f"        if missing.name.split('.')[0] not in {OPTIONAL}:\n"
        "            raise\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
