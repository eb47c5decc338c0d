"""Satellite tiles read otherwise: a random centred square of the file, or a polar file."""

import pickle

import numpy as np
import pytest
from PIL import Image

from crossfix.errors import DataError, RecipeError
from tests.tiny_datasets import picture, write_cvusa
from tests.tiny_pairs import tiny
from training.__main__ import main
from training.datasets.hold_out import hold_out_all
from training.datasets.image_files import ImageFiles, select_images
from training.datasets.registry import open_dataset
from training.datasets.tile_files import CroppedFiles, with_tile_crop
from training.recipe_tiles import PolarTiles, TileCrop
from training.run_data import open_run_data

CROP = "data.tile_crop={least_px: 1, most_px: 38, used_above_px: 20}"
CVUSA = ("data.dataset=cvusa", "data.towns=null", "data.query_views=[ground]", "data.tile_px=40",
         "data.ground_height_px=16", "data.ground_width_px=88",
         "data.ground_elevation_top_deg=32.7",
         "data.ground_elevation_bottom_deg=-32.7")  # fmt: skip
STILL = "augmentation.rotate_probability=0"
FILES = "data.polar_tiles={tile_folder: bingmap, polar_folder: polarmap, suffix: .png}"
POLAR = ("model.tile_transform={kind: polar, height_px: 16, width_px: 88, stretch: false}", STILL,
         FILES)  # fmt: skip


@pytest.fixture
def root(tmp_path):
    return write_cvusa(tmp_path / "cvusa", train=8, val=4)


def polar_files(root, *more):
    words = ["polar-tiles", "--tiles", str(root / "bingmap"), "--out", str(root / "polarmap")]
    assert main([*words, "--height", "32", "--width", "176", *more]) == 0


def tile_of(path, number):
    """Rings round the middle, so that a centred square shows its side."""
    row, column = np.mgrid[0:40, 0:40]
    ring = np.maximum(abs(row - 19.5), abs(column - 19.5)).astype(np.uint8)
    Image.fromarray(np.stack([ring * 6, np.full_like(ring, number), ring], axis=-1)).save(path)
    return np.asarray(Image.open(path))


