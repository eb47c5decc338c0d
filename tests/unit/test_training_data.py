"""Towns: tables, tiles round the truth, the photo cache, the split by town."""

from pathlib import Path

import numpy as np
import pytest

import training
from crossfix.errors import DataError
from tests.tiny_towns import write_town
from training.batches import PairSource, disc_offsets
from training.commands import split_towns
from training.export import load_photos
from training.photo_cache import load_view
from training.recipe import load_recipe
from training.sample_world_data import find_towns, open_town, open_towns
from training.sampling import Batch

RECIPE = load_recipe(Path(training.__file__).parent / "recipes" / "tiny.yaml")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("towns")
    write_town(root / "a", seed=1, drone=12, panoramas=12, street=4)
    write_town(root / "b", seed=2, drone=12, panoramas=12, street=4)
    return root


def test_a_folder_of_towns_or_a_town_are_found(folder, tmp_path):
    assert [town.name for town in find_towns([folder])] == ["a", "b"]
    assert [town.name for town in find_towns([folder / "b"])] == ["b"]
    (tmp_path / ".c.partial").mkdir()
    (tmp_path / ".c.partial" / "satellite.tif").write_bytes(b"being rendered")
    with pytest.raises(DataError, match="holds no town"):
        find_towns([tmp_path])


def test_no_town_is_in_both_halves_of_the_split(folder):
    train, val = split_towns([folder], [], RECIPE)
    assert ([t.name for t in train], [t.name for t in val]) == (["a"], ["b"])
    train, val = split_towns([folder], [folder / "a"], RECIPE)
    assert ([t.name for t in train], [t.name for t in val]) == (["b"], ["a"])
    with pytest.raises(DataError, match="no town is left"):
        split_towns([folder / "a"], [folder / "a"], RECIPE)


def test_photo_kinds_and_unreadable_tables(folder, tmp_path):
    town = open_town(folder / "a")
    assert {photo.kind for photo in town.photos_of("ground")} == {"panorama", "street"}
    assert {photo.kind for photo in town.photos_of("drone")} == {"drone"}
    bad = write_town(tmp_path / "bad", seed=1, drone=1, panoramas=0, street=0)
    table = bad / "photos.csv"
    table.write_text(table.read_text().replace("perspective", "fisheye"))
    with pytest.raises(DataError, match="line 2"):
        open_town(bad)
    table.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        open_town(bad)


def test_places_and_pixels_are_inverse(folder):
    image = open_town(folder / "a").satellite
    xy = np.array([[10.0, 20.0], [250.5, 99.25]])
    lon, lat = image.lonlat_of(xy)
    np.testing.assert_allclose(image.pixels_of(lon, lat), xy, atol=1e-4)


def test_tile_is_centred_and_the_grid_half_overlaps(folder):
    image = open_town(folder / "a").satellite
    tile = image.tile(100, 60, side_px=32, out_px=32, resampling="bicubic")
    np.testing.assert_array_equal(tile, np.asarray(image.image)[44:76, 84:116])
    grid = image.grid(60.0)
    assert len(grid) == 9 * 9
    np.testing.assert_allclose(np.unique(grid[:, 0]), np.arange(30, 271, 30))
    with pytest.raises(DataError, match="holds no tile"):
        image.grid(400.0)


def test_clamp_moves_tiles_inside_the_image(folder):
    image = open_town(folder / "a").satellite
    moved = image.clamp(np.array([[5.0, 150.0], [299.0, 299.0]]), np.array([40.0, 20.0]))
    np.testing.assert_array_equal(moved, [[20, 150], [290, 290]])


def test_training_tiles_hold_the_truth_within_the_offset(folder):
    towns = open_towns(find_towns([folder]))
    photos = load_photos(towns, RECIPE, None)["drone"]
    source = PairSource(RECIPE, towns, {"drone": photos})
    plain = source.tiles(photos, np.arange(len(photos)))
    x, y = photos.xy_px[0]
    side = RECIPE.data.tile_size_m
    expected = towns[0].satellite.tile(x, y, side_px=side, out_px=32, resampling="bicubic")
    np.testing.assert_array_equal(plain[0], expected)
    shifted = source.tiles(photos, np.arange(len(photos)), rng=np.random.default_rng(0))
    assert (shifted != plain).any(axis=(1, 2, 3)).all()
    radius = np.linalg.norm(disc_offsets(np.random.default_rng(0), 4000), axis=1)
    assert radius.max() <= 1
    assert np.median(radius) == pytest.approx(np.sqrt(0.5), abs=0.02)


def test_batches_are_the_same_for_the_same_seed(folder):
    towns = open_towns(find_towns([folder]))
    source = PairSource(RECIPE, towns, load_photos(towns, RECIPE, None))
    batch = Batch("ground", np.array([0, 5, 20]))
    first, second, third = (source.batch(batch, seed=[1, step]) for step in (7, 7, 8))
    assert first.photo.shape == (3, 3, 32, 128)
    assert first.tile.shape == (3, 3, 32, 32)
    assert (first.photo == second.photo).all()
    assert (first.tile == second.tile).all()
    assert not (first.tile == third.tile).all()


def load(folder, spec, cache, offset=0.3):
    towns = open_towns(find_towns([folder]))
    return load_view(towns, spec, tile_size_m=64.0, tile_offset_share=offset, cache=cache)


def test_the_cache_gives_the_same_pixels_and_follows_the_preprocessing(folder, tmp_path):
    spec = RECIPE.views()["ground"]
    fresh, stored = load(folder, spec, tmp_path), load(folder, spec, tmp_path)
    np.testing.assert_array_equal(fresh.pixels, stored.pixels)
    assert len(list(tmp_path.glob("*.npy"))) == 2
    lower = spec.model_copy(update={"elevation_top_deg": 20.0})
    assert not np.array_equal(load(folder, lower, tmp_path).pixels, fresh.pixels)


def test_photos_too_near_the_edge_are_dropped(tmp_path):
    write_town(tmp_path / "edge", seed=3, size_px=100, drone=30, panoramas=0, street=0)
    spec = RECIPE.views()["drone"]
    towns = open_towns([tmp_path / "edge"])
    kept = load_view(towns, spec, tile_size_m=96.0, tile_offset_share=0.05, cache=None)
    assert 0 < len(kept) < 30
    assert (np.abs(kept.xy_px - 50).max(axis=1) <= 0.05 * 96 + 2 + 1e-6).all()


def test_a_missing_photo_is_named(tmp_path):
    town = write_town(tmp_path / "gap", seed=1, drone=2, panoramas=0, street=0)
    (town / "drone" / "0001.jpg").unlink()
    with pytest.raises(DataError, match=r"0001\.jpg"):
        load(town, RECIPE.views()["drone"], None)
