"""What a release needs written down: the changelog and the steps."""

import re

from deploy.supply_chain.pins import project
from deploy.supply_chain.sets import ROOT

HEADING = re.compile(r"^## \[?(Unreleased|\d+\.\d+\.\d+)\]?(?: - (\d{4}-\d{2}-\d{2}))?$", re.M)


def test_the_changelog_has_a_section_for_the_version_in_pyproject():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    names = [name for name, _ in HEADING.findall(text)]
    assert names, "CHANGELOG.md has no section"
    assert project()["version"] in names or names[0] == "Unreleased"


def test_released_sections_have_a_date_and_come_newest_first():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = [(name, date) for name, date in HEADING.findall(text) if name != "Unreleased"]
    assert all(date for _, date in released), released
    numbers = [tuple(map(int, name.split("."))) for name, _ in released]
    assert numbers == sorted(numbers, reverse=True)


def test_the_make_targets_that_the_release_steps_name_exist():
    steps = (ROOT / "docs" / "releasing.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"^make ([a-z-]+)", steps, re.M))
    assert {"constraints", "sbom", "audit", "test"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.M), target