def test_a_centred_square_of_the_drawn_side_is_cut_out_and_brought_to_size(tmp_path):
    tile = tile_of(tmp_path / "a.png", 7)
    spec = tiny(*CVUSA).views()["satellite"]
    files = CroppedFiles(ImageFiles(tmp_path, ("a.png",), spec),
                         TileCrop(least_px=1, most_px=38, used_above_px=20))  # fmt: skip
    sides = []
    for seed in range(60):
        found = files.read(0, np.random.default_rng(seed))
        side = int(np.random.default_rng(seed).integers(1, 38, endpoint=True))
        top = (40 - side) // 2
        cut = tile[top : top + side, top : top + side] if side > 20 else tile
        expected = Image.fromarray(cut).resize((40, 40), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(found, np.asarray(expected))
        sides.append(side)
    assert min(sides) <= 20 < max(sides)
    np.testing.assert_array_equal(files.read(0), tile)


def test_a_side_longer_than_the_tile_leaves_it_whole(tmp_path):
    tile = tile_of(tmp_path / "a.png", 7)
    files = ImageFiles(tmp_path, ("a.png",), tiny(*CVUSA).views()["satellite"])
    np.testing.assert_array_equal(files.read_centre(0, side_px=748), tile)


def test_training_cuts_its_tiles_and_validation_and_evaluation_do_not(root, tmp_path):
    recipe = tiny(*CVUSA, CROP, "data.validation_share=0.2")
    opened = open_run_data(recipe, [root], [], tmp_path / "run", skip_unreadable=True)
    tiles = opened.tables["ground"].tiles
    rng = lambda: np.random.default_rng(3)  # noqa: E731
    whole, cut = tiles.read(0), tiles.read(0, rng())
    assert not np.array_equal(whole, cut)
    np.testing.assert_array_equal(cut, tiles.read(0, rng()))
    again = select_images(pickle.loads(pickle.dumps(tiles)), np.array([0]))  # loading processes
    np.testing.assert_array_equal(again.read(0, rng()), cut)
    gallery = opened.validation[0].gallery
    assert gallery.name(0).startswith("bingmap/")
    plain = ImageFiles(root, (gallery.name(0),), gallery.spec)
    np.testing.assert_array_equal(gallery.read(0), plain.read(0))


@pytest.mark.parametrize(("tile", "polar"), [
    ("bingmap/19/0000001.jpg", "polarmap/a/19/0000001.png"),
    ("data/bingmap/x.y.jpg", "data/polarmap/a/x.y.png"),
    ("satellite/bingmap.jpg", None),
])  # fmt: skip
def test_a_polar_file_has_the_path_of_its_tile(tile, polar):
    option = PolarTiles(tile_folder="bingmap", polar_folder="polarmap/a", suffix=".png")
    assert option.path_of(tile) == polar


def test_polar_files_are_read_in_training_and_evaluation_under_the_tiles_names(root):
    polar_files(root)
    recipe = tiny(*CVUSA, *POLAR)
    dataset = open_dataset(recipe, [root])
    (split,) = dataset.evaluation("val")
    for images in (dataset.training()["ground"].tiles, split.gallery):
        assert images.name(1).startswith("bingmap/19/")
        stored = images.name(1).replace("bingmap", "polarmap").replace(".jpg", ".png")
        full = Image.open(root / stored)
        assert full.size == (176, 32)
        expected = full.resize((88, 16), Image.Resampling.BICUBIC, reducing_gap=3.0)
        np.testing.assert_array_equal(images.read(1), np.asarray(expected))
    plain = open_dataset(recipe.for_plain_tiles(), [root]).training()["ground"].tiles
    assert plain.read(0).shape == (40, 40, 3)
    assert recipe.views()["satellite"].height_px == 40  # what the artifact takes


def test_the_same_places_are_held_out_with_polar_files_and_without(tmp_path):
    root = write_cvusa(tmp_path / "cvusa", train=12, val=4, places=False)
    polar_files(root)
    recipe = tiny(*CVUSA, *POLAR, "data.validation_share=0.3")
    held = [
        [split.gallery.name(i) for i in range(len(split.gallery))]
        for one in (recipe, recipe.for_plain_tiles())
        for split in hold_out_all(open_dataset(one, [root]).training(), one)[1]
    ]
    assert held[0] == held[1] != []


def test_missing_polar_files_are_named(root):
    with pytest.raises(DataError, match="polarmap/19 is missing") as refused:
        open_dataset(tiny(*CVUSA, *POLAR), [root]).training()
    assert "polar-tiles" in refused.value.hint
    polar_files(root)
    (root / "polarmap/19/0000001.png").unlink()
    with pytest.raises(DataError, match=r"the first is polarmap/19/0000001\.png"):
        open_dataset(tiny(*CVUSA, *POLAR), [root]).training()
    other = ("data.polar_tiles={tile_folder: satellite, polar_folder: polarmap, suffix: .png}",)
    with pytest.raises(DataError, match=r"bingmap/19/0000001\.jpg is in no folder satellite"):
        open_dataset(tiny(*CVUSA, *POLAR, *other), [root]).training()


def test_plain_tiles_in_place_of_polar_files_are_refused(root):
    same = "data.polar_tiles={tile_folder: bingmap, polar_folder: bingmap, suffix: .jpg}"
    recipe = tiny(*CVUSA, *POLAR[:2], same)
    with pytest.raises(DataError, match=r"0000001\.jpg is square: a plain tile") as refused:
        open_dataset(recipe, [root]).training()
    assert "polar-tiles" in refused.value.hint
    with pytest.raises(DataError, match="is square"):
        open_dataset(recipe, [root]).evaluation("val")


@pytest.mark.parametrize(("option", "found", "wanted"), [
    (["--stretch"], "with --stretch, but .* is false", "without --stretch"),
    ([], "without --stretch, but .* is true", "with --stretch"),
])  # fmt: skip
def test_polar_files_stretched_otherwise_than_the_transform_are_refused(
    root, option, found, wanted
):
    polar_files(root, *option)
    stretch = f"model.tile_transform.stretch={str(not option).lower()}"
    with pytest.raises(DataError, match=found) as refused:
        open_dataset(tiny(*CVUSA, *POLAR, stretch), [root]).training()
    assert refused.value.hint.endswith(wanted)
    other = f"model.tile_transform.stretch={str(bool(option)).lower()}"
    assert open_dataset(tiny(*CVUSA, *POLAR, other), [root]).training()
    for path in (root / "polarmap/19").iterdir():  # as other programs write them
        Image.open(path).convert("RGB").save(path, pnginfo=None)
    assert open_dataset(tiny(*CVUSA, *POLAR, stretch), [root]).training()


def test_tiles_that_are_in_no_files_cannot_be_cut():
    with pytest.raises(DataError, match="for tiles in files, which these are not"):
        with_tile_crop({"ground": type("Table", (), {"tiles": picture(1, 4, 4)})},
                       TileCrop(least_px=1, most_px=2, used_above_px=0))  # fmt: skip


@pytest.mark.parametrize(("overrides", "sentence"), [
    ([CROP], "tile_crop is for plain tiles in files"),
    ([*CVUSA, *POLAR, CROP], "tile_crop is for plain tiles in files"),
    ([*CVUSA, CROP.replace("least_px: 1,", "least_px: 39,")], "least_px is more than"),
    ([*CVUSA, FILES], "polar_tiles are files of panoramas' places"),
    ([*CVUSA, *POLAR, "augmentation.rotate_probability=0.5"], "polar_tiles cannot be turned"),
])  # fmt: skip
def test_wrong_combinations_are_refused(overrides, sentence):
    with pytest.raises(RecipeError, match=sentence) as refused:
        tiny(*overrides)
    assert "\n" not in str(refused.value)
