"""What evaluate says."""

import textwrap
from typing import Any

from index_builder.screens.text import EXACT_KINDS, INDEX_NAMES, table


def evaluate_screen(report: dict[str, Any]) -> str:
    """Ranks, metres and refusals, for all queries and for each view."""
    parts = {**report["views"], "all": report["all"]}
    if len(report["views"]) == 1:
        parts.pop("all")
    share = report["positive_radius_share"]
    notes = [f"R@K: a tile whose centre is within {share:g} of its side is among the first K"]
    if report["index"] not in EXACT_KINDS:
        notes += [
            f"served: found through the {INDEX_NAMES[report['index']]} index, as the service does",
            "exact:  the true rank among the scores of all tiles",
        ]
    shown = [_evaluated(name, part, report["index"]) for name, part in parts.items()]
    return "\n\n".join([*shown, "\n".join(notes)])


def _evaluated(name: str, part: dict[str, Any], index: str) -> str:
    columns = {"R@K": "recall_at_", "chance": "chance_at_"}
    if index not in EXACT_KINDS:
        columns = {"served": "recall_at_", "exact": "exact_recall_at_", "chance": "chance_at_"}
    ks = [key.removeprefix("chance_at_") for key in part if key.startswith("chance_at_")]
    rows = [(f"R@{k}", *(f"{part[prefix + k]:.3f}" for prefix in columns.values())) for k in ks]
    text = [
        f"{name}: {part['queries']:,.0f} queries, {part['gallery']:,.0f} tiles, "
        f"{part['queries_without_tile']:,} without a right tile, {part['refused']:,} refused",
        textwrap.indent(table(("", *columns), rows), "  "),
    ]
    for row, said in (("top1", "best tile"), ("estimate", "estimate")):
        if part[f"{row}_median_m"] is not None:
            text.append(
                f"  {said:<9}  median {part[f'{row}_median_m']:.1f} m, "
                f"90 % within {part[f'{row}_p90_m']:.1f} m"
            )
    return "\n".join(text)
