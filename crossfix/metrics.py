"""Retrieval and localisation metrics: one implementation for trainer, builder and reports.

Scores that favour a broken model are refused: ties count against the model, NaN is an error.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

PercentRule = Literal["floor", "floor_plus_one", "ceil", "round_plus_one"]

POSITIVE_RADIUS_SHARE = 0.35  # with half-overlapping tiles some centre is always this near


def _checked(scores: ArrayLike) -> Float64:
    values = np.asarray(scores, np.float64)
    if not np.isfinite(values).all():
        raise ValueError("scores hold NaN or infinity; a broken model has no rank")
    return values


def ranks_of_first_positive(scores: ArrayLike, positives: ArrayLike) -> Int64:
    """Zero-based rank of each query's best positive; ties count against the model.

    The plain definition, for scores that are all in memory; `crossfix.ranking.rank_queries` gives
    the same for large galleries.

    Args:
        scores: (Q, N), higher is more similar.
        positives: (Q, N) bool.

    Returns:
        (Q,) number of negatives scored at least as high as the best positive; N where a query
        has no positive.

    Raises:
        ValueError: a score is not finite.
    """
    values, mask = _checked(scores), np.asarray(positives, np.bool_)
    best = np.where(mask, values, -np.inf).max(axis=1, initial=-np.inf)
    above = ((values >= best[:, None]) & ~mask).sum(axis=1)
    ranks: Int64 = np.where(mask.any(axis=1), above, values.shape[1]).astype(np.int64)
    return ranks


def recall_at_k(ranks: ArrayLike, k: int) -> float:
    """Share of queries with a positive among the first k, 0..1; 0 for no queries."""
    values = np.asarray(ranks, np.int64)
    return float((values < k).mean()) if len(values) else 0.0


def percent_cutoff(size: int, rule: PercentRule) -> int:
    """The k of R@1% in a gallery of this size. Published codes differ.

    Args:
        rule: `floor`: N // 100 (Sample4Geo, TransGeo, SAFA on CVUSA; 0 below 100 items);
            `floor_plus_one`: int(0.01 N) + 1 (HER, SAFA on CVACT, VIGOR's own code);
            `ceil`: zero-based rank < 0.01 N (spatial-transformer successors of SAFA);
            `round_plus_one`: zero-based CMC at round(0.01 N) (University-1652; halves to even).
    """
    return {
        "floor": size // 100,
        "floor_plus_one": size // 100 + 1,
        "ceil": -(-size // 100),
        "round_plus_one": round(0.01 * size) + 1,
    }[rule]


def share_within(errors_m: ArrayLike, radius_m: float) -> float:
    """Share of errors of at most the radius, 0..1; 0 for no errors.

    Raises:
        ValueError: an error is NaN.
    """
    values = np.asarray(errors_m, np.float64)
    if np.isnan(values).any():
        raise ValueError("errors hold NaN")
    return float((values <= radius_m).mean()) if len(values) else 0.0


def average_precision(scores: ArrayLike, positives: ArrayLike) -> float:
    """Area under precision-recall by trapezoids (Oxford buildings protocol, as University-1652).

    Args:
        scores: (N,); ties are ranked with negatives first.
        positives: (N,) bool.

    Returns:
        0..1; 0 when there is no positive.
    """
    values, mask = _checked(scores), np.asarray(positives, np.bool_)
    order = np.lexsort((mask, -values))
    return average_precision_of_hits(np.flatnonzero(mask[order]))


def average_precision_of_hits(hits: ArrayLike) -> float:
    """The same from the zero-based ranks of all positives, ascending; 0 for none."""
    hits = np.asarray(hits, np.int64)
    if not len(hits):
        return 0.0
    found = np.arange(1, len(hits) + 1)
    after = found / (hits + 1)
    before = np.where(hits > 0, (found - 1) / np.maximum(hits, 1), 1.0)
    return float(((before + after) / 2).mean())


def expected_calibration_error(confidence: ArrayLike, correct: ArrayLike, bins: int = 10) -> float:
    """Mean |accuracy - confidence| over equal-width bins, weighted by count (Naeini et al. 2015).

    Args:
        confidence: (Q,) in 0..1.
        correct: (Q,) bool.
    """
    sure, right = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    if not len(sure):
        return 0.0
    index = np.clip((sure * bins).astype(np.int64), 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    gap = np.bincount(index, sure - right, minlength=bins)
    return float(np.abs(gap[count > 0]).sum() / len(sure))


def retrieval_report(
    ranks: ArrayLike,
    *,
    gallery_size: int,
    positives_per_query: float,
    ks: Sequence[int] = (1, 5, 10),
) -> dict[str, float]:
    """R@K for each k beside what random order would give.

    Chance of at least one of P positives in the first k of N, drawn without order, is taken as
    ``1 - (1 - P/N)^k``.
    """
    values = np.asarray(ranks, np.int64)
    report: dict[str, float] = {"queries": float(len(values)), "gallery": float(gallery_size)}
    share = min(1.0, positives_per_query / gallery_size) if gallery_size else 0.0
    for k in ks:
        report[f"recall_at_{k}"] = recall_at_k(values, k)
        report[f"chance_at_{k}"] = 1 - (1 - share) ** k
    return report
