"""What is shipped inside wheels and beside packages: the table `bundled.toml`, and a look."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distributions
from typing import Any

from packaging.utils import canonicalize_name

from deploy.supply_chain.sets import ROOT


@dataclass(frozen=True)
class Library:
    """A project whose library lies in a wheel."""

    name: str
    licence: str


@dataclass(frozen=True)
class Carried:
    """Files of another project in this repository."""

    name: str
    version: str
    licence: str
    purl: str
    path: str
    sets: tuple[str, ...]


@cache
def table() -> dict[str, Any]:
    """`bundled.toml` as it is."""
    path = ROOT / "deploy" / "supply_chain" / "bundled.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


def carried() -> list[Carried]:
    """The vendored projects."""
    return [Carried(**(row | {"sets": tuple(row["sets"])})) for row in table()["carried"]]


def libraries_in(package: str) -> list[Library]:
    """The projects whose libraries the wheel of `package` carries, each once, by name."""
    known = table()["libraries"]
    found = {Library(**known[key]) for key in table()["wheels"].get(package, ())}
    return sorted(found, key=lambda library: (library.name, library.licence))


def key_of(file_name: str) -> str:
    """The key in `[libraries]` of a file such as `libgeos-1269e1bd.so.3.14.1`; "" if none."""
    fitting = [key for key in table()["libraries"] if file_name.startswith((f"{key}-", f"{key}."))]
    return max(fitting, key=len, default="")


def not_listed(packages: set[str]) -> list[str]:
    """Libraries of the running environment's wheels that the table lacks, as "package: file"."""
    missing = []
    for distribution in distributions():
        package = canonicalize_name(distribution.metadata["Name"])
        if package not in packages:
            continue
        for file in distribution.files or ():
            in_libs = file.parts[0].endswith(".libs") and ".so" in file.name
            if in_libs and key_of(file.name) not in table()["wheels"].get(package, ()):
                missing.append(f"{package}: {file.name}")
    return sorted(missing)
