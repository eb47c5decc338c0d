"""`THIRD_PARTY_LICENCES.md`, made from the bills of materials; needs no network."""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from deploy.supply_chain.licence_policy import complaints, policy
from deploy.supply_chain.sets import ROOT, SHIPPED

PATH = ROOT / "THIRD_PARTY_LICENCES.md"

_HEAD = """# Licences of what is shipped

Made by `make licences` from `sbom/`; do not edit. It lists the Python packages of the container
images (CPython 3.11, Linux, x86-64), the libraries inside their wheels, and what this repository
carries of others. Crossfix itself, the demo encoder's weights in `encoders/demo` and the rendered
towns it was trained on are ours, under Apache-2.0 ([LICENSE](LICENSE), [NOTICE](NOTICE)).

Not listed: Python and the Debian packages of the base image, which is chosen at build time, and
code compiled *into* a wheel's binaries. [docs/supply_chain.md](docs/supply_chain.md) says where to
find theirs, and how a licence gets into this list. This list is not legal advice.
"""


@dataclass(frozen=True)
class Shipped:
    """One component in one set."""

    name: str
    version: str  # "" for a library inside a wheel
    licence: str
    inside: str  # the package whose wheel carries it; "" for a package
    set_name: str


def shipped() -> Iterator[Shipped]:
    """Every component of every image, as the SBOM files say."""
    for pinned in SHIPPED:
        document = json.loads(pinned.sbom.read_text(encoding="utf-8"))
        for part in document["components"]:
            yield Shipped(part["name"], part["version"], _licence(part), "", pinned.name)
            for inner in part.get("components", ()):
                yield Shipped(inner["name"], "", _licence(inner), part["name"], pinned.name)


def _licence(component: dict[str, Any]) -> str:
    """The SPDX expression of a CycloneDX component."""
    (row,) = component["licenses"]
    return str(row.get("expression") or row["license"].get("id") or row["license"]["name"])


def objections() -> list[str]:
    """Everything shipped that the policy forbids."""
    return [text for one in shipped() for text in complaints(one.name, one.licence, one.set_name)]


def render() -> str:
    """The whole document."""
    packages: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    libraries: dict[tuple[str, str], set[str]] = defaultdict(set)
    for one in shipped():
        if one.inside:
            libraries[one.name, one.licence].add(one.inside)
        else:
            packages[one.name, one.version, one.licence].append(one.set_name)
    return "\n".join(
        [
            _HEAD,
            "## Packages\n",
            "| package | version | licence (SPDX) | in the images |",
            "|---|---|---|---|",
            *(
                f"| {name} | {version} | {licence} | {_images(sets)} |"
                for (name, version, licence), sets in sorted(packages.items())
            ),
            "\n## Libraries inside wheels\n",
            "| library | licence (SPDX) | in the wheels of |",
            "|---|---|---|",
            *(
                f"| {name} | {licence} | {', '.join(sorted(inside))} |"
                for (name, licence), inside in sorted(libraries.items())
            ),
            "\n## Allowed though not permissive\n",
            *(
                f"- **{row['package']}** ({row['licence']}): {row['why']}"
                for row in policy()["exception"]
            ),
            "",
        ]
    )


def _images(sets: list[str]) -> str:
    return "all" if len(sets) == len(SHIPPED) else ", ".join(sets)
