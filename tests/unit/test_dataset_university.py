"""University-1652's reader: order, empty folders, distractors, and the 160k gallery."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import training
from crossfix.errors import DataError
from tests.tiny_datasets import write_university
from training.datasets.university1652 import University1652
from training.recipe_file import load_recipe

RECIPE = load_recipe(
    Path(training.__file__).parent / "recipes" / "university1652.yaml",
    ["data.query_views=[drone, ground]", "data.tile_px=32", "data.drone_px=32",
     "data.ground_kind=street", "data.ground_height_px=24", "data.ground_width_px=32"],
)  # fmt: skip
VIEWS = RECIPE.views()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_university(tmp_path_factory.mktemp("data") / "University", distractors_160k=5)


def open_at(root, mode="correct", **options):
    return University1652.open(root, VIEWS, mode=mode, **options)


def rows(split):
    return [split.positives.of(i).tolist() for i in range(len(split.positives))]


def test_photos_come_in_sorted_order_with_their_building(root):
    table = open_at(root).training()["drone"]
    assert [table.tiles.name(i) for i in range(4)] == [
        f"train/satellite/{b}/{b}.jpg" for b in ("0001", "0002", "0003", "0004")
    ]
    assert table.queries.name(3) == "train/drone/0002/image-01.jpeg"
    np.testing.assert_array_equal(table.reference, np.repeat(np.arange(4), 3))
    assert table.positions is None
    assert table.queries.read(0).shape == (32, 32, 3)


def test_a_building_never_seen_from_the_street_keeps_its_number(root):
    table = open_at(root).training()["ground"]
    assert len(table.tiles) == 4
    np.testing.assert_array_equal(table.reference, [0, 0, 1, 1, 3, 3])
    assert table.queries.read(0).shape == (24, 32, 3)


def test_google_photos_are_an_option_and_may_be_missing(root):
    table = open_at(root, google=True).training()["ground"]
    np.testing.assert_array_equal(table.reference, [0, 0, 0, 1, 1, 2, 3, 3, 3])
    assert table.queries.name(2) == "train/google/0001/g-1.jpg"


def test_buildings_without_a_query_compete(root):
    (split,) = open_at(root).evaluation("drone-to-satellite")
    assert (len(split.queries), len(split.gallery), split.percent_of) == (6, 4, 4)
    assert rows(split) == [[0], [0], [0], [1], [1], [1]]
    (back,) = open_at(root).evaluation("satellite-to-drone")
    assert (len(back.queries), len(back.gallery)) == (2, 12)
    assert rows(back) == [[0, 1, 2], [3, 4, 5]]


def test_paper_mode_takes_them_out_and_still_counts_them(root):
    (split,) = open_at(root, "paper").evaluation("satellite-to-drone")
    assert (len(split.gallery), split.percent_of) == (6, 12)
    assert rows(split) == [[0, 1, 2], [3, 4, 5]]
    assert "left out" in split.protocol


def test_a_query_whose_building_the_gallery_lacks_has_no_right_answer(root):
    (split,) = open_at(root).evaluation("satellite-to-street")
    assert rows(split) == [[0, 1], []]
    (street,) = open_at(root).evaluation("street-to-satellite")
    assert rows(street) == [[0], [0]]


@pytest.mark.parametrize("mode", ["correct", "paper"])
def test_distractors_of_the_challenge_compete_and_are_nobodys(root, mode):
    (split,) = open_at(root, mode).evaluation("drone-to-satellite-160k")
    assert len(split.gallery) == split.percent_of == 4 + 5
    assert rows(split) == [[0], [0], [0], [1], [1], [1]]
    assert split.gallery.name(8) == "test/gallery_satellite_160k/d00004.jpg"
    assert split.gallery.read(8).shape == (32, 32, 3)


def test_protocols_are_those_of_the_recipes_views(root):
    drone_only = {name: VIEWS[name] for name in ("satellite", "drone")}
    data = University1652.open(root, drone_only, mode="correct")
    assert data.protocols == (
        "drone-to-satellite", "satellite-to-drone", "drone-to-satellite-160k",
        "drone-to-satellite-multi",
    )  # fmt: skip
    assert set(data.training()) == {"drone"}
    with pytest.raises(DataError, match="no protocol 'street-to-satellite'"):
        data.evaluation("street-to-satellite")


def test_what_is_missing_is_named(tmp_path):
    root = write_university(tmp_path / "U")
    data = open_at(root)
    with pytest.raises(DataError, match="test/gallery_satellite_160k is missing"):
        data.evaluation("drone-to-satellite-160k")
    shutil.rmtree(root / "test/query_drone")
    with pytest.raises(DataError, match="test/query_drone is missing"):
        data.evaluation("drone-to-satellite")
    shutil.rmtree(root / "train/drone/0003")
    with pytest.raises(DataError, match="train/drone/0003 holds no image or is missing"):
        data.training()
    (root / "train/satellite/0002/0002.jpg").unlink()
    with pytest.raises(DataError, match="train/satellite/0002 holds no image"):
        data.training()
    shutil.rmtree(root / "train")
    shutil.rmtree(root / "test")
    with pytest.raises(DataError, match="train is missing"):
        open_at(root)


def test_other_files_beside_the_images_are_ignored(tmp_path):
    root = write_university(tmp_path / "U")
    (root / "train/drone/0001/Thumbs.db").write_bytes(b"x")
    (root / "train/drone/0001/._image-01.jpeg").write_bytes(b"x")
    assert len(open_at(root).training()["drone"]) == 12
