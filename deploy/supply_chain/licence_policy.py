"""Decides a package's licence and whether it may be shipped: the rules are in `policy.toml`."""

import tomllib
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from license_expression import ExpressionError, Licensing, get_spdx_licensing
from packaging.utils import canonicalize_name

from deploy.supply_chain.metadata import Package
from deploy.supply_chain.sets import ROOT


@cache
def policy() -> dict[str, Any]:
    """`policy.toml` as it is."""
    path = ROOT / "deploy" / "supply_chain" / "policy.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


@cache
def spdx() -> Licensing:
    """SPDX's identifiers; kept, because making them takes half a second."""
    return get_spdx_licensing()


def licence_of(package: Package) -> str:
    """The SPDX expression of a package.

    What we read ourselves (`[declared]`) comes first, then the field made for it (PEP 639), then
    the older free text where it is an SPDX expression. Raises `LookupError` where all are silent.
    """
    said = (
        policy()["declared"].get(package.name),
        package.licence_expression,
        package.licence_field,
    )
    for text in said:
        if text and not unknown_identifiers(text):
            return str(text)
    raise LookupError(
        f"{package.name} {package.version} states no SPDX licence, only "
        f"{package.licence_field[:40]!r}: read the licence file in its wheel and add a line to "
        "[declared] in policy.toml."
    )


def unknown_identifiers(expression: str) -> list[str]:
    """The parts of an expression that SPDX does not know; all of it where it does not parse."""
    try:
        unknown = spdx().unknown_license_keys(expression)
    except ExpressionError:
        return [expression]
    return [key for key in unknown if not key.startswith("LicenseRef-")]


def complaints(package: str, expression: str, set_name: str) -> list[str]:
    """What forbids to ship `package` under `expression` in a set; empty where nothing does.

    Of licences joined by OR the first that passes is enough; of those joined by AND all count.
    """
    licensing = spdx()
    tree = licensing.parse(expression)
    allowed = set(policy()["permissive"]) | {
        row["licence"]
        for row in policy()["exception"]
        if fnmatchcase(package, row["package"]) and set_name in row.get("sets", (set_name,))
    }

    def refused(node: object) -> list[str]:
        if isinstance(node, licensing.OR):
            branches = [refused(branch) for branch in node.args]
            return min(branches, key=len)
        if isinstance(node, licensing.AND):
            return [one for branch in node.args for one in refused(branch)]
        return [] if str(node) in allowed else [str(node)]

    return [f"{set_name}: {package} is under {licence}" for licence in refused(tree)]


def unused_exceptions(shipped: set[str]) -> list[str]:
    """Rows of the policy that no shipped package needs any more."""
    rows = [row["package"] for row in policy()["exception"]]
    rows += [canonicalize_name(name) for name in policy()["declared"]]
    return [row for row in rows if not any(fnmatchcase(name, row) for name in shipped)]
