"""University-1652's protocol against its definitions written out in loops, and by hand."""

import numpy as np
import pytest

from crossfix.matches import Matches
from tests.tiny_datasets import write_university
from tests.tiny_pairs import tiny
from training.datasets.split import EvaluationSplit
from training.datasets.university1652 import University1652
from training.evaluation.report import evaluate_split, result_rows

VIEWS = tiny(
    "data.query_views=[drone, ground]", "data.ground_kind=street", "data.ground_width_px=32"
).views()


class Images:
    """A set of images that knows only its view and its embeddings (N, D)."""

    def __init__(self, view, rows):
        self.spec, self.rows = VIEWS[view], np.asarray(rows, np.float32)

    def __len__(self):
        return len(self.rows)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def evaluated(queries, gallery, right, groups=None):
    """The table row of queries (Q, D) in a gallery (N, D); `right` holds lists of indices."""
    split = EvaluationSplit(
        name="university1652 of the test", protocol="same building",
        queries=Images("drone", queries), gallery=Images("satellite", gallery),
        positives=Matches.from_lists(right), semi_positives=None, percent_of=len(gallery),
        query_positions=None, gallery_positions=None, kinds=None, query_groups=groups,
    )  # fmt: skip
    result = evaluate_split(split, lambda images: images.rows)
    (row,) = result_rows([result], weights="golden")
    return row


def plain_figures(scores, right):
    """R@1, R@5, R@10, R@1% and AP by the definitions; queries without a match count as misses."""
    count = len(right)
    hits, precision = np.zeros(len(scores[0])), 0.0
    for row, own in zip(scores, right, strict=True):
        if not len(own):
            continue
        order = np.argsort(row)[::-1]
        places = [place for place, item in enumerate(order) if item in own]
        hits[places[0] :] += 1
        for i, place in enumerate(places):
            before = i / place if place else 1.0
            precision += (before + (i + 1) / (place + 1)) / 2 / len(places)
    percent = round(0.01 * len(scores[0]))
    cmc = hits / count
    return cmc[0], cmc[4], cmc[9], cmc[percent], precision / count


FIGURES = ("recall_at_1", "recall_at_5", "recall_at_10", "recall_at_1_percent",
           "average_precision")  # fmt: skip


@pytest.mark.parametrize(("gallery", "matches"), [(951, 1), (300, 7), (60, 54), (1040, 3)])
def test_figures_are_those_of_the_definitions(gallery, matches):
    rng = np.random.default_rng(gallery)
    items = unit(rng.standard_normal((gallery, 16)))
    right = [rng.permutation(gallery)[:matches] for _ in range(40)]
    right[7] = right[21] = np.zeros(0, int)  # a building that the gallery lacks
    towards = np.stack([items[own].sum(axis=0) for own in right])
    queries = unit(towards + 0.4 * rng.standard_normal((40, 16)))
    expected = plain_figures(queries.astype(np.float32) @ items.astype(np.float32).T, right)
    row = evaluated(queries, items, right)
    assert row["queries_without_positive"] == 2
    assert [row[name] for name in FIGURES] == pytest.approx(expected, rel=1e-5)
    assert 0 < row["recall_at_1"] < 1


def test_two_queries_by_hand():
    """Ranks 1 and 4 of one query's two matches, and none of the other's in the gallery."""
    gallery = unit(np.stack([np.cos([0.0, 0.1, 0.2, 0.3]), np.sin([0.0, 0.1, 0.2, 0.3])], axis=1))
    row = evaluated([[1.0, 0.0], [0.0, 1.0]], gallery, [[0, 3], []])
    # (1/2) ((1 + 1)/2 + (1/3 + 2/4)/2) for the first, 0 for the second, divided by both
    assert row["average_precision"] == pytest.approx((1 + 5 / 12) / 2 / 2)
    assert row["recall_at_1"] == 0.5


@pytest.mark.parametrize(("items", "last"), [(951, 10), (1049, 10), (1051, 11)])
def test_one_percent_is_the_rounded_one_and_one_more(items, last):
    """With 951 tiles R@1% is Recall@11: found at the 11th place counts, at the 12th not."""
    angle = np.linspace(0, 1, items)
    gallery = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    query = [[1.0, 0.0]]
    assert evaluated(query, gallery, [[last]])["recall_at_1_percent"] == 1
    assert evaluated(query, gallery, [[last + 1]])["recall_at_1_percent"] == 0


def test_photos_that_ask_together_ask_by_the_mean_of_their_directions():
    gallery = np.eye(3)
    photos = unit(np.array([[3.0, 2.9, 0.0], [0.0, 2.9, 3.0], [0.1, 0.1, 1.0]]))
    groups = Matches.from_lists([[0, 1], [2]])
    row = evaluated(photos, gallery, [[1], [2]], groups)
    assert (row["queries"], row["recall_at_1"]) == (2, 1.0)
    alone = evaluated(photos, gallery, [[1], [1], [2]])
    assert alone["recall_at_1"] == pytest.approx(1 / 3)


def test_distractors_compete_where_junk_would_be_taken_out(tmp_path):
    """A distractor nearer than the truth costs the query its first place."""
    root = write_university(tmp_path / "U", distractors_160k=3)
    data = University1652.open(root, VIEWS, mode="correct")
    rows = {}
    for protocol in ("drone-to-satellite", "drone-to-satellite-160k"):
        (split,) = data.evaluation(protocol)

        def embed(images):
            names = [images.name(i) for i in range(len(images))]
            near = {"gallery_satellite/0011": [1.0, 0.0], "gallery_satellite_160k/d00001": [1, 0.1]}
            found = [next((v for k, v in near.items() if k in name), [0.6, 0.8]) for name in names]
            asks = [
                [1.0, 0.1] if "query" in name else v for name, v in zip(names, found, strict=True)
            ]
            return unit(np.array(asks)).astype(np.float32)

        (rows[protocol],) = result_rows([evaluate_split(split, embed)], weights="golden")
    assert rows["drone-to-satellite"]["recall_at_1"] == 0.5  # 0011 is found, 0012 is not
    assert rows["drone-to-satellite-160k"]["recall_at_1"] == 0
    assert rows["drone-to-satellite-160k"]["gallery"] == 4 + 3
