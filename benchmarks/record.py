"""Appending a measured row to a CSV in `results/`, with what makes it repeatable."""

import csv
import datetime
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def append_row(name: str, row: Mapping[str, object]) -> Path:
    """Appends `row` to `results/<name>.csv`, adding command, revision, hardware and date.

    Raises:
        ValueError: the file has other columns.
    """
    path = ROOT / "results" / f"{name}.csv"
    full = {
        **row,
        "command": command_line(),
        "revision": revision(),
        "hardware": hardware(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    fresh = not path.exists()
    if not fresh:
        with path.open(newline="", encoding="utf-8") as handle:
            columns = next(csv.reader(handle))
        if columns != list(full):
            raise ValueError(f"{path} has the columns {columns}, not {list(full)}")
    with path.open("a", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, fieldnames=list(full), lineterminator="\n")
        if fresh:
            writer.writeheader()
        writer.writerow(full)
    return path


def command_line() -> str:
    """The command as typed, with the module's name instead of its path."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    module = spec.name.removesuffix(".__main__") if spec else Path(sys.argv[0]).name
    return " ".join(["python -m", module, *sys.argv[1:]])


def revision() -> str:
    """The code's commit, with `+` where the tree had changes; rows added before are none."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!results")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def hardware() -> str:
    """CPU model and core count."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        model = next(
            (line.split(":", 1)[1].strip() for line in lines if "model name" in line), model
        )
    return f"{os.cpu_count()} cores of {model}"
