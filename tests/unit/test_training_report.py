"""Evaluation of splits: rows worked out by hand, pooling, defaults, and the table."""

import numpy as np
import pytest

from crossfix.errors import DataError
from crossfix.estimate import Candidates, weighted_position
from crossfix.geodesy import LocalFrame, LonLat, distance_m
from tests.tiny_splits import scores_embedder, spec_of, split_of
from training.evaluation.report import (
    PositionEstimator,
    default_cutoff,
    embed_once,
    evaluate_split,
    file_name,
    overall_rows,
    result_rows,
)
from training.evaluation.table import format_rows

SCORES = [[0.9, 0.5, 0.1, 0.0], [0.6, 0.8, 0.7, 0.5], [0.4, 0.4, 0.1, 0.2]]
PLANE = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 30.0], [300.0, 400.0]])


def rows_of(split, scores=SCORES, **options):
    return result_rows([evaluate_split(split, scores_embedder(scores), **options)], weights="w")


def test_a_row_by_hand():
    split = split_of(
        [[0], [2], [0]], 4, semi=[[], [1], []], query_xy=PLANE[[0, 2, 0]] + 3.0, gallery_xy=PLANE
    )
    (row,) = rows_of(split)
    assert row["split"] == "cvusa val"
    assert (row["protocol"], row["view"], row["kind"]) == ("id-exact", "ground", "all")
    assert (row["weights"], row["queries"], row["gallery"]) == ("w", 3, 4)
    # Ranks 0, 1 (behind tile 1), 1 (tile 1 has the same score).
    assert row["recall_at_1"] == pytest.approx(1 / 3)
    assert row["recall_at_5"] == row["recall_at_10"] == 1
    assert row["hit_rate"] == pytest.approx(2 / 3)
    assert row["average_precision"] == pytest.approx((1 + 1 / 4 + 1 / 4) / 3)
    assert row["chance_at_1"] == pytest.approx(1 / 4)
    # Best tiles 0, 1, 0, at 3, 3 from, (-7, 33) from, 3, 3 from the truths.
    assert row["median_error_m"] == pytest.approx(np.hypot(3, 3))
    assert row["within_5_m"] == pytest.approx(2 / 3)
    assert row["within_25_m"] == pytest.approx(2 / 3)
    assert row["within_50_m"] == row["within_100_m"] == 1
    assert "median_estimate_error_m" not in row


def test_what_a_data_set_cannot_give_is_left_out():
    (row,) = rows_of(split_of([[0], [2], []], 4))
    assert not {"hit_rate", "median_error_m", "within_5_m"} & set(row)
    assert row["queries_without_positive"] == 1


def test_ties_follow_the_mode():
    split = split_of([[1], [1], [1]], 4)
    same = np.ones((3, 4))
    assert rows_of(split, same)[0]["recall_at_1"] == 0
    assert rows_of(split, same, mode="paper")[0]["recall_at_1"] == 1


def test_a_collapsed_encoder_scores_nothing():
    (row,) = rows_of(split_of([[i] for i in range(30)], 30), np.ones((30, 30)))
    assert row["recall_at_1"] == row["recall_at_10"] == 0
    assert row["average_precision"] == pytest.approx(1 / 60)


@pytest.mark.parametrize(("cutoff", "wanted"), [("floor", 0.0), ("floor_plus_one", 1 / 3)])
def test_the_percent_cutoff_is_that_of_its_rule(cutoff, wanted):
    (row,) = rows_of(split_of([[0], [2], [0]], 4), cutoff=cutoff)
    assert row["recall_at_1_percent"] == pytest.approx(wanted)
    assert row["percent_rule"] == cutoff


def test_the_percent_is_of_the_size_the_split_names():
    (row,) = rows_of(split_of([[0], [2], [0]], 4, percent_of=200))
    assert row["recall_at_1_percent"] == 1


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("university1652 drone-to-satellite", "round_plus_one"),
        ("vigor cross-area test", "floor"),
        ("town_3001", "floor"),
        ("", "floor"),
    ],
)
def test_each_data_set_has_its_usual_rule(name, rule):
    assert default_cutoff(name) == rule


def test_kinds_are_reported_apart_and_together():
    kinds = np.array(["street", "panorama", "panorama"])
    rows = rows_of(split_of([[0], [2], [0]], 4, kinds=kinds))
    found = {row["kind"]: (row["queries"], row["recall_at_1"]) for row in rows}
    assert found == {"street": (1, 1.0), "panorama": (2, 0.0), "all": (3, pytest.approx(1 / 3))}
    (row,) = rows_of(split_of([[0], [2], [0]], 4, kinds=np.array(["drone"] * 3)))
    assert row["kind"] == "all"


