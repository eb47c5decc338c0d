"""Licence decisions, the audit's report and the walk through dependencies, on made-up packages."""

import json

import pytest
from packaging.requirements import Requirement

from deploy.supply_chain import bill, bundled
from deploy.supply_chain.audit import Findings, read_report, rounds
from deploy.supply_chain.licence_policy import complaints, licence_of
from deploy.supply_chain.metadata import Package, check_whole, reach
from deploy.supply_chain.pins import pinned_version, versions
from deploy.supply_chain.sets import SETS


def a_package(
    name="thing", version="1.0", expression="MIT", field="", requires=(), sha256="0" * 64
):
    return Package(name, version, expression, field, sha256, tuple(map(Requirement, requires)))


@pytest.mark.parametrize(
    ("expression", "refused"),
    [
        ("MIT", []),
        ("MIT AND Apache-2.0", []),
        ("GPL-3.0-only", ["GPL-3.0-only"]),
        ("MIT OR GPL-3.0-only", []),
        ("MIT AND (GPL-3.0-only OR AGPL-3.0-only)", ["GPL-3.0-only"]),
        ("MIT AND GPL-3.0-only", ["GPL-3.0-only"]),
        ("LGPL-3.0-or-later", ["LGPL-3.0-or-later"]),
        ("LicenseRef-NVIDIA-Proprietary", ["LicenseRef-NVIDIA-Proprietary"]),
        # The exception must be named: GPL alone is not what libgfortran has.
        ("GPL-3.0-or-later", ["GPL-3.0-or-later"]),
    ],
)
def test_an_expression_passes_when_it_can_be_met_with_allowed_licences(expression, refused):
    assert complaints("thing", expression, "serve") == [
        f"serve: thing is under {licence}" for licence in refused
    ]


def test_an_exception_holds_for_its_package_and_its_images_only():
    assert not complaints("pi-heif", "LGPL-3.0-or-later", "serve")
    assert complaints("another", "LGPL-3.0-or-later", "serve")
    assert not complaints("nvidia-cublas", "LicenseRef-NVIDIA-Proprietary", "serve-gpu")
    assert complaints("nvidia-cublas", "LicenseRef-NVIDIA-Proprietary", "serve")


def test_what_we_read_ourselves_comes_before_what_the_metadata_say():
    heif = a_package("pi-heif", expression="", field="BSD-3-Clause")
    assert licence_of(heif) == "BSD-3-Clause AND LGPL-3.0-or-later"


def test_an_spdx_identifier_in_the_old_field_is_taken():
    assert licence_of(a_package(expression="", field="MIT")) == "MIT"


@pytest.mark.parametrize("field", ["", "BSD", "MIT License", "Copyright (c) 2001 Somebody"])
def test_a_package_without_a_clear_licence_is_refused_until_someone_has_read_it(field):
    with pytest.raises(LookupError, match=r"thing 1\.0 states no SPDX licence"):
        licence_of(a_package(expression="", field=field))


@pytest.mark.parametrize("line", ["thing>=1", "thing", "thing==1,!=2", "thing[extra]==1"])
def test_a_line_that_is_no_plain_pin_is_refused(line):
    with pytest.raises(ValueError, match="not of the form name==version"):
        pinned_version(Requirement(line))


def test_markers_choose_the_pin_of_a_python(tmp_path):
    path = tmp_path / "pins.txt"
    path.write_text(
        "# a comment\nNumPy==2.4 ; python_full_version < '3.12'\n"
        "numpy==2.5 ; python_full_version >= '3.12'\ncolorama==1 ; sys_platform == 'win32'\n"
    )
    assert versions(path, "3.11") == {"numpy": "2.4"}
    assert versions(path, "3.13") == {"numpy": "2.5"}


def test_dependencies_are_followed_through_extras_and_markers():
    packages = {
        "a": a_package("a", requires=["b[fast]>=1", "c; sys_platform == 'win32'"]),
        "b": a_package("b", requires=["d; extra == 'fast'", "e; extra == 'slow'", "a"]),
        "d": a_package("d"),
    }
    assert reach([Requirement("a")], packages) == {"a": ("b",), "b": ("a", "d"), "d": ()}


def test_a_report_that_is_not_the_constraint_file_is_refused():
    with pytest.raises(RuntimeError, match=r"does not agree with serve\.txt"):
        check_whole([a_package()], SETS[0])


def test_an_archive_from_a_folder_gives_no_hash():
    item = {
        "metadata": {"name": "A_Thing", "version": "1.0"},
        "download_info": {
            "url": "file:///wheels/a_thing-1.0.whl",
            "archive_info": {"hashes": {"sha256": "ab"}},
        },
    }
    found = Package.from_report(item)
    assert (found.name, found.sha256, found.licence_expression) == ("a-thing", "", "")
    item["download_info"]["url"] = "https://index.example/a_thing-1.0.whl"
    assert Package.from_report(item).sha256 == "ab"


def test_a_component_carries_the_libraries_of_its_wheel():
    part = bill.describe(a_package("shapely", "2.2.0", "BSD-3-Clause"))
    assert [inner.name for inner in part.components] == ["GEOS"]
    assert str(part.purl) == "pkg:pypi/shapely@2.2.0"


@pytest.mark.parametrize(
    ("file_name", "key"),
    [
        ("libgeos-1269e1bd.so.3.14.1", "libgeos"),
        ("libgeos_c-23da760b.so.1.20.5", "libgeos_c"),
        ("libpcre2-8-34bef8fb.so.0.15.0", "libpcre2-8"),
        ("libopenblaso-r0-d77a1985.3.15.so", "libopenblaso"),
        ("libnew-00000000.so.1", ""),
    ],
)
def test_a_library_is_known_by_the_start_of_its_file_name(file_name, key):
    assert bundled.key_of(file_name) == key


def test_no_name_comes_twice_in_one_round_of_the_audit():
    asked = rounds([("numpy", "2.4"), ("numpy", "2.5"), ("tqdm", "4"), ("tqdm", "4")])
    assert asked == [[("numpy", "2.4"), ("tqdm", "4")], [("numpy", "2.5")]]


def test_the_audit_reports_vulnerabilities_and_what_was_not_looked_up():
    report = {
        "dependencies": [
            {"name": "Good", "version": "1", "vulns": []},
            {
                "name": "bad",
                "version": "2",
                "vulns": [
                    {"id": "PYSEC-1", "fix_versions": ["3"]},
                    {"id": "X", "fix_versions": []},
                ],
            },
            {"name": "lost", "skip_reason": "Dependency not found on PyPI"},
        ]
    }
    findings = Findings()
    asked = [("good", "1"), ("bad", "2"), ("lost", "3"), ("left-out", "4")]
    read_report(json.dumps(report), asked, findings)
    assert findings.vulnerable == ["bad 2: PYSEC-1 (fixed in 3), X (fixed in no version)"]
    assert findings.audited == ["good 1", "bad 2"]
    assert findings.not_audited == ["lost 3", "left-out 4"]
    assert findings.exit_status == 1


@pytest.mark.parametrize("text", ["", "Traceback", "[]", '{"fixes": []}'])
def test_an_audit_that_got_no_answer_is_not_a_clean_one(text):
    findings = Findings()
    read_report(text, [("good", "1")], findings)
    assert findings.exit_status == 2
    assert Findings().exit_status == 2


def test_an_audit_is_clean_only_when_everything_was_looked_up():
    assert Findings(audited=["a 1"]).exit_status == 0
    assert Findings(audited=["a 1"], not_audited=["b 1"]).exit_status == 2
