"""What the package index says about pinned packages, by pip's installation report."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.supply_chain.pins import IMAGE_PYTHON, applies, versions
from deploy.supply_chain.sets import PinnedSet


@dataclass(frozen=True)
class Package:
    """One distribution as the index describes it."""

    name: str  # canonical
    version: str
    licence_expression: str  # "": the package does not say
    licence_field: str  # free text of older packages
    sha256: str  # of the archive taken on this platform; "" where it came from a folder
    requires: tuple[Requirement, ...]

    @classmethod
    def from_report(cls, item: dict[str, Any]) -> "Package":
        """From one entry of `install` in pip's report (its version 1)."""
        about, source = item["metadata"], item["download_info"]
        # An archive from a folder may have been built anew: its hash identifies nothing.
        public = source["url"].startswith("https://")
        return cls(
            name=canonicalize_name(about["name"]),
            version=about["version"],
            licence_expression=about.get("license_expression") or "",
            licence_field=(about.get("license") or "").strip(),
            sha256=source["archive_info"].get("hashes", {}).get("sha256", "") if public else "",
            requires=tuple(map(Requirement, about.get("requires_dist", []))),
        )


def fetch(pinned: PinnedSet) -> list[Package]:
    """The packages of a set on this machine's platform; nothing is installed.

    Raises `RuntimeError` unless this is Linux on x86-64 with the images' Python, because pip
    judges the markers by the machine it runs on; `CalledProcessError` where pip fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        fixed = "-m pip install --dry-run --ignore-installed --quiet --no-deps".split()
        asked = ["-r", str(pinned.constraints), "--report", str(report)]
        subprocess.run([sys.executable, *fixed, *asked], check=True)
        found = json.loads(report.read_text(encoding="utf-8"))
    machine = found["environment"]
    here = (machine["python_version"], machine["platform_machine"], machine["sys_platform"])
    if here != (IMAGE_PYTHON, "x86_64", "linux"):
        raise RuntimeError(f"The images run Python {IMAGE_PYTHON} on Linux x86_64; this is {here}.")
    packages = sorted(map(Package.from_report, found["install"]), key=lambda one: one.name)
    check_whole(packages, pinned)
    return packages


def check_whole(packages: Iterable[Package], pinned: PinnedSet) -> None:
    """Raises `RuntimeError` where the report and the constraint file name different packages."""
    reported = {package.name: package.version for package in packages}
    wanted = versions(pinned.constraints)
    if reported != wanted:
        odd = sorted(set(reported.items()) ^ set(wanted.items()))
        raise RuntimeError(f"pip's report does not agree with {pinned.constraints.name}: {odd}")


def reach(roots: Iterable[Requirement], packages: dict[str, Package]) -> dict[str, tuple[str, ...]]:
    """Package name to the names it needs, from `roots` on; extras asked for on the way count.

    Raises `KeyError` for a requirement that no package of the set fulfils.
    """
    asked: dict[str, set[str]] = {}
    edges: dict[str, set[str]] = {}
    waiting = [(canonicalize_name(root.name), root.extras) for root in roots if applies(root)]
    while waiting:
        name, extras = waiting.pop()
        fresh = ({""} | set(extras)) - asked.setdefault(name, set())
        asked[name] |= fresh
        for requirement in packages[name].requires:
            if any(applies(requirement, extra=extra) for extra in fresh):
                target = canonicalize_name(requirement.name)
                edges.setdefault(name, set()).add(target)
                waiting.append((target, requirement.extras))
    return {name: tuple(sorted(edges.get(name, ()))) for name in sorted(asked)}
