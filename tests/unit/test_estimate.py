import numpy as np
import pytest

from crossfix.estimate import (
    FEATURES,
    Calibration,
    Candidates,
    confidence_features,
    estimate,
    weighted_position,
)
from crossfix.geodesy import LocalFrame, LonLat, distance_m

FRAME = LocalFrame(LonLat(9.0, 50.0))


def candidates(places_m, scores, size_m=100.0):
    lon, lat = FRAME.to_lonlat(*np.array(places_m, float).T)
    return Candidates(np.array(scores, float), lon, lat, np.full(len(scores), size_m))


def calibration(**changes):
    values = {
        "temperature": 0.05,
        "coefficients": (-1.0, 0.0, 1.0, 0.5),
        "radius_share": 0.4,
        "refuse_below": 0.5,
        "sample_count": 100,
        "data": "test",
    }
    return Calibration(**(values | changes))


def test_equal_neighbours_give_the_point_between_them():
    lon, lat = weighted_position(candidates([(0, 0), (50, 0)], [0.8, 0.8]), 0.05)
    east_m, north_m = FRAME.to_metres(lon, lat)
    assert east_m == pytest.approx(25, abs=0.01)
    assert north_m == pytest.approx(0, abs=0.01)


def test_a_far_candidate_does_not_pull():
    near = candidates([(0, 0), (50, 0)], [0.8, 0.7])
    with_far = candidates([(0, 0), (50, 0), (5000, 0)], [0.8, 0.7, 0.7])
    assert weighted_position(near, 0.05) == pytest.approx(weighted_position(with_far, 0.05))


def test_a_lower_temperature_trusts_the_best_more():
    pair = candidates([(0, 0), (50, 0)], [0.8, 0.7])
    cold, _ = FRAME.to_metres(*weighted_position(pair, 0.01))
    warm, _ = FRAME.to_metres(*weighted_position(pair, 1.0))
    assert cold < 1 < 20 < warm < 25


def test_clear_winner_is_confident_and_flat_scores_are_refused():
    clear = estimate(
        candidates([(0, 0), (50, 0), (900, 0), (0, 900)], [0.9, 0.8, 0.3, 0.3]), calibration()
    )
    flat = estimate(
        candidates([(0, 0), (500, 0), (900, 0), (0, 900)], [0.4, 0.4, 0.4, 0.4]), calibration()
    )
    assert clear.confidence > 0.9
    assert not clear.refused
    assert clear.reason is None
    assert flat.confidence < 0.5
    assert flat.refused
    assert "not in this gallery" in flat.reason


def test_radius_is_in_metres_of_the_tile():
    answer = estimate(candidates([(0, 0)], [0.9], size_m=80), calibration(radius_share=0.5))
    assert answer.radius_m == pytest.approx(40)
    assert float(distance_m(answer.lon, answer.lat, 9.0, 50.0)) < 0.01


def test_features_are_finite_for_a_single_candidate():
    features = confidence_features(candidates([(0, 0)], [1.0]), 0.05)
    assert features.shape == (len(FEATURES),)
    assert np.isfinite(features).all()


def test_unsorted_or_empty_candidates_are_a_programming_error():
    with pytest.raises(ValueError, match="sorted"):
        candidates([(0, 0), (1, 1)], [0.1, 0.9])
    with pytest.raises(ValueError, match="at least one"):
        Candidates(*(np.zeros(0),) * 4)
