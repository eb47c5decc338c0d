"""VIGOR's reader: both arrangements, both kinds of labels, offsets, and both areas."""

import shutil

import numpy as np
import pytest

from crossfix.errors import DataError
from crossfix.geodesy import distance_m
from tests.tiny_datasets import CITIES, write_vigor
from tests.unit.test_image_files import CVUSA
from training.datasets.vigor import Vigor
from training.datasets.vigor_labels import lonlat_of_panoramas, lonlat_of_tiles, resolution_m


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_vigor(tmp_path_factory.mktemp("data") / "VIGOR", corrected=True)


@pytest.fixture
def spoilt(tmp_path):
    return write_vigor(tmp_path / "VIGOR")


def test_same_area_has_all_tiles_of_all_cities(root):
    data = Vigor.open(root, CVUSA, "same_area")
    (split,) = data.evaluation("test")
    assert (len(split.gallery), split.percent_of, len(split.queries)) == (64, 64, 12)
    folders = [split.gallery.name(i).split("/")[0] for i in range(0, 64, 16)]
    assert folders == ["Chicago", "NewYork", "SanFrancisco", "Seattle"]
    table = data.training()["ground"]
    assert (len(table), len(table.tiles)) == (20, 16)
    assert table.tiles.read(3).shape == (384, 384, 3)
    assert split.queries.read(0).shape == (140, 768, 3)


def test_cross_area_trains_and_tests_in_different_cities(root):
    data = Vigor.open(root, CVUSA, "cross_area")
    (split,) = data.evaluation("test")
    table = data.training()["ground"]
    where = {table.queries.name(i).split("/")[0] for i in range(len(table))}
    assert where == {"NewYork", "Seattle"}
    assert {split.gallery.name(i).split("/")[0] for i in range(32)} == {"Chicago", "SanFrancisco"}
    assert (len(split.queries), len(split.gallery)) == (16, 32)


def test_every_panorama_has_the_tile_it_was_taken_in(root):
    """The nearest tile is positive; two panoramas share each tile that has any."""
    data = Vigor.open(root, CVUSA, "cross_area")
    table = data.training()["ground"]
    for i in range(len(table)):
        tile = int(table.queries.name(i).split("/")[-1].split(",")[0].split("_")[1])
        lat = CITIES[table.queries.name(i).split("/")[0]][0]
        assert table.tiles.name(int(table.reference[i])).split("/")[0] in table.queries.name(i)
        row = (lat - table.positions.xy[table.reference[i], 1]) * 111_320 / 36.5
        assert round(row) == tile // 4
    assert np.bincount(table.reference).tolist() == [2] * 8


def test_training_semi_positives_point_at_training_tiles_or_nowhere(root):
    data = Vigor.open(root, CVUSA, "cross_area")
    table, labels = data.training()["ground"], data.read_part("train")
    used = np.unique(labels.tiles[:, 0])
    for found, listed in zip(table.semi_positives, labels.tiles[:, 1:], strict=True):
        expected = [int(np.searchsorted(used, i)) if i in used else -1 for i in listed]
        assert found.tolist() == expected
    assert (table.semi_positives >= 0).any()
    assert (table.semi_positives == -1).any()
    assert (table.semi_positives != table.reference[:, None]).all()


def test_semi_positives_of_the_test_are_the_three_other_columns(root):
    data = Vigor.open(root, CVUSA, "same_area")
    (split,) = data.evaluation("test")
    labels = data.read_part("test")
    assert split.semi_positives.counts().tolist() == [3] * 12
    np.testing.assert_array_equal(split.positives.columns, labels.tiles[:, 0])
    assert split.semi_positives.of(4).tolist() == sorted(labels.tiles[4, 1:].tolist())


def test_places_come_from_the_names(root):
    (split,) = Vigor.open(root, CVUSA, "same_area").evaluation("test")
    apart = distance_m(
        *split.query_positions.xy.T, *split.gallery_positions.xy[split.positives.columns].T
    )
    assert (apart < 18).all()
    assert lonlat_of_tiles(["satellite_40.7_-73.9.png"]).tolist() == [[-73.9, 40.7]]
    assert lonlat_of_panoramas(["a,b,40.7,-73.9,.jpg"]).tolist() == [[-73.9, 40.7]]


