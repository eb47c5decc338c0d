"""Damaged images are found by reading all, and left out with what hangs on them."""

import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import training
from crossfix.errors import DataError
from tests.tiny_datasets import save, write_cvusa, write_university
from tests.tiny_splits import split_of
from tests.tiny_towns import write_town
from tests.unit.test_dataset_university import open_at
from tests.unit.test_hold_out import names, table_of
from tests.unit.test_image_files import TINY
from training import run_data
from training.datasets import unreadable
from training.datasets.image_files import ImageFiles
from training.datasets.registry import open_dataset
from training.datasets.unreadable import Scan, find_unreadable, readable_split, without
from training.recipe_file import load_recipe
from training.run_data import open_run_data, readable_splits

RECIPES = Path(training.__file__).parent / "recipes"
TINY_TOWNS = load_recipe(RECIPES / "tiny.yaml")


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


def test_a_split_without_some_images_has_every_index_adapted():
    split = split_of(
        [[0], [1, 3], [2], [4]], 5, semi=[[1], [0, 4], [], [2, 3]], percent_of=9,
        query_xy=np.arange(8.0).reshape(4, 2), gallery_xy=np.arange(10.0).reshape(5, 2),
        kinds=np.array(["a", "b", "c", "d"]),
    )  # fmt: skip
    kept = readable_split(split, [0], [2, 3])
    assert names(kept.queries) == ["ground/0001.png", "ground/0002.png", "ground/0003.png"]
    assert names(kept.gallery) == [f"satellite/000{i}.png" for i in (0, 1, 4)]
    assert [kept.positives.of(i).tolist() for i in range(3)] == [[1], [], [2]]
    assert [kept.semi_positives.of(i).tolist() for i in range(3)] == [[0, 2], [], []]
    assert kept.percent_of == 7
    assert kept.query_positions.xy.tolist() == [[2, 3], [4, 5], [6, 7]]
    assert kept.gallery_positions.xy.tolist() == [[0, 1], [2, 3], [8, 9]]
    assert kept.kinds.tolist() == ["b", "c", "d"]


@pytest.mark.parametrize("seed", range(20))
def test_what_is_right_stays_right_whatever_leaves(seed):
    rng = np.random.default_rng(seed)
    right = rng.random((6, 7)) < 0.3
    split = split_of([np.flatnonzero(row).tolist() for row in right], 7)
    queries, gallery = rng.random(6) < 0.6, rng.random(7) < 0.6
    queries[0] = gallery[0] = True
    kept = readable_split(split, np.flatnonzero(~queries), np.flatnonzero(~gallery))
    found = np.zeros((queries.sum(), gallery.sum()), bool)
    for i in range(len(found)):
        found[i, kept.positives.of(i)] = True
    np.testing.assert_array_equal(found, right[queries][:, gallery])


def test_a_split_of_which_nothing_is_left_is_refused():
    split = split_of([[0], [1]], 2)
    with pytest.raises(DataError, match="no query of cvusa val is left"):
        readable_split(split, [0, 1], [])
    with pytest.raises(DataError, match="no gallery image of cvusa val is left"):
        readable_split(split, [], [0, 1])


def read_counts(monkeypatch):
    counts, read = {}, ImageFiles.read

    def counted(self, index, rng=None):
        counts[self.names[index]] = counts.get(self.names[index], 0) + 1
        return read(self, index, rng)

    monkeypatch.setattr(ImageFiles, "read", counted)
    return counts


def damage(path):
    path.write_bytes(path.read_bytes()[:200])


def damaged_cvusa(root):
    """One training panorama, one test panorama and another's tile are damaged."""
    write_cvusa(root, train=14, val=6)
    rows = [(root / "splits" / f"{part}-19zl.csv").read_text().split() for part in ("train", "val")]
    (_, photo, _), (_, query, _), (tile, _, _) = (
        row.split(",") for row in (rows[0][0], rows[1][0], rows[1][1])
    )
    for name in (photo, query, tile):
        damage(root / name)
    return photo, query, tile


def test_what_selects_the_weights_is_scanned_too_and_every_image_once(
    tmp_path, monkeypatch, caplog
):
    photo, query, tile = damaged_cvusa(tmp_path / "data")
    counts = read_counts(monkeypatch)
    recipe = load_recipe(RECIPES / "cvusa_paper.yaml", ["runtime.device=cpu"])
    opened = open_run_data(recipe, [tmp_path / "data"], [], tmp_path / "run", skip_unreadable=True)
    assert photo not in names(opened.tables["ground"].queries)
    (split,) = opened.validation
    assert (len(split.queries), len(split.gallery), split.percent_of) == (5, 5, 5)
    assert sorted(split.positives.counts()) == [0, 1, 1, 1, 1]
    assert "1 queries have lost every right one" in caplog.text
    listed = (tmp_path / "run" / "unreadable.txt").read_text().split()
    assert listed == [photo, query, tile]
    assert set(counts.values()) == {1}
    assert len(counts) == 40


