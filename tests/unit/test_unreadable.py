"""Damaged images are found by reading all, and left out with what hangs on them."""

import logging

import pytest

from crossfix.errors import DataError
from tests.tiny_datasets import save, write_university
from tests.unit.test_dataset_university import open_at
from tests.unit.test_hold_out import names, table_of
from tests.unit.test_image_files import TINY
from training.datasets import unreadable
from training.datasets.image_files import ImageFiles
from training.datasets.unreadable import find_unreadable, without


def test_all_damaged_images_are_found_and_named(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(unreadable, "_AT_ONCE", 3)
    monkeypatch.setattr(unreadable, "LOG_EVERY_S", -1.0)
    for i in range(8):
        save(tmp_path / f"{i}.jpg", i, 40, 40)
    (tmp_path / "2.jpg").write_bytes(b"")
    (tmp_path / "7.jpg").write_bytes((tmp_path / "7.jpg").read_bytes()[:200])
    files = ImageFiles(tmp_path, tuple(f"{i}.jpg" for i in range(8)), TINY["drone"])
    with caplog.at_level(logging.INFO):
        assert find_unreadable(files, threads=3) == [2, 7]
    assert "7.jpg cannot be read" in caplog.text
    assert "read 4 of 8 drone images" in caplog.text
    assert "2 of 8 drone images unreadable" in caplog.text


def test_tiles_that_lost_every_photo_leave_too_others_stay():
    table = without(table_of([0, 0, 1, 2], tiles=4), [0, 2], [])
    assert names(table.queries) == ["q1", "q3"]
    assert names(table.tiles) == ["t0", "t2", "t3"]
    with pytest.raises(DataError, match="no drone pair is left"):
        without(table_of([0, 1], tiles=2), [0], [1])


def test_a_data_set_trains_on_without_a_damaged_tile(tmp_path):
    root = write_university(tmp_path / "U")
    (root / "train/satellite/0002/0002.jpg").write_bytes(b"broken")
    table = open_at(root).training()["drone"]
    kept = without(table, find_unreadable(table.queries), find_unreadable(table.tiles))
    assert len(kept) == 9
    assert "train/satellite/0002/0002.jpg" not in names(kept.tiles)
    assert kept.reference.tolist() == [0] * 3 + [1] * 3 + [2] * 3