def test_corrected_offsets_are_metres_at_the_citys_resolution(root):
    data = Vigor.open(root, CVUSA, "same_area", labels="corrected")
    (split,) = data.evaluation("test")
    labels = data.read_part("test")
    (lon, lat), tiles = split.query_positions.xy.T, split.gallery_positions.xy[labels.tiles]
    apart_m = distance_m(lon[:, None], lat[:, None], tiles[..., 0], tiles[..., 1])
    offset_m = np.linalg.norm(labels.offsets_px, axis=2) * resolution_m(tiles[..., 1])
    np.testing.assert_allclose(offset_m, apart_m, rtol=0.005)


def test_offsets_place_the_camera_in_the_tile(root):
    data = Vigor.open(root, CVUSA, "same_area")
    labels = data.read_part("train")
    (split,) = data.evaluation("test")
    tile = split.gallery_positions.xy[labels.tiles[0, 0]]
    lon, lat = lonlat_of_panoramas(labels.panoramas)[0]
    row, column = labels.query_px()[0, 0]
    assert (row > 320) == (lat < tile[1])
    assert (column > 320) == (lon > tile[0])


def test_original_and_corrected_labels(root, tmp_path):
    auto = Vigor.open(root, CVUSA, "same_area")
    assert auto.card.counts["labels"] == "corrected"
    original = Vigor.open(root, CVUSA, "same_area", labels="original")
    assert original.card.counts["labels"] == "original"
    ratio = original.read_part("test").offsets_px[-1] / auto.read_part("test").offsets_px[-1]
    np.testing.assert_allclose(ratio, 0.1008 / 0.114, rtol=0.005)
    only_corrected = write_vigor(tmp_path / "VIGOR", original=False, corrected=True)
    assert len(Vigor.open(only_corrected, CVUSA, "same_area").training()["ground"]) == 20
    shutil.rmtree(only_corrected / "splits__corrected/Seattle")
    with pytest.raises(DataError, match=r"splits/Chicago/satellite_list\.txt is missing"):
        Vigor.open(only_corrected, CVUSA, "same_area").training()


def test_the_rearranged_folders_hold_the_same(root, tmp_path):
    other = write_vigor(tmp_path / "VIGOR", rearranged=True)
    data = Vigor.open(other, CVUSA, "same_area")
    (split,) = data.evaluation("test")
    assert split.gallery.name(0).startswith("satellite/Chicago/satellite_")
    assert split.queries.name(0).startswith("ground/Chicago/")
    (usual,) = Vigor.open(root, CVUSA, "same_area").evaluation("test")
    np.testing.assert_array_equal(split.positives.columns, usual.positives.columns)
    np.testing.assert_array_equal(split.queries.read(0), usual.queries.read(0))


def test_missing_images_and_folders_are_named(spoilt):
    next(iter((spoilt / "Seattle/panorama").glob("id1_*"))).unlink()
    data = Vigor.open(spoilt, CVUSA, "cross_area")
    with pytest.raises(DataError, match=r"1 of 16 listed images are missing.*Seattle/panorama/id1"):
        data.training()
    assert len(data.evaluation("test")[0].queries) == 16
    shutil.rmtree(spoilt / "Chicago/satellite")
    with pytest.raises(DataError, match="Chicago/satellite is missing") as raised:
        data.evaluation("test")
    assert "four cities" in raised.value.hint


@pytest.mark.parametrize(
    ("old", "new"), [(".jpg ", ".jpg extra "), (" satellite_", " elsewhere_"), ("id0", "")]
)
def test_lines_that_are_not_understood_are_named(spoilt, old, new):
    path = spoilt / "splits/NewYork/pano_label_balanced.txt"
    lines = path.read_text().split("\n")
    lines[2] = lines[2].replace(old, new, 1) if old != "id0" else lines[2].replace(" ", ",")
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"line 3 of splits/NewYork/pano_label_balanced\.txt"):
        Vigor.open(spoilt, CVUSA, "cross_area").training()
