"""CVUSA's reader: lists, places by number, and what it says when something is missing."""

import shutil

import numpy as np
import pytest

from crossfix.errors import DataError
from tests.tiny_datasets import write_cvusa
from tests.unit.test_image_files import CVUSA
from training.datasets.cvusa import Cvusa


@pytest.fixture
def root(tmp_path):
    return write_cvusa(tmp_path / "CVUSA")


def test_training_pairs_are_the_lists(root):
    table = Cvusa.open(root, CVUSA).training()["ground"]
    assert len(table) == len(table.tiles) == 6
    assert table.queries.name(1) == "streetview/panos/0000003.jpg"
    assert table.tiles.name(1) == "bingmap/19/0000003.jpg"
    assert table.queries.read(0).shape == (140, 768, 3)
    assert table.tiles.read(0).shape == (384, 384, 3)
    np.testing.assert_array_equal(table.reference, np.arange(6))
    assert table.semi_positives.shape == (6, 0)


def test_places_are_the_cameras_by_number(root):
    table = Cvusa.open(root, CVUSA).training()["ground"]
    assert table.positions.kind == "lonlat"
    np.testing.assert_allclose(table.positions.xy[1], (-93.001, 33.001))
    (split,) = Cvusa.open(root, CVUSA).evaluation("val")
    np.testing.assert_allclose(split.query_positions.xy[0], (-92.001, 32.001))
    np.testing.assert_allclose(split.gallery_positions.xy[0], (-92, 32))


def test_validation_matches_one_to_one(root):
    data = Cvusa.open(root, CVUSA)
    (split,) = data.evaluation(data.protocols[0])
    assert len(split.queries) == len(split.gallery) == split.percent_of == 4
    assert [split.positives.of(i).tolist() for i in range(4)] == [[0], [1], [2], [3]]
    with pytest.raises(DataError, match="no protocol 'test'") as raised:
        data.evaluation("test")
    assert "val" in raised.value.hint


def test_places_may_be_missing(tmp_path):
    data = Cvusa.open(write_cvusa(tmp_path, places=False), CVUSA)
    assert data.training()["ground"].positions is None
    assert data.evaluation("val")[0].query_positions is None
    assert "missing" in data.card.counts["split_locations/all.csv"]


def test_too_few_places_are_refused(root):
    table = root / "split_locations/all.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:3]))
    with pytest.raises(DataError, match=r"all\.csv has 3 rows, but the lists hold number 10"):
        Cvusa.open(root, CVUSA).training()


def test_what_is_missing_is_named_with_what_to_get(root, tmp_path):
    with pytest.raises(DataError, match="there is no such folder") as raised:
        Cvusa.open(tmp_path / "nowhere", CVUSA)
    assert "CVPR_subset" in raised.value.hint
    (root / "streetview/panos/0000001.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 12 listed images .* streetview/panos/0000001\.jpg"):
        Cvusa.open(root, CVUSA).training()
    shutil.rmtree(root / "bingmap")
    with pytest.raises(DataError, match="bingmap/19 is missing"):
        Cvusa.open(root, CVUSA).training()
    (root / "splits/val-19zl.csv").unlink()
    with pytest.raises(DataError, match=r"splits/val-19zl\.csv is missing"):
        Cvusa.open(root, CVUSA)


@pytest.mark.parametrize("row", ["bingmap/19/x.jpg,a.jpg", "bingmap/19/0000001.jpg"])
def test_rows_that_are_no_pair_are_refused(root, row):
    (root / "splits/train-19zl.csv").write_text(row)
    with pytest.raises(DataError, match=r"row 1 of splits/train-19zl\.csv"):
        Cvusa.open(root, CVUSA).training()
