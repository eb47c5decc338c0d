"""The software bill of materials of an image: CycloneDX 1.6, the same bytes every time."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.utils import canonicalize_name

from deploy.supply_chain import bundled
from deploy.supply_chain.licence_policy import licence_of
from deploy.supply_chain.metadata import Package, fetch, reach
from deploy.supply_chain.pins import applies, direct_requirements, project
from deploy.supply_chain.sets import PinnedSet


def make(pinned: PinnedSet, packages: Iterable[Package]) -> Bom:
    """The bill of one image. Raises `RuntimeError` where a pinned package is needed by nobody."""
    by_name = {package.name: package for package in packages}
    roots = list(direct_requirements(pinned.extras))
    edges = reach(roots, by_name)
    if idle := sorted(set(by_name) - set(edges)):
        raise RuntimeError(f"{pinned.constraints.name} pins what nothing needs: {idle}")
    ours = Component(
        name=pinned.image,
        version=project()["version"],
        type=ComponentType.CONTAINER,
        bom_ref=pinned.image,
        licenses=[LicenseFactory().make_from_string(project()["license"])],
    )
    parts = {name: describe(package) for name, package in by_name.items()}
    carried = [_carried(row) for row in bundled.carried() if pinned.name in row.sets]
    bom = Bom(components=[*parts.values(), *carried])
    bom.metadata.component = ours
    needed = {canonicalize_name(root.name) for root in roots if applies(root)}
    bom.register_dependency(ours, [*(parts[name] for name in sorted(needed)), *carried])
    for name, targets in edges.items():
        bom.register_dependency(parts[name], [parts[target] for target in targets])
    return bom


def describe(package: Package) -> Component:
    """A Python package with the libraries in its wheel."""
    purl = PackageURL("pypi", name=package.name, version=package.version)
    return Component(
        name=package.name,
        version=package.version,
        purl=purl,
        bom_ref=str(purl),
        licenses=[LicenseFactory().make_from_string(licence_of(package))],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=package.sha256)]
        if package.sha256
        else [],
        components=[
            Component(
                name=library.name,
                bom_ref=f"{purl}#{library.name}",
                licenses=[LicenseFactory().make_from_string(library.licence)],
            )
            for library in bundled.libraries_in(package.name)
        ],
    )


def _carried(row: bundled.Carried) -> Component:
    return Component(
        name=row.name,
        version=row.version,
        purl=PackageURL.from_string(row.purl),
        bom_ref=row.purl,
        licenses=[LicenseFactory().make_from_string(row.licence)],
    )


def text_of(bom: Bom) -> str:
    """JSON without what differs from run to run: the serial number and the time."""
    document: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    document.pop("serialNumber", None)
    document["metadata"].pop("timestamp", None)
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def schema_error(text: str) -> str:
    """What the CycloneDX 1.6 schema objects to; "" where it is content. Needs no network."""
    found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    return "" if found is None else str(found)


def write(pinned: PinnedSet) -> Path:
    """Asks the package index and writes `sbom/<image>.cdx.json`."""
    text = text_of(make(pinned, fetch(pinned)))
    if error := schema_error(text):
        raise RuntimeError(f"The bill of {pinned.image} breaks the CycloneDX schema: {error}")
    pinned.sbom.parent.mkdir(exist_ok=True)
    pinned.sbom.write_text(text, encoding="utf-8")
    return pinned.sbom
