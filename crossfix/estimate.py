"""Ranked candidates to a place, a radius and an honest confidence.

Method: scores become weights by a softmax with a calibrated temperature. The candidates within
1.5 tile sides of the best one form its cluster; the estimate is their weighted mean. How much of
all weight the cluster holds, and how high the best score is, go through a logistic model fitted
on towns the encoder was not trained on, photos of other towns included: its output is the
probability that the place lies within the radius. Below the calibrated limit the answer is
"not in this gallery".
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from crossfix.geodesy import LocalFrame, LonLat, distance_m
from crossfix.manifest import StrictModel

Float64 = NDArray[np.float64]

CLUSTER_RADIUS_SHARE = 1.5  # tile sides; overlapping neighbours of the best tile, no farther
CANDIDATES = 50  # tiles an estimate looks at; the calibration is fitted on as many
FEATURES = ("intercept", "best_score", "cluster_logit", "score_gap")


class Calibration(StrictModel):
    """How one query view's scores are read; fitted by `training`.

    Attributes:
        temperature: softmax temperature in units of the score (a cosine).
        coefficients: of the logistic model, in the order of `FEATURES`.
        radius_share: the radius in tile sides; holds 90 % of the errors of right answers.
        refuse_below: confidence under which the answer is a refusal.
        sample_count: queries it was fitted on.
        data: what those were.
    """

    temperature: float = Field(gt=0)
    coefficients: tuple[float, ...] = Field(min_length=len(FEATURES), max_length=len(FEATURES))
    radius_share: float = Field(gt=0)
    refuse_below: float = Field(ge=0, le=1)
    sample_count: int = Field(ge=0)
    data: str


@dataclass(frozen=True)
class Candidates:
    """The best K tiles of one query, best first; all arrays (K,)."""

    scores: Float64
    lon: Float64
    lat: Float64
    size_m: Float64

    def __post_init__(self) -> None:
        if not len(self.scores):
            raise ValueError("an estimate needs at least one candidate")
        if np.any(np.diff(self.scores) > 0):
            raise ValueError("candidates must be sorted, best first")


@dataclass(frozen=True)
class LocationEstimate:
    """Where the photo was taken, as far as the gallery can tell.

    Attributes:
        radius_m: with probability `confidence` the place lies within this of (lon, lat).
        refused: the confidence is too low to call it a location; `reason` says so in words.
    """

    lon: float
    lat: float
    radius_m: float
    confidence: float
    refused: bool
    reason: str | None


def estimate(candidates: Candidates, calibration: Calibration) -> LocationEstimate:
    """The weighted place of the best cluster, with radius, confidence and refusal."""
    lon, lat = weighted_position(candidates, calibration.temperature)
    features = confidence_features(candidates, calibration.temperature)
    confidence = logistic(features, np.asarray(calibration.coefficients))
    refused = confidence < calibration.refuse_below
    return LocationEstimate(
        lon=lon,
        lat=lat,
        confidence=confidence,
        refused=refused,
        radius_m=float(calibration.radius_share * candidates.size_m[0]),
        reason="the best tiles are not clearly better than the rest: the place is probably not "
        "in this gallery, or looks like many others"
        if refused
        else None,
    )


def candidate_weights(scores: Float64, temperature: float) -> Float64:
    """Softmax of scores / temperature; sums to one."""
    weights = np.exp((scores - scores[0]) / temperature)
    return np.asarray(weights / weights.sum(), np.float64)


def best_cluster(candidates: Candidates) -> NDArray[np.bool_]:
    """Which candidates lie within `CLUSTER_RADIUS_SHARE` tile sides of the best one."""
    apart_m = distance_m(candidates.lon, candidates.lat, candidates.lon[0], candidates.lat[0])
    return np.asarray(apart_m <= CLUSTER_RADIUS_SHARE * candidates.size_m[0])


def weighted_position(candidates: Candidates, temperature: float) -> tuple[float, float]:
    """(lon, lat) of the weighted mean of the best cluster, taken in local metres."""
    cluster = best_cluster(candidates)
    weights = candidate_weights(candidates.scores, temperature)[cluster]
    frame = LocalFrame(LonLat(float(candidates.lon[0]), float(candidates.lat[0])))
    east_m, north_m = frame.to_metres(candidates.lon[cluster], candidates.lat[cluster])
    weights = weights / weights.sum()
    lon, lat = frame.to_lonlat(east_m @ weights, north_m @ weights)
    return float(lon), float(lat)


def confidence_features(candidates: Candidates, temperature: float) -> Float64:
    """The logistic model's inputs, in the order of `FEATURES`.

    `cluster_logit` is the log odds of the best cluster's share of all weight; `score_gap` is the
    best score less the best one outside the cluster, in temperatures (0 when none is outside).
    """
    cluster = best_cluster(candidates)
    share = float(
        np.clip(candidate_weights(candidates.scores, temperature)[cluster].sum(), 1e-4, 1 - 1e-4)
    )
    outside = candidates.scores[~cluster]
    gap = (candidates.scores[0] - outside[0]) / temperature if len(outside) else 0.0
    return np.array([1.0, candidates.scores[0], np.log(share / (1 - share)), gap])


def logistic(features: Float64, coefficients: Float64) -> float:
    """``1 / (1 + exp(-features . coefficients))``."""
    return float(1 / (1 + np.exp(-np.clip(features @ coefficients, -30, 30))))
