"""`python -m deploy.supply_chain constraints | sbom | licences | bundled | audit`."""

import argparse
import sys
from collections.abc import Callable, Sequence

from deploy.supply_chain.sets import ROOT, SHIPPED


def _constraints(rest: Sequence[str]) -> int:
    from deploy.supply_chain.resolving import resolve_all

    resolve_all(rest)
    return 0


def _sbom(_: Sequence[str]) -> int:
    from deploy.supply_chain import bill

    for pinned in SHIPPED:
        print(f"{bill.write(pinned).relative_to(ROOT)}")
    return 0


def _licences(_: Sequence[str]) -> int:
    from deploy.supply_chain import licence_list

    if refused := licence_list.objections():
        print(*refused, "policy.toml does not allow these; see docs/supply_chain.md.", sep="\n")
        return 1
    licence_list.PATH.write_text(licence_list.render(), encoding="utf-8")
    print(licence_list.PATH.name)
    return 0


def _bundled(_: Sequence[str]) -> int:
    from deploy.supply_chain import bundled, pins

    names = {name for pinned in SHIPPED for name in pins.versions(pinned.constraints)}
    missing = bundled.not_listed(names)
    print(*missing, f"{len(missing)} libraries in this environment are not listed.", sep="\n")
    return 1 if missing else 0


def _audit(rest: Sequence[str]) -> int:
    from deploy.supply_chain.audit import audit

    findings = audit(rest)
    for title, rows in (
        ("Known vulnerabilities:", findings.vulnerable),
        ("Could not be looked up, so nothing is known about:", findings.not_audited),
    ):
        if rows:
            print(title, *(f"  {row}" for row in rows), sep="\n")
    print(
        f"{len(findings.audited)} packages looked up, {len(findings.vulnerable)} of them with "
        f"known vulnerabilities; {len(findings.not_audited)} could not be looked up."
    )
    if not findings.audited:
        print("The advisory service cannot be reached from here: this audit says nothing.")
    return findings.exit_status


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "constraints": _constraints,
    "sbom": _sbom,
    "licences": _licences,
    "bundled": _bundled,
    "audit": _audit,
}


def main() -> int:
    """Runs one command; options after `constraints` go to uv, those after `audit` to pip-audit."""
    parser = argparse.ArgumentParser(prog="python -m deploy.supply_chain", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    chosen, rest = parser.parse_known_args()
    return COMMANDS[chosen.command](rest)


if __name__ == "__main__":
    sys.exit(main())
