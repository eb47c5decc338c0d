"""Evaluates an encoder on splits of any data set, and makes rows of what was found."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossfix.errors import DataError
from crossfix.estimate import CANDIDATES, Candidates, weighted_position
from crossfix.geodesy import distance_m
from crossfix.metrics import (
    PercentRule,
    percent_cutoff,
    recall_at_k,
    retrieval_report,
    share_within,
)
from crossfix.ranking import BrokenEmbeddings, Ranking, Ties, rank_queries
from crossfix.view import ViewName
from training.datasets.split import EvaluationSplit, ImageSet, Positions
from training.embedding import EmbedImages, unit_rows
from training.recipe import Mode, Recipe

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

# By the first word of a split's name: what Sample4Geo's figures were computed with.
CUTOFFS: Mapping[str, PercentRule] = {
    "cvusa": "floor",
    "cvact": "floor",
    "vigor": "floor",
    "university1652": "round_plus_one",
}
TIES: Mapping[Mode, Ties] = {"paper": "for", "correct": "against"}
RADII_M = (5, 25, 50, 100)
POOLED, ALL_KINDS = "pooled", "all"
PLAIN_TEMPERATURE = 0.05  # of the weighted estimate before a calibration exists


@dataclass(frozen=True)
class PositionEstimator:
    """The weighted place of the best tiles, as the service computes it.

    Attributes:
        tile_size_m: side of every tile of the galleries.
        temperatures: fitted ones; views without one use `PLAIN_TEMPERATURE`.
    """

    tile_size_m: float
    temperatures: Mapping[ViewName, float]


@dataclass(frozen=True)
class SplitResult:
    """What an encoder found on a split.

    Attributes:
        cutoff: the rule of R@1%.
        errors_m: (Q,) from the truth to the position of the best tile, or None.
        estimate_errors_m: (Q,) from the truth to the weighted estimate, or None.
    """

    split: EvaluationSplit
    ranking: Ranking
    cutoff: PercentRule
    errors_m: Float64 | None
    estimate_errors_m: Float64 | None

    @property
    def view(self) -> ViewName:
        """The view of the queries."""
        return self.split.queries.spec.view

    @property
    def file_stem(self) -> str:
        """Split and view as part of a file's name: small letters, digits and hyphens."""
        return file_name(f"{self.split.name} {self.view}")


def default_cutoff(split_name: str) -> PercentRule:
    """The R@1% rule of the data set whose name the split's begins with; `floor` for others."""
    return CUTOFFS.get(split_name.partition(" ")[0].lower(), "floor")


def embed_once(embed: EmbedImages) -> EmbedImages:
    """Remembers the embeddings of each set of images: splits of one town share their gallery."""
    kept: dict[int, tuple[ImageSet, Float32]] = {}

    def remembered(images: ImageSet) -> Float32:
        if id(images) not in kept:
            kept[id(images)] = images, embed(images)
        return kept[id(images)][1]

    return remembered


def query_embeddings(split: EvaluationSplit, embed: EmbedImages) -> Float32:
    """(Q, D) of what asks: every image, or the mean of each group, brought to unit length."""
    found, groups = embed(split.queries), split.query_groups
    if groups is None:
        return found
    sums = np.zeros((len(groups), found.shape[1]))
    np.add.at(sums, groups.rows(), found[groups.columns])
    return unit_rows(sums)


def evaluate_split(
    split: EvaluationSplit, embed: EmbedImages, *, mode: Mode = "correct",
    cutoff: PercentRule | None = None, top: int = 5, estimator: PositionEstimator | None = None,
) -> SplitResult:  # fmt: skip
    """Embeds queries and gallery and ranks one in the other.

    Args:
        mode: `paper` lets ties count for the model, as published codes do; `correct` against it.
        cutoff: rule of R@1%; None takes the data set's usual one.
        top: how many of the best tiles the result keeps.
        estimator: also measures the weighted estimate; for splits with degrees only.

    Raises:
        DataError: an image cannot be read, or embeddings are not finite.
    """
    try:
        ranking = rank_queries(
            query_embeddings(split, embed), embed(split.gallery), split.positives,
            semi_positives=split.semi_positives, ties=TIES[mode],
            top=max(top, CANDIDATES if estimator else 1),
        )  # fmt: skip
    except BrokenEmbeddings as problem:
        raise DataError(
            f"{split.name}: {problem}",
            hint="its training went wrong; take an earlier checkpoint or train again",
        ) from problem
    return SplitResult(
        split=split,
        ranking=ranking,
        cutoff=cutoff or default_cutoff(split.name),
        errors_m=_best_tile_errors_m(split, ranking),
        estimate_errors_m=_estimate_errors_m(split, ranking, estimator) if estimator else None,
    )


def evaluate_splits(
    splits: Sequence[EvaluationSplit], embed: EmbedImages, recipe: Recipe, *,
    cutoff: PercentRule | None = None, temperatures: Mapping[ViewName, float] | None = None,
) -> list[SplitResult]:  # fmt: skip
    """Evaluates all splits as the recipe's mode says; towns with the weighted estimate too.

    Args:
        temperatures: fitted ones, for the weighted estimate.

    Raises:
        DataError: as `evaluate_split`.
    """
    towns = recipe.data.towns
    estimator = PositionEstimator(towns.tile_size_m, temperatures or {}) if towns else None
    embed = embed_once(embed)
    return [
        evaluate_split(split, embed, mode=recipe.mode, cutoff=cutoff, estimator=estimator)
        for split in splits
    ]


