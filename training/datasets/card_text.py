"""A data set's card as text for a terminal."""

import textwrap

from training.datasets.split import DatasetCard

WIDTH = 96


def card_text(card: DatasetCard) -> str:
    """Name, source, licence, counts, protocols and layout, wrapped to 96 columns."""
    lines = [card.name, *_paragraph("source", card.source), *_paragraph("licence", card.licence)]
    lines += [line for name, count in card.counts.items() for line in _paragraph(name, count)]
    lines += _protocols(card)
    return "\n".join([*lines, "  layout:", *(f"    {line}" for line in card.layout)])


def _protocols(card: DatasetCard) -> list[str]:
    if len(card.protocols) < 2:
        return _paragraph("protocol", ", ".join(card.protocols))
    usual, *others = card.protocols
    return _paragraph("protocols", ", ".join([f"{usual} (the usual one)", *others]))


def _paragraph(name: str, text: str) -> list[str]:
    return textwrap.wrap(
        f"{name}: {text}", WIDTH, initial_indent="  ", subsequent_indent="    ",
        break_long_words=False,
    )  # fmt: skip
