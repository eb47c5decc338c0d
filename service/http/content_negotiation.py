"""Which types and codings a client wants, from its Accept headers (RFC 9110, 12.5.1 and 12.5.3)."""

from collections.abc import Sequence

_Range = tuple[str, float]


def preferred_type(accept: str, offers: Sequence[str]) -> str:
    """The offer with the highest weight; of equals the one named most exactly, then the first.

    A header that allows none of them, or none at all, gives the first: an answer of another type
    helps more than a refusal.
    """
    ranges = [_parse(part) for part in accept[:2000].split(",") if part.strip()]
    weights = [(*_weight(offer, ranges), -place) for place, offer in enumerate(offers)]
    best = max(weights, default=(0.0, 0, 0))
    return offers[-best[2]] if best[0] > 0 else offers[0]


def accepts_coding(accept_encoding: str, coding: str) -> bool:
    """Whether a client takes a content coding; `q=0` says that it does not, `*` means all others.

    Without a header everything is accepted; we then send plain bytes all the same.
    """
    weights = dict(_parse(part) for part in accept_encoding[:2000].split(",") if part.strip())
    return weights.get(coding, weights.get("*", 0.0)) > 0


def _parse(part: str) -> _Range:
    name, *parameters = (piece.strip().lower() for piece in part.split(";"))
    weight = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                weight = min(1.0, max(0.0, float(value)))
            except ValueError:
                weight = 0.0
    return name, weight if weight == weight else 0.0  # `q=nan` is no weight


def _weight(offer: str, ranges: Sequence[_Range]) -> tuple[float, int]:
    """(weight, exactness) of the most exact range that matches."""
    found = (0.0, 0)
    for name, weight in ranges:
        exactness = {offer: 3, f"{offer.split('/')[0]}/*": 2, "*/*": 1}.get(name, 0)
        if exactness > found[1]:
            found = (weight, exactness)
    return found
