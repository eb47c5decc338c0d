"""Fits how scores become a radius, a confidence and a refusal (`crossfix.estimate.Calibration`).

Fitted on towns the encoder was not trained on. Photos of other towns are queries too, and always
wrong: without them an encoder would be sure of places it has never seen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from crossfix.errors import DataError
from crossfix.estimate import FEATURES, Calibration, confidence_features, weighted_position
from crossfix.geodesy import distance_m
from crossfix.view import ViewName
from training.datasets.photo_cache import ViewPhotos
from training.datasets.towns import Town
from training.embedding import Embed
from training.evaluation.towns import Scored, build_gallery, score_photos, top_candidates
from training.recipe import Recipe

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

FOUND_SHARE = 1.0  # an estimate nearer than this many tile sides has found the right cluster
RADIUS_QUANTILE = 0.9
ANSWERED_PRECISION = 0.8
LOWEST_LIMIT, HIGHEST_LIMIT = 0.05, 0.5
MAX_QUERIES = 2000  # per town and view; more change nothing and cost minutes


@dataclass(frozen=True)
class Observations:
    """Queries at one temperature: features (Q, F), error in tile sides (Q,), infinite outside."""

    features: Float64
    error_sides: Float64


def calibrate(
    towns: Sequence[Town], photos: Mapping[ViewName, ViewPhotos], recipe: Recipe, embed: Embed,
    *, data: str,
) -> dict[ViewName, Calibration]:  # fmt: skip
    """Fits one calibration per query view.

    Args:
        towns: at least two, so that each has photos that are not of it.
        data: what the towns are, in words.

    Raises:
        DataError: fewer than two towns.
    """
    if len(towns) < 2:
        raise DataError(
            "calibration needs photos from outside a gallery, but only one town was given",
            hint="give two or more towns to --calibrate-on",
        )
    galleries = [build_gallery(town, recipe, embed) for town in towns]
    found: dict[ViewName, Calibration] = {}
    for view, of_view in photos.items():
        embeddings = embed(of_view.pixels, of_view.spec)
        scored = [
            score_photos(of_view, _sample(of_view, number), embeddings, galleries[number],
                         town.name, number)
            for number, town in enumerate(towns)
        ]  # fmt: skip
        found[view] = fit_calibration(scored, data=data)
    return found


def _sample(photos: ViewPhotos, number: int) -> Bool:
    """A town's photos and as many of the other towns', at most `MAX_QUERIES` of each."""
    rng = np.random.default_rng(number)
    inside, outside = np.flatnonzero(photos.town == number), np.flatnonzero(photos.town != number)
    inside = rng.permutation(inside)[:MAX_QUERIES]
    outside = rng.permutation(outside)[: len(inside)]
    chosen = np.zeros(len(photos), np.bool_)
    chosen[inside] = chosen[outside] = True
    return chosen


def fit_calibration(scored: Sequence[Scored], *, data: str) -> Calibration:
    """Temperature, confidence, radius and limit for one view, from queries in and out of place."""
    temperature = fit_temperature(scored)
    seen = observe(scored, temperature)
    found = seen.error_sides <= FOUND_SHARE
    radius = float(np.quantile(seen.error_sides[found], RADIUS_QUANTILE)) if found.any() else 1.0
    radius = max(radius, 0.05)
    right = seen.error_sides <= radius
    coefficients = fit_logistic(seen.features, right)
    confidence = 1 / (1 + np.exp(-np.clip(seen.features @ coefficients, -30, 30)))
    return Calibration(
        temperature=temperature,
        coefficients=tuple(float(value) for value in coefficients),
        radius_share=radius,
        refuse_below=choose_limit(confidence, right),
        sample_count=len(right),
        data=data,
    )


def fit_temperature(scored: Sequence[Scored]) -> float:
    """The softmax temperature of least negative log-likelihood of the right tiles.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2, with all positive
    tiles of a query sharing its likelihood; queries without one do not count.
    """
    parts = [one.select(np.any(one.positives, axis=1, keepdims=False)) for one in scored]
    parts = [part for part in parts if len(part.scores)]
    if not parts:
        return 0.05

    def loss(log_temperature: float) -> float:
        scale = np.exp(-log_temperature)
        return float(np.mean(np.concatenate([_negative_log_mass(p, scale) for p in parts])))

    best = minimize_scalar(loss, bounds=(np.log(0.003), np.log(1.0)), method="bounded",
                           options={"xatol": 0.02})  # fmt: skip
    return float(np.exp(best.x))


def _negative_log_mass(scored: Scored, scale: float) -> Float64:
    logits = (scored.scores - scored.scores.max(axis=1, keepdims=True)) * scale
    mass = np.exp(logits)
    share = (mass * scored.positives).sum(axis=1) / mass.sum(axis=1)
    return np.asarray(-np.log(np.maximum(share, 1e-12)), np.float64)


def observe(scored: Sequence[Scored], temperature: float) -> Observations:
    """Confidence features and position errors of all queries, as the service computes them."""
    features, errors = [], []
    for one in scored:
        inside = np.any(one.positives, axis=1, keepdims=False)
        for i in range(len(one.lon)):
            candidates = top_candidates(one, i)
            lon, lat = weighted_position(candidates, temperature)
            error = float(distance_m(lon, lat, one.lon[i], one.lat[i])) / one.gallery.size_m
            features.append(confidence_features(candidates, temperature))
            errors.append(error if inside[i] else np.inf)
    return Observations(np.array(features).reshape(-1, len(FEATURES)), np.array(errors))


def fit_logistic(features: Float64, right: Bool, *, ridge: float = 1e-2) -> Float64:
    """Coefficients of a logistic regression by Newton's method (IRLS), lightly regularised.

    Hastie, Tibshirani and Friedman, "The Elements of Statistical Learning", section 4.4.1.
    The ridge (on all but the intercept) keeps separable data finite.
    """
    penalty = np.full(features.shape[1], ridge)
    penalty[0] = 1e-6
    weights = np.zeros(features.shape[1])
    for _ in range(100):
        chance = 1 / (1 + np.exp(-np.clip(features @ weights, -30, 30)))
        gradient = features.T @ (right - chance) - penalty * weights
        curvature = (features * (chance * (1 - chance))[:, None]).T @ features
        step = np.linalg.solve(curvature + np.diag(penalty + 1e-9), gradient)
        weights = weights + step / max(1.0, float(np.abs(step).max()) / 5)
        if np.abs(step).max() < 1e-8:
            break
    return weights


def choose_limit(confidence: Float64, right: Bool) -> float:
    """The smallest confidence at which answers are right often enough.

    The lowest limit whose answered queries (confidence at least the limit) are right at least
    `ANSWERED_PRECISION` of the time, within `LOWEST_LIMIT`..`HIGHEST_LIMIT`; an encoder that
    never gets there refuses whatever is more likely wrong than right.
    """
    order = np.argsort(-confidence, kind="stable")
    precision = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(precision >= ANSWERED_PRECISION)
    limit = float(confidence[order[good[-1]]]) if len(good) else HIGHEST_LIMIT
    return min(max(limit, LOWEST_LIMIT), HIGHEST_LIMIT)