def test_splits_of_one_view_are_pooled_over_queries():
    good = split_of([[0], [1]], 4, name="a", query_xy=PLANE[:2], gallery_xy=PLANE)
    bad = split_of([[1], [0], [3]], 4, name="b")
    drone = split_of([[0]], 4, name="a", query_spec=spec_of("drone"))
    results = [
        evaluate_split(good, scores_embedder(SCORES[:2])),
        evaluate_split(bad, scores_embedder(SCORES)),
        evaluate_split(drone, scores_embedder(SCORES[:1])),
    ]
    rows = result_rows(results, weights="trained")
    assert [(row["split"], row["view"]) for row in rows] == [
        ("a", "ground"), ("b", "ground"), ("a", "drone"), ("pooled", "ground"),
    ]  # fmt: skip
    assert rows[3]["queries"] == 5
    assert rows[3]["recall_at_1"] == pytest.approx(2 / 5)
    assert "median_error_m" in rows[0]
    assert "median_error_m" not in rows[3]  # only one of the two has positions
    assert overall_rows(rows) == [rows[2], rows[3]]


def test_degrees_give_metres_and_the_weighted_estimate():
    frame = LocalFrame(LonLat(15.4, 47.1))
    gallery = np.stack(frame.to_lonlat(PLANE[:, 0], PLANE[:, 1]), axis=1)
    truth = np.stack(frame.to_lonlat([4.0], [0.0]), axis=1)
    split = split_of(
        [[0]], 4, query_xy=truth, gallery_xy=gallery, position_kind="lonlat"
    )  # fmt: skip
    estimator = PositionEstimator(tile_size_m=20.0, temperatures={"ground": 0.2})
    result = evaluate_split(split, scores_embedder([SCORES[0]]), estimator=estimator)
    assert result.errors_m[0] == pytest.approx(4.0, abs=1e-3)
    order = [0, 1, 2, 3]
    candidates = Candidates(
        np.float32(SCORES[0]).astype(float), *gallery[order].T, np.full(4, 20.0)
    )
    lon, lat = weighted_position(candidates, 0.2)
    assert result.estimate_errors_m[0] == pytest.approx(float(distance_m(lon, lat, *truth[0])))
    assert result.estimate_errors_m[0] < result.errors_m[0]
    assert "median_estimate_error_m" in result_rows([result], weights="trained")[0]


def test_a_shared_gallery_is_embedded_once():
    asked = []

    def embed(images):
        asked.append(images)
        return np.eye(4, dtype=np.float32)[: len(images)]

    first = split_of([[0]], 4)
    remembered = embed_once(embed)
    for _ in range(2):
        evaluate_split(first, remembered)
    assert asked == [first.queries, first.gallery]


def test_broken_embeddings_are_refused():
    with pytest.raises(DataError, match="1 of 3 query embeddings"):
        rows_of(split_of([[0], [1], [2]], 4), [[0, 0, 0, 0], [0, np.nan, 0, 0], [0, 0, 0, 0]])


def test_the_table_is_aligned_and_fits_a_terminal():
    kinds = np.array(["street", "panorama", "panorama"])
    split = split_of(
        [[0], [2], [0]], 4, name="vigor same-area test", semi=[[], [1], []], kinds=kinds,
        query_xy=PLANE[[0, 2, 0]] * 1000, gallery_xy=PLANE * 1000,
    )  # fmt: skip
    lines = format_rows(rows_of(split)).splitlines()
    assert lines[1] == "vigor same-area test: id-exact; 4 in the gallery; R@1% by floor"
    assert max(map(len, lines)) <= 120
    assert "estimate" not in lines[0]
    ends = {line.rindex(cell) + len(cell) for line, cell in zip(
        [lines[0], *lines[2:]], ["R@1%", *["0.00"] * 3], strict=True
    ) if cell == "R@1%"}  # fmt: skip
    (end,) = ends
    assert all(line[end - 4 : end] == "0.00" for line in lines[2:])
    assert lines[2].split()[:4] == ["ground", "panorama", "w", "2"]


def test_a_missing_figure_is_a_dash():
    rows = rows_of(split_of([[0], [1], [2]], 4)) + rows_of(
        split_of([[0], [1], [2]], 4, semi=[[], [], []], name="vigor")
    )
    lines = format_rows(rows).splitlines()
    assert lines[2].endswith(" -")
    assert not lines[4].endswith(" -")


def test_file_names_are_plain():
    assert file_name("VIGOR cross-area / test") == "vigor-cross-area-test"
    result = evaluate_split(split_of([[0]], 4, name="town 1"), scores_embedder([SCORES[0]]))
    assert result.file_stem == "town-1-ground"
