"""Recipes of former runs: keys that have come since, with the only value there was before."""

from collections.abc import Mapping
from typing import Any

FORMER: Mapping[str, Mapping[str, Any]] = {
    "loss": {"kind": "info_nce"},
}


def brought_up_to_date(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recorded recipe with the keys of today; what it says itself stays."""
    found = dict(recipe)
    for group, former in FORMER.items():
        if isinstance(found.get(group), Mapping):
            found[group] = {**former, **found[group]}
    return found
