"""How many cores this process may use; inside a container fewer than the machine has."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
OURS = Path("/proc/self/cgroup")


def available_cores() -> int:
    """Cores it may run on, or so many as its CPU quota pays for, rounded up; at least 1.

    A process with more threads than its quota pays for stands still for parts of every 0.1 s.
    """
    allowed = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return max(1, min([allowed, *(math.ceil(quota) for quota in cpu_quotas())]))


def cpu_quotas(cgroup: Path = CGROUP, ours: Path = OURS) -> Iterator[float]:
    """Every limit that holds for us, in cores: our own control groups' and those around them.

    Version 2 keeps `<quota> <period>` or `max <period>` in cpu.max; version 1 two files, where -1
    is no limit. A container often sees its own group as the root, under another name outside.
    """
    for folder in _folders(cgroup, ours):
        quota, period = _words(folder / "cpu.max", 2) or (
            *(_words(folder / "cpu.cfs_quota_us", 1) or ("",)),
            *(_words(folder / "cpu.cfs_period_us", 1) or ("",)),
        )
        if quota.isdigit() and period.isdigit() and int(quota) > 0 and int(period) > 0:
            yield int(quota) / int(period)


def _folders(cgroup: Path, ours: Path) -> list[Path]:
    """Where limits may stand, each once: `0::/a/b` is version 2, `4:cpu,cpuacct:/a/b` version 1."""
    found: dict[Path, None] = {}
    try:
        lines = ours.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):  # not Linux
        lines = []
    for line in (*lines, "0::/", "0:cpu:/"):
        _, _, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        roots = [cgroup] if not controllers else [cgroup / "cpu", cgroup / "cpu,cpuacct"]
        parts = [part for part in name.split("/") if part]
        if ".." in parts:  # the group lies outside what this namespace shows
            parts = []
        for root in roots:
            for length in range(len(parts), -1, -1):
                found[root.joinpath(*parts[:length])] = None
    return list(found)


def _words(path: Path, count: int) -> tuple[str, ...] | None:
    try:
        words = tuple(path.read_text(encoding="ascii").split())
    except (OSError, ValueError):  # no such limit here
        return None
    return words if len(words) == count else None
