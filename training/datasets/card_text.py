"""A data set's card as text for a terminal."""

import textwrap
from collections.abc import Sequence

from training.datasets.split import DatasetCard

WIDTH = 96


def card_text(card: DatasetCard, protocols: Sequence[str] = ()) -> str:
    """Name, source, licence, counts and layout, wrapped to 96 columns."""
    lines = [card.name, *_paragraph("source", card.source), *_paragraph("licence", card.licence)]
    lines += [line for name, count in card.counts.items() for line in _paragraph(name, count)]
    if protocols:
        lines += _paragraph("protocols", ", ".join(protocols))
    return "\n".join([*lines, "  layout:", *(f"    {line}" for line in card.layout)])


def _paragraph(name: str, text: str) -> list[str]:
    return textwrap.wrap(
        f"{name}: {text}", WIDTH, initial_indent="  ", subsequent_indent="    ",
        break_long_words=False,
    )  # fmt: skip
