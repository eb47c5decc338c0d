"""Evaluation rows as text for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

Form = Literal["text", "count", "percent", "metres"]
COLUMNS: Sequence[tuple[str, str, Form]] = (
    ("view", "view", "text"),
    ("kind", "kind", "text"),
    ("weights", "weights", "text"),
    ("queries", "queries", "count"),
    ("R@1", "recall_at_1", "percent"),
    ("R@5", "recall_at_5", "percent"),
    ("R@10", "recall_at_10", "percent"),
    ("R@1%", "recall_at_1_percent", "percent"),
    ("chance", "chance_at_1", "percent"),
    ("AP", "average_precision", "percent"),
    ("hit", "hit_rate", "percent"),
    ("median", "median_error_m", "metres"),
    ("<=25m", "within_25_m", "percent"),
    ("estimate", "median_estimate_error_m", "metres"),
)
TABLE_WIDTH = 120


def format_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as an aligned table of at most 120 columns, a heading per split; shares in percent.

    `chance` is the R@1 of random order, `hit` the hit rate, `median` and `estimate` the median
    errors of the best tile's position and of the weighted estimate.
    """
    shown = [column for column in COLUMNS if any(column[1] in row for row in rows)]
    cells = [[name for name, _, _ in shown]]
    cells += [[_cell(row.get(key), form) for _, key, form in shown] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [_aligned(cells[0], shown, widths)]
    heading = ""
    for row, line in zip(rows, cells[1:], strict=True):
        if (its_own := _heading(row)) != heading:
            heading = its_own
            lines.append(heading[:TABLE_WIDTH])
        lines.append(_aligned(line, shown, widths)[:TABLE_WIDTH])
    return "\n".join(lines)


def _heading(row: Mapping[str, Any]) -> str:
    return (
        f"{row['split']}: {row['protocol']}; {row['gallery']} in the gallery; "
        f"R@1% by {row['percent_rule']}"
    )


def _cell(value: Any, form: Form) -> str:  # noqa: ANN401
    if value is None:
        return "-"
    return {"text": "{}", "count": "{:.0f}", "percent": "{:.2f}", "metres": "{:.0f} m"}[
        form
    ].format(100 * value if form == "percent" else value)


def _aligned(
    cells: Sequence[str], columns: Sequence[tuple[str, str, Form]], widths: Sequence[int]
) -> str:
    placed = [
        cell.ljust(width) if form == "text" else cell.rjust(width)
        for cell, (_, _, form), width in zip(cells, columns, widths, strict=True)
    ]
    return "  " + "  ".join(placed).rstrip()
