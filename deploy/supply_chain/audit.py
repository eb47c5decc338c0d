"""Known vulnerabilities of the pinned versions, by pip-audit; says what it could not look up."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from packaging.utils import canonicalize_name

from deploy.supply_chain.pins import pinned_version, read_pins
from deploy.supply_chain.sets import SETS


@dataclass
class Findings:
    """The outcome of an audit. Nothing found among nothing audited is not a clean bill."""

    audited: list[str] = field(default_factory=list)  # "name version"
    vulnerable: list[str] = field(default_factory=list)  # "name version: id, ... (fixed in ...)"
    not_audited: list[str] = field(default_factory=list)  # "name version"

    @property
    def exit_status(self) -> int:
        """0: all looked up, none vulnerable; 1: some vulnerable; 2: none known, some unknown."""
        return 1 if self.vulnerable else 2 if self.not_audited or not self.audited else 0


def rounds(pins: Iterable[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """Splits pins into lists in which no name comes twice, as pip-audit wants them."""
    lists: list[dict[str, str]] = []
    for name, version in sorted(set(pins)):
        free = next((one for one in lists if name not in one), None)
        if free is None:
            lists.append(free := {})
        free[name] = version
    return [sorted(one.items()) for one in lists]


def read_report(text: str, asked: Sequence[tuple[str, str]], findings: Findings) -> None:
    """Adds pip-audit's JSON to the findings; what it leaves out or skips counts as not audited."""
    try:
        rows = json.loads(text)["dependencies"]
    except (json.JSONDecodeError, KeyError, TypeError):
        rows = []  # it died before it could answer: nothing was audited
    answered = {canonicalize_name(row["name"]): row for row in rows}
    for name, version in asked:
        row = answered.get(canonicalize_name(name), {"skip_reason": "no answer"})
        if "skip_reason" in row:
            findings.not_audited.append(f"{name} {version}")
            continue
        findings.audited.append(f"{name} {version}")
        if row["vulns"]:
            ids = ", ".join(
                f"{one['id']} (fixed in {', '.join(one['fix_versions']) or 'no version'})"
                for one in row["vulns"]
            )
            findings.vulnerable.append(f"{name} {version}: {ids}")


def audit(options: Sequence[str] = ()) -> Findings:
    """Asks the advisory service about every pin of every file; `options` go to pip-audit."""
    pins = [
        (canonicalize_name(pin.name), str(pinned_version(pin)))
        for pinned in SETS
        for pin in read_pins(pinned.constraints)
    ]
    findings = Findings()
    for asked in rounds(pins):
        with tempfile.TemporaryDirectory() as folder:
            wanted = Path(folder) / "pins.txt"
            wanted.write_text("".join(f"{name}=={version}\n" for name, version in asked))
            fixed = "--no-deps --disable-pip --progress-spinner off --format json".split()
            done = subprocess.run(
                [sys.executable, "-m", "pip_audit", "-r", str(wanted), *fixed, *options],
                capture_output=True,
                text=True,
                check=False,  # 1 means vulnerabilities; the report tells
            )
        read_report(done.stdout, asked, findings)
    return findings
