"""The bills of materials agree with the pins, and what they list may be shipped."""

import json
import re

import pytest

from deploy.supply_chain import bundled, licence_list
from deploy.supply_chain.bill import schema_error
from deploy.supply_chain.licence_policy import policy, unknown_identifiers, unused_exceptions
from deploy.supply_chain.pins import project, versions
from deploy.supply_chain.sets import ROOT, SHIPPED

every_image = pytest.mark.parametrize("pinned", SHIPPED, ids=lambda one: one.image)


def bill_of(pinned):
    return json.loads(pinned.sbom.read_text(encoding="utf-8"))


@every_image
def test_the_bill_keeps_the_cyclonedx_schema(pinned):
    assert schema_error(pinned.sbom.read_text(encoding="utf-8")) == ""


def test_a_bill_that_breaks_the_schema_is_noticed():
    assert schema_error('{"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [{}]}')


@every_image
def test_the_bill_lists_exactly_what_is_pinned_and_carried(pinned):
    listed = {part["name"]: part["version"] for part in bill_of(pinned)["components"]}
    carried = {row.name: row.version for row in bundled.carried() if pinned.name in row.sets}
    assert listed == versions(pinned.constraints) | carried, "run `make sbom`"


@every_image
def test_the_bill_names_the_image_and_the_version_of_the_project(pinned):
    component = bill_of(pinned)["metadata"]["component"]
    assert (component["name"], component["version"]) == (pinned.image, project()["version"])


@every_image
def test_the_bill_says_nothing_about_when_and_where_it_was_made(pinned):
    bill = bill_of(pinned)
    assert "serialNumber" not in bill
    assert "timestamp" not in bill["metadata"]
    text = pinned.sbom.read_text(encoding="utf-8")
    assert set(re.findall(r"\w+://[^/\"]+", text)) == {"http://cyclonedx.org"}
    assert not re.search(r'"/\w', text), "a path of some machine"


@every_image
def test_every_package_has_the_hash_of_its_archive(pinned):
    for part in bill_of(pinned)["components"]:
        if part["purl"].startswith("pkg:pypi/"):
            (one,) = part["hashes"]
            assert one["alg"] == "SHA-256"
            assert re.fullmatch("[0-9a-f]{64}", one["content"])


@every_image
def test_every_dependency_edge_leads_to_a_listed_package(pinned):
    bill = bill_of(pinned)
    known = {part["bom-ref"] for part in bill["components"]} | {pinned.image}
    edges = {row["ref"]: set(row.get("dependsOn", ())) for row in bill["dependencies"]}
    reached, waiting = set(), [pinned.image]
    while waiting:
        ref = waiting.pop()
        reached.add(ref)
        waiting += edges.get(ref, set()) - reached
    assert reached == known


def test_everything_shipped_is_allowed_by_the_policy():
    assert licence_list.objections() == []


def test_the_policy_has_no_row_that_nothing_needs():
    assert unused_exceptions({one.name for one in licence_list.shipped()}) == []


def test_the_policy_uses_spdx_identifiers():
    rows = [row["licence"] for row in policy()["exception"]]
    for text in [*policy()["permissive"], *rows, *policy()["declared"].values()]:
        assert unknown_identifiers(text) == [], text


def test_the_licence_list_is_the_one_made_from_the_bills():
    found = licence_list.PATH.read_text(encoding="utf-8")
    assert found == licence_list.render(), "run `make licences`"


def test_carried_files_have_their_licence_beside_them_and_the_version_of_the_list():
    stated = (ROOT / "service" / "static" / "VENDORED.md").read_text(encoding="utf-8")
    folders = set((ROOT / "service" / "static" / "vendor").iterdir())
    assert {ROOT / row.path for row in bundled.carried()} == folders
    for row in bundled.carried():
        assert (ROOT / row.path / "LICENSE").is_file()
        assert f"| {row.name} | {row.version} | {row.licence} |" in stated


def test_our_own_licence_is_in_the_repository_and_is_the_one_of_the_metadata():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert project()["license"] == "Apache-2.0"
    assert text.split()[:4] == ["Apache", "License", "Version", "2.0,"]
    assert "END OF TERMS AND CONDITIONS" in text
