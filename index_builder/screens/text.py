"""Numbers and tables as text."""

import textwrap
from collections.abc import Iterable, Sequence

from crossfix.gallery_manifest import IndexInfo

LABEL_WIDTH = 10
INDEX_NAMES = {
    "exact_f16": "exact",
    "ivf_pq_fastscan": "ivf-pq",
    "ivf_rabitq": "ivf-rabitq",
    "gpu_flat_f16": "gpu-flat",
    "gpu_cagra": "gpu-cagra",
}
EXACT_KINDS = ("exact_f16", "gpu_flat_f16")
Rows = Sequence[tuple[str, str]]


def lines(rows: Rows) -> str:
    """Labels and what they say, the second and further lines of a text below the first."""
    return "\n".join(
        textwrap.indent(text, " " * LABEL_WIDTH).replace(
            " " * LABEL_WIDTH, f"{label:<{LABEL_WIDTH}}", 1
        )
        for label, text in rows
        if text
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Columns aligned; the first `left` to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            f"{cell:<{width}}" if i < left else f"{cell:>{width}}"
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, *rows)
    )


def wrapped(items: Iterable[str]) -> str:
    """A list over several lines beside a label; no item is broken."""
    whole = ", ".join(item.replace(" ", "\0") for item in items)
    return textwrap.fill(whole, 100 - LABEL_WIDTH, break_long_words=False).replace("\0", " ")


def size_text(count: float) -> str:
    """Bytes for people."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            value = count / scale
            return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"
    return f"{count:.0f} bytes"


def time_text(seconds: float) -> str:
    """A duration for people."""
    if seconds < 90:
        return f"{seconds:.{1 if seconds < 10 else 0}f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 172_800:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86_400:.1f} days"


def area_text(km2: float) -> str:
    """Ground for people."""
    return f"{km2:,.0f} km2" if km2 >= 100 else f"{km2:.3g} km2"


def sides_text(sizes_m: Sequence[float]) -> str:
    """Sides of tiles, to the decimetre; a range where there are many."""
    rounded = sorted({round(size, 1) for size in sizes_m})
    if len(rounded) > 6:
        return f"{rounded[0]:g} to {rounded[-1]:g} m ({len(rounded)} sizes)"
    return ", ".join(f"{size:g} m" for size in rounded)


def index_text(index: IndexInfo) -> str:
    """Kind and what was measured of it."""
    name = INDEX_NAMES.get(index.kind, index.kind)
    if index.kind in EXACT_KINDS or index.measured_recall_at_10 is None:
        return name
    text = f"{name}, recall@10 {index.measured_recall_at_10:.4g}"
    if index.recall_asked is None:
        return text
    settings = ", ".join(f"{key} {value}" for key, value in index.parameters.items())
    return f"{text} over {index.recall_queries} queries ({index.recall_asked:g} was asked)" + (
        f"\n{settings}" if settings else ""
    )
