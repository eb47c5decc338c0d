import numpy as np
import pytest

from crossfix.metrics import (
    average_precision,
    average_precision_of_hits,
    expected_calibration_error,
    percent_cutoff,
    ranks_of_first_positive,
    recall_at_k,
    retrieval_report,
    share_within,
)


def test_hand_computed_ranks():
    scores = [[0.9, 0.5, 0.1], [0.2, 0.8, 0.5], [0.1, 0.2, 0.3]]
    positives = np.array([[1, 0, 0], [0, 0, 1], [1, 1, 0]], bool)
    ranks = ranks_of_first_positive(scores, positives)
    assert ranks.tolist() == [0, 1, 1]
    assert recall_at_k(ranks, 1) == pytest.approx(1 / 3)
    assert recall_at_k(ranks, 2) == 1


def test_a_collapsed_encoder_scores_zero_not_hundred():
    ranks = ranks_of_first_positive(np.ones((4, 50)), np.eye(4, 50, dtype=bool))
    assert ranks.tolist() == [49] * 4


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_scores_are_refused(bad):
    with pytest.raises(ValueError, match="NaN or infinity"):
        ranks_of_first_positive([[0.1, bad]], [[True, False]])


def test_a_query_without_a_positive_is_a_miss():
    ranks = ranks_of_first_positive([[0.3, 0.2]], [[False, False]])
    assert ranks.tolist() == [2]


def test_recall_of_no_queries_is_zero():
    assert recall_at_k([], 1) == 0


def test_average_precision_by_hand():
    # One positive at rank r (0-based): trapezoid (0/r + 1/(r+1)) / 2, and 1 at rank 0.
    assert average_precision([0.9, 0.1], [True, False]) == 1
    assert average_precision([0.9, 0.1], [False, True]) == pytest.approx(0.25)
    # Positives at ranks 0 and 2: (1 + (1/2 + 2/3) / 2) / 2.
    assert average_precision([3, 2, 1], [True, False, True]) == pytest.approx(
        (1 + (1 / 2 + 2 / 3) / 2) / 2
    )
    assert average_precision([1.0, 1.0], [True, False]) == pytest.approx(0.25)  # tie is against
    assert average_precision([1.0], [False]) == 0


def test_calibration_error():
    assert expected_calibration_error([0.95] * 20, [True] * 19 + [False]) == pytest.approx(0)
    assert expected_calibration_error([0.95] * 20, [False] * 20) == pytest.approx(0.95)
    assert expected_calibration_error([], []) == 0


def test_report_states_chance():
    report = retrieval_report([0, 7], gallery_size=100, positives_per_query=2)
    assert report["recall_at_1"] == 0.5
    assert report["recall_at_10"] == 1
    assert report["chance_at_1"] == pytest.approx(0.02)
    assert report["chance_at_5"] == pytest.approx(1 - 0.98**5)


@pytest.mark.parametrize(
    ("rule", "of_8884", "of_951", "of_51355", "of_90618", "of_100", "of_60"),
    [
        ("floor", 88, 9, 513, 906, 1, 0),
        ("floor_plus_one", 89, 10, 514, 907, 2, 1),
        ("ceil", 89, 10, 514, 907, 1, 1),
        ("round_plus_one", 90, 11, 515, 907, 2, 2),
    ],
)
def test_percent_cutoffs_of_the_published_galleries(
    rule, of_8884, of_951, of_51355, of_90618, of_100, of_60
):
    sizes = {8884: of_8884, 951: of_951, 51355: of_51355, 90618: of_90618, 100: of_100, 60: of_60}
    assert {size: percent_cutoff(size, rule) for size in sizes} == sizes


def test_the_ceil_rule_is_a_rank_below_one_percent():
    for size in (1, 99, 100, 101, 2900, 8884):
        assert percent_cutoff(size, "ceil") == sum(100 * rank < size for rank in range(size))


@pytest.mark.parametrize(("rank", "wanted"), [(1, 1.0), (2, 1 / 4), (3, 1 / 6), (10, 1 / 20)])
def test_average_precision_of_one_match_at_a_rank(rank, wanted):
    assert average_precision_of_hits([rank - 1]) == pytest.approx(wanted)


def test_share_of_errors_within_a_radius():
    assert share_within([1, 5, 5.1, 30], 5) == 0.5
    assert share_within([], 5) == 0
    with pytest.raises(ValueError, match="NaN"):
        share_within([1, np.nan], 5)
