"""Reads constraint files and the requirements of `pyproject.toml`."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from packaging.markers import Environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from deploy.supply_chain.sets import ROOT

# The platform of the images; the SBOM and the licence list are for it.
IMAGE_PYTHON = "3.11"


def environment(python: str = IMAGE_PYTHON, extra: str = "") -> Environment | dict[str, str]:
    """The marker environment of Linux on x86-64 with CPython `python`, such as "3.11"."""
    return {
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
        "extra": extra,
    }


def read_pins(path: Path) -> list[Requirement]:
    """The requirements of a constraint file, in its order; comments are left out."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def applies(requirement: Requirement, python: str = IMAGE_PYTHON, extra: str = "") -> bool:
    """Whether the requirement's marker holds on the images' platform."""
    return requirement.marker is None or requirement.marker.evaluate(
        dict(environment(python, extra))  # type: ignore[arg-type]
    )


def pinned_version(pin: Requirement) -> Version:
    """The version of a `name==version` line; `ValueError` for any other line."""
    specifiers = list(pin.specifier)
    if len(specifiers) != 1 or specifiers[0].operator != "==" or pin.url or pin.extras:
        raise ValueError(f"{pin} is not of the form name==version")
    return Version(specifiers[0].version)


def versions(path: Path, python: str = IMAGE_PYTHON) -> dict[str, str]:
    """Canonical name to version, of the pins that apply to `python` on Linux."""
    return {
        canonicalize_name(pin.name): str(pinned_version(pin))
        for pin in read_pins(path)
        if applies(pin, python)
    }


def project() -> Mapping[str, Any]:
    """The `[project]` table of `pyproject.toml`."""
    table: Mapping[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]
    return table


def direct_requirements(extras: tuple[str, ...]) -> Iterator[Requirement]:
    """What `crossfix[<extras>]` asks for itself; extras of ours within extras are opened."""
    table = project()
    yield from map(Requirement, table["dependencies"])
    waiting, seen = list(extras), set(extras)
    while waiting:
        for line in table["optional-dependencies"][waiting.pop()]:
            requirement = Requirement(line)
            if requirement.name != table["name"]:
                yield requirement
                continue
            waiting.extend(requirement.extras - seen)
            seen |= requirement.extras