def _best_tile_errors_m(split: EvaluationSplit, ranking: Ranking) -> Float64 | None:
    truth, places = split.query_positions, split.gallery_positions
    if truth is None or places is None:
        return None
    return _apart_m(places.select(ranking.top_indices[:, 0]), truth)


def _apart_m(a: Positions, b: Positions) -> Float64:
    if a.kind == "lonlat":
        return distance_m(a.xy[:, 0], a.xy[:, 1], b.xy[:, 0], b.xy[:, 1])
    return np.asarray(np.linalg.norm(a.xy - b.xy, axis=1), np.float64)


def _estimate_errors_m(
    split: EvaluationSplit, ranking: Ranking, estimator: PositionEstimator
) -> Float64 | None:
    truth, places = split.query_positions, split.gallery_positions
    if truth is None or places is None or places.kind != "lonlat":
        return None
    temperature = estimator.temperatures.get(split.queries.spec.view, PLAIN_TEMPERATURE)
    found = np.empty((len(truth), 2))
    for i, (best, scores) in enumerate(zip(ranking.top_indices, ranking.top_scores, strict=True)):
        best, scores = best[:CANDIDATES], scores[:CANDIDATES].astype(np.float64)
        lon, lat = places.xy[best].T
        sizes = np.full(len(best), estimator.tile_size_m)
        found[i] = weighted_position(Candidates(scores, lon, lat, sizes), temperature)
    return _apart_m(Positions("lonlat", found), truth)


def result_rows(results: Sequence[SplitResult], *, weights: str) -> list[dict[str, Any]]:
    """Table rows: each split, then, of several splits of one view and protocol, all pooled.

    A row is of kind `all`, or of one kind of photo where there are several. Metres and hit rate
    are left out where the data set cannot give them.

    Args:
        weights: label of what was evaluated; `random` must come out near chance.
    """
    rows: list[dict[str, Any]] = []
    groups: dict[tuple[ViewName, str], list[SplitResult]] = {}
    for result in results:
        rows += _split_rows(result.split.name, [result], weights)
        groups.setdefault((result.view, result.split.protocol), []).append(result)
    for group in groups.values():
        if len(group) > 1:
            rows += _split_rows(POOLED, group, weights)
    return rows


def overall_rows(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of `result_rows`, per view and protocol: the pooled rows, or those of its only split."""

    def group(row: Mapping[str, Any]) -> tuple[str, str]:
        return row["view"], row["protocol"]

    pooled = {group(row) for row in rows if row["split"] == POOLED}
    return [row for row in rows if row["split"] == POOLED or group(row) not in pooled]


def _split_rows(
    name: str, results: Sequence[SplitResult], weights: str
) -> Iterator[dict[str, Any]]:
    first = results[0]
    tables = [_per_query(result) for result in results]
    shared = [column for column in tables[0] if all(column in table for table in tables)]
    table = {column: np.concatenate([one[column] for one in tables]) for column in shared}
    kinds = sorted({str(kind) for kind in table["kind"]})
    for kind in [*(kinds if len(kinds) > 1 else []), ALL_KINDS]:
        chosen = np.flatnonzero((table["kind"] == kind) | (kind == ALL_KINDS))
        if len(chosen):
            yield {
                "split": name, "protocol": first.split.protocol, "view": first.view,
                "kind": kind, "weights": weights,
                **_figures({column: values[chosen] for column, values in table.items()}),
                "percent_rule": first.cutoff,
            }  # fmt: skip


def _per_query(result: SplitResult) -> dict[str, NDArray[Any]]:
    """Columns of Q rows; those a data set cannot give are absent."""
    split, ranking = result.split, result.ranking
    count = len(ranking.ranks)
    columns: dict[str, NDArray[Any] | None] = {
        "rank": ranking.ranks,
        "positives": split.positives.counts(),
        "gallery": np.full(count, len(split.gallery)),
        "percent_hit": ranking.ranks < percent_cutoff(split.percent_of, result.cutoff),
        "precision": ranking.average_precision,
        "rank_without_semi": ranking.ranks_without_semi,
        "error_m": result.errors_m,
        "estimate_error_m": result.estimate_errors_m,
        "kind": np.full(count, ALL_KINDS) if split.kinds is None else split.kinds,
    }
    return {name: values for name, values in columns.items() if values is not None}


def _figures(table: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    report: dict[str, Any] = retrieval_report(
        table["rank"],
        gallery_size=round(float(table["gallery"].mean())),
        positives_per_query=float(table["positives"].mean()),
    )
    report |= {"queries": len(table["rank"]), "gallery": round(report["gallery"])}
    report["queries_without_positive"] = int((table["positives"] == 0).sum())
    report["recall_at_1_percent"] = float(table["percent_hit"].mean())
    report["average_precision"] = float(table["precision"].mean())
    if "rank_without_semi" in table:
        report["hit_rate"] = recall_at_k(table["rank_without_semi"], 1)
    if "error_m" in table:
        report["median_error_m"] = float(np.median(table["error_m"]))
        report |= {f"within_{r}_m": share_within(table["error_m"], r) for r in RADII_M}
    if "estimate_error_m" in table:
        report["median_estimate_error_m"] = float(np.median(table["estimate_error_m"]))
    return report


def file_name(split_name: str) -> str:
    """A split's name as part of a file's; towns have a split of the same name for each view."""
    return re.sub(r"[^a-z0-9]+", "-", split_name.lower()).strip("-") or "split"