def test_held_out_places_are_cut_from_tables_already_read(tmp_path, monkeypatch):
    photo, *_ = damaged_cvusa(tmp_path / "data")
    counts = read_counts(monkeypatch)
    recipe = load_recipe(
        RECIPES / "cvusa.yaml", ["runtime.device=cpu", "data.validation_share=0.3"]
    )
    opened = open_run_data(recipe, [tmp_path / "data"], [], tmp_path / "run", skip_unreadable=True)
    (split,) = opened.validation
    assert photo not in names(split.queries) + names(opened.tables["ground"].queries)
    assert len(split.queries) > 0
    assert set(counts.values()) == {1}
    assert len(counts) == 28


def test_evaluation_splits_are_made_readable_and_what_they_lack_is_listed(tmp_path):
    _, query, tile = damaged_cvusa(tmp_path / "data")
    recipe = load_recipe(RECIPES / "cvusa.yaml")
    splits = open_dataset(recipe, [tmp_path / "data"]).evaluation("val")
    (split,) = readable_splits(splits, tmp_path / "new" / "left_out.txt")
    assert (len(split.queries), len(split.gallery)) == (5, 5)
    assert (tmp_path / "new" / "left_out.txt").read_text().split() == [query, tile]
    (again,) = readable_splits([split], None)
    assert again is split


def test_tiles_that_all_views_share_are_read_once(tmp_path, monkeypatch):
    data = open_at(write_university(tmp_path / "U"))
    counts, scan = read_counts(monkeypatch), Scan()
    for table in data.training().values():
        assert scan.readable_table(table) is table
    assert set(counts.values()) == {1}
    assert scan.names == []


def test_damaged_photos_of_towns_are_left_out_of_training_and_validation(tmp_path, caplog):
    for number, name in enumerate("ab"):
        town = write_town(tmp_path / "towns" / name, seed=number, drone=4, panoramas=4, street=0)
        damage(town / "drone" / f"000{number}.jpg")
    folders, run = [tmp_path / "towns"], tmp_path / "run"
    with pytest.raises(DataError, match=r"drone/0000\.jpg cannot be read"):
        open_run_data(TINY_TOWNS, folders, [], run, skip_unreadable=False)
    for _ in range(2):  # the second time out of the cache
        opened = open_run_data(TINY_TOWNS, folders, [], run, skip_unreadable=True)
        assert names(opened.tables["drone"].queries) == [f"a/drone/000{i}.jpg" for i in (1, 2, 3)]
        assert len(opened.tables["drone"].tiles) == len(opened.tables["drone"].positions) == 3
        assert len(opened.tables["ground"]) == 4
        split = next(s for s in opened.validation if s.queries.spec.view == "drone")
        assert names(split.queries) == [f"b/drone/000{i}.jpg" for i in (0, 2, 3)]
        assert len(split.positives) == len(split.query_positions) == 3
        listed = (run / "unreadable.txt").read_text().split()
        assert listed == ["a/drone/0000.jpg", "b/drone/0001.jpg"]
    assert "town a: left out 1 of 4 drone photos, unreadable" in caplog.text
    with pytest.raises(DataError, match=r"drone/0000\.jpg cannot be read"):
        open_run_data(TINY_TOWNS, folders, [], run, skip_unreadable=False)


@pytest.mark.parametrize("main", [True, False])
def test_only_the_main_process_writes_the_list(tmp_path, monkeypatch, main):
    damaged_cvusa(tmp_path / "data")
    asked = []

    def state(*, cpu):
        asked.append(cpu)
        return SimpleNamespace(is_main_process=main)

    monkeypatch.setattr(run_data, "PartialState", state)
    recipe = load_recipe(RECIPES / "cvusa_paper.yaml", ["runtime.device=cpu"])
    opened = open_run_data(recipe, [tmp_path / "data"], [], tmp_path / "run", skip_unreadable=True)
    assert len(opened.tables["ground"]) == 13
    assert (tmp_path / "run" / "unreadable.txt").exists() == main
    assert asked == [True]
