"""CVACT's reader: the .mat file, pairs without an image, and the rule of 5 m."""

import shutil

import numpy as np
import pytest
from scipy.io import savemat

from crossfix.errors import DataError
from tests.tiny_datasets import write_cvact
from tests.unit.test_image_files import CVUSA
from training.datasets.cvact import Cvact


@pytest.fixture
def root(tmp_path):
    return write_cvact(tmp_path / "CVACT")


def open_at(root):
    return Cvact.open(root, CVUSA)


def rows(matches):
    return [matches.of(i).tolist() for i in range(len(matches))]


@pytest.mark.parametrize("cells", [False, True], ids=["characters", "cells"])
def test_names_come_as_characters_or_cells(tmp_path, cells):
    data = open_at(write_cvact(tmp_path, cells=cells))
    assert data.table.ids[:2] == ("pano00", "pano01")
    assert [len(part) for part in (data.table.train, data.table.val, data.table.test)] == [5, 4, 6]
    assert data.table.train[0] == 0


def test_training_pairs_have_places_in_metres(root):
    table = open_at(root).training()["ground"]
    assert table.queries.name(2) == "ANU_data_small/streetview/pano02_grdView.jpg"
    assert table.tiles.name(2) == "ANU_data_small/satview_polish/pano02_satView_polish.jpg"
    assert table.positions.kind == "plane_m"
    np.testing.assert_allclose(table.positions.xy[:3, 0] - 690_000, [0, 3, 80])
    assert table.queries.read(0).shape == (140, 768, 3)


def test_a_pair_without_an_image_is_skipped_and_counted(root, caplog):
    (root / "ANU_data_small/satview_polish/pano01_satView_polish.jpg").unlink()
    data = open_at(root)
    table = data.training()["ground"]
    assert [table.queries.name(i)[-18:-12] for i in range(4)] == [
        "pano00", "pano02", "pano03", "pano04"
    ]  # fmt: skip
    np.testing.assert_allclose(table.positions.xy[1, 0], 690_080)
    assert "1 of 5 training pairs lack an image" in caplog.text
    assert data.card.counts["training pairs lacking an image"] == "1"
    assert data.card.counts["validation pairs lacking an image"] == "0"


def test_by_id_only_the_own_tile_is_right_within_5_m_a_near_one_too(root):
    data = open_at(root)
    (by_id,) = data.evaluation("val")
    assert rows(by_id.positives) == [[0], [1], [2], [3]]
    (near,) = data.evaluation("val-5m")
    assert rows(near.positives) == [[0, 1], [0, 1], [2], [3]]
    assert near.protocol == "within 5 m"
    assert near.query_positions.kind == near.gallery_positions.kind == "plane_m"


def test_the_test_set_is_what_both_folders_hold_in_order(root):
    (root / "ANU_data_test/streetview/pano14_grdView.jpg").unlink()
    extra = root / "ANU_data_test"
    shutil.copy(extra / "streetview/pano09_grdView.jpg", extra / "streetview/alone_grdView.jpg")
    for folder, end in (("streetview", "grdView"), ("satview_polish", "satView_polish")):
        source = extra / folder / f"pano09_{end}.jpg"
        shutil.copy(source, extra / folder / f"a-new_{end}.jpg")
    data = open_at(root)
    (by_id,) = data.evaluation("test")
    names = [by_id.queries.name(i).split("/")[-1].split("_")[0] for i in range(len(by_id.queries))]
    assert names == ["a-new", "pano09", "pano10", "pano11", "pano12", "pano13"]
    assert by_id.query_positions is None
    (near,) = data.evaluation("test-5m")
    assert len(near.queries) == 5
    assert rows(near.positives)[:3] == [[0, 1], [0, 1], [2]]


def test_the_test_protocol_needs_no_training_images(root):
    shutil.rmtree(root / "ANU_data_small")
    data = open_at(root)
    assert len(data.evaluation("test")[0].queries) == 6
    assert "training pairs lacking an image" not in data.card.counts
    with pytest.raises(DataError, match="ANU_data_small/streetview is missing"):
        data.training()


def test_what_is_missing_is_named(root):
    shutil.rmtree(root / "ANU_data_test")
    with pytest.raises(DataError, match="ANU_data_test/streetview is missing") as raised:
        open_at(root).evaluation("test")
    assert "ANU_data_test" in raised.value.hint
    for image in (root / "ANU_data_small/streetview").iterdir():
        image.unlink()
    with pytest.raises(DataError, match="ANU_data_small holds no listed pair"):
        open_at(root).training()
    (root / "ACT_data.mat").unlink()
    with pytest.raises(DataError, match=r"ACT_data\.mat is missing"):
        open_at(root)


@pytest.mark.parametrize("content", [b"", b"not a mat file at all" * 20])
def test_what_is_no_table_is_refused(root, content):
    (root / "ACT_data.mat").write_bytes(content)
    with pytest.raises(DataError, match=r"not a \.mat file"):
        open_at(root)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_table_cut_short_is_refused(root, compressed, share):
    table = {"panoIds": np.array([f"pano{i:03d}" for i in range(200)]),
             "utm": np.random.default_rng(0).random((200, 2))}  # fmt: skip
    savemat(root / "ACT_data.mat", table, do_compression=compressed)
    content = (root / "ACT_data.mat").read_bytes()
    (root / "ACT_data.mat").write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"ACT_data\.mat is not"):
        open_at(root)


def test_a_table_of_another_form_is_refused(root):
    one = {"a": 1, "b": np.array([[1]])}
    good = {"panoIds": np.array(["x", "y"]), "utm": np.zeros((2, 2)), "trainSet": one,
            "valSet": one, "valSetAll": one}  # fmt: skip
    for change in ({"utm": np.zeros((3, 2))}, {"trainSet": 5}):
        savemat(root / "ACT_data.mat", {**good, **change})
        with pytest.raises(DataError, match="not of the known form"):
            open_at(root)
    savemat(root / "ACT_data.mat", {**good, "valSet": {"a": 1, "b": np.array([[3]])}})
    with pytest.raises(DataError, match="indices beyond its 2 names"):
        open_at(root)
