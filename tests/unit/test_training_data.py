"""Towns: tables, tiles round the truth, the photo cache, the split by town."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
from PIL import Image

import training
from crossfix.bilinear import resize_sampled
from crossfix.errors import DataError
from crossfix.geodesy import distance_m
from tests.tiny_towns import write_town
from training.datasets import photo_pixels
from training.datasets.photo_cache import load_view
from training.datasets.photo_pixels import cached_photos
from training.datasets.sample_world import TOWN_SPACING_M, SampleWorld
from training.datasets.satellite_image import SatelliteImage, cut_tiles
from training.datasets.town_images import TownGrid, disc_offsets
from training.datasets.towns import find_towns, open_town, open_towns
from training.recipe_file import load_recipe
from training.run_data import split_towns

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


def test_four_sample_tiles_skip_pixels_where_others_average(folder):
    image = open_town(folder / "a").satellite
    same = [image.tile(100, 60, side_px=32, out_px=32, resampling=how)
            for how in ("sampled_bilinear", "bilinear")]  # fmt: skip
    np.testing.assert_array_equal(same[0], same[1])
    column = np.arange(300, dtype=np.uint8) % 2 * 255
    stripes = replace(image, image=Image.fromarray(np.tile(column[None, :, None], (300, 1, 3))))
    sampled = stripes.tile(100, 60, side_px=100, out_px=20, resampling="sampled_bilinear")
    averaged = stripes.tile(100, 60, side_px=100, out_px=20, resampling="bilinear")
    cut = np.asarray(stripes.image)[10:110, 50:150]
    plain = resize_sampled(cut, height_px=20, width_px=20)
    assert np.abs(sampled.astype(int) - plain).max() <= 1
    assert set(np.unique(sampled)) <= {0, 255}
    assert np.abs(averaged.astype(int) - 127).max() < 30


def world(folder, *names, validation=()):
    held = [folder / name for name in validation]
    return SampleWorld.open(RECIPE, [folder / name for name in names], held, None)


def test_training_tiles_hold_the_truth_within_the_offset(folder):
    table = world(folder, "a", "b").training()["drone"]
    photos, side = table.tiles.photos, RECIPE.towns.tile_size_m
    x, y = photos.xy_px[0]
    satellite = open_town(folder / "a").satellite
    expected = satellite.tile(x, y, side_px=side, out_px=32, resampling="bicubic")
    np.testing.assert_array_equal(table.tiles.read(0), expected)
    shifted = [table.tiles.read(0, np.random.default_rng(seed)) for seed in (1, 2, 1)]
    assert (shifted[0] != expected).any()
    assert (shifted[0] != shifted[1]).any()
    np.testing.assert_array_equal(shifted[0], shifted[2])
    radius = np.linalg.norm(disc_offsets(np.random.default_rng(0), 4000), axis=1)
    assert radius.max() <= 1
    assert np.median(radius) == pytest.approx(np.sqrt(0.5), abs=0.02)


def test_shifted_tiles_keep_to_offset_scale_and_town(folder, monkeypatch):
    table = world(folder, "a").training()["drone"]
    cuts = []
    monkeypatch.setattr(
        SatelliteImage, "tile", lambda _, x, y, **size: cuts.append((x, y, size["side_px"]))
    )
    rng = np.random.default_rng(0)
    for i in range(len(table)):
        for _ in range(100):
            table.tiles.read(i, rng)
    x, y, side = np.array(cuts).T
    truth = np.repeat(table.tiles.photos.xy_px, 100, axis=0)
    settings = RECIPE.towns
    assert np.abs(side / settings.tile_size_m - 1).max() <= settings.tile_scale_jitter
    apart = np.linalg.norm(np.stack([x, y], axis=1) - truth, axis=1) / side
    inside = (truth > 60).all(axis=1) & (truth < 240).all(axis=1)
    assert apart[inside].max() <= settings.tile_offset_share + 1e-9
    assert np.median(apart[inside]) == pytest.approx(0.3 * np.sqrt(0.5), abs=0.03)
    for place in (x, y):
        assert (place - side / 2).min() >= -1e-9
        assert (place + side / 2).max() <= 300 + 1e-9


def test_training_pairs_are_photos_with_places_in_metres_town_by_town(folder):
    tables = world(folder, "a", "b").training()
    assert list(tables) == ["ground", "drone"]
    ground = tables["ground"]
    assert len(ground) == len(ground.tiles) == len(ground.positions) == 32
    assert ground.queries.read(5).shape == (32, 128, 3)
    assert ground.tiles.read(5).shape == (32, 32, 3)
    assert ground.queries.name(16) == "b/panorama/0000.jpg"
    np.testing.assert_array_equal(ground.reference, np.arange(32))
    places = ground.positions.xy
    assert places[:16].max() < 300
    assert (places[16:, 0] // TOWN_SPACING_M == 1).all()


def test_every_town_and_view_is_evaluated_on_its_grid(folder):
    splits = world(folder, "a", validation=["b"]).evaluation("towns")
    assert [(s.name, s.queries.spec.view) for s in splits] == [("b", "ground"), ("b", "drone")]
    ground = splits[0]
    assert set(ground.kinds) == {"panorama", "street"}
    assert len(ground.gallery) == ground.percent_of == len(ground.gallery_positions) == 64
    assert (ground.positives.counts() >= 1).all()
    lon, lat = ground.query_positions.xy.T
    tile_lon, tile_lat = ground.gallery_positions.xy.T
    near = distance_m(lon[:, None], lat[:, None], tile_lon, tile_lat) <= 0.35 * 64
    for i in range(len(lon)):
        assert ground.positives.of(i).tolist() == np.flatnonzero(near[i]).tolist()


def test_the_grid_is_cut_as_the_index_builder_does(folder):
    town = open_town(folder / "a")
    grid = TownGrid.over(town, RECIPE.views()["satellite"], 64.0)
    centres = town.satellite.grid(64.0)
    tiles = cut_tiles(town.satellite, centres, side_px=np.full(len(centres), 64.0), out_px=32,
                      resampling="bicubic")  # fmt: skip
    np.testing.assert_array_equal(np.stack([grid.read(i) for i in range(len(grid))]), tiles)


def test_towns_given_for_nothing_else_are_evaluated(folder):
    assert {split.name for split in world(folder, "a", "b").evaluation("towns")} == {"a", "b"}
    with pytest.raises(DataError, match="no town was given"):
        world(folder, validation=["b"]).training()
    with pytest.raises(DataError, match="no protocol 'val'"):
        world(folder, "a").evaluation("val")


def test_a_view_without_photos_is_refused(tmp_path):
    write_town(tmp_path / "flat", seed=1, drone=0, panoramas=3, street=0)
    with pytest.raises(DataError, match="no usable drone photo"):
        world(tmp_path, "flat").training()


def load(folder, spec, cache, offset=0.3, skip=False):
    towns = open_towns(find_towns([folder]))
    return load_view(
        towns, spec, tile_size_m=64.0, tile_offset_share=offset, cache=cache, skip_unreadable=skip
    )


def test_the_cache_gives_the_same_pixels_and_follows_the_preprocessing(folder, tmp_path):
    spec = RECIPE.views()["ground"]
    fresh, stored = load(folder, spec, tmp_path), load(folder, spec, tmp_path)
    np.testing.assert_array_equal(fresh.pixels, stored.pixels)
    assert len(list(tmp_path.glob("*.npz"))) == 2
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


def test_a_cache_of_damaged_photos_stays_true_to_what_can_be_read(tmp_path):
    town = write_town(tmp_path / "gap", seed=1, drone=4, panoramas=0, street=0)
    spec, cache, damaged = RECIPE.views()["drone"], tmp_path / "cache", town / "drone" / "0001.jpg"
    whole, good = load(town, spec, None), damaged.read_bytes()
    damaged.write_bytes(good[:200])
    with pytest.raises(DataError, match=r"0001\.jpg") as raised:
        load(town, spec, cache)
    assert "--skip-unreadable" in raised.value.hint
    assert not list(tmp_path.glob("cache/*"))
    for folder in (None, cache, cache):
        some = load(town, spec, folder, skip=True)
        assert some.unreadable == ("gap/drone/0001.jpg",)
        assert some.name == tuple(f"gap/drone/000{i}.jpg" for i in (0, 2, 3))
        np.testing.assert_array_equal(some.pixels, whole.pixels[[0, 2, 3]])
        np.testing.assert_array_equal(some.xy_px, whole.xy_px[[0, 2, 3]])
    with pytest.raises(DataError, match=r"0001\.jpg"):
        load(town, spec, cache)
    damaged.write_bytes(good)
    for skip in (True, False):
        mended = load(town, spec, cache, skip=skip)
        assert mended.unreadable == ()
        np.testing.assert_array_equal(mended.pixels, whole.pixels)


def test_a_town_without_any_readable_photo_adds_none(tmp_path):
    for number, name in enumerate("ab"):
        write_town(tmp_path / name, seed=number, drone=2, panoramas=0, street=0)
    for photo in (tmp_path / "a" / "drone").iterdir():
        photo.write_bytes(b"")
    found = load(tmp_path, RECIPE.views()["drone"], None, skip=True)
    assert found.name == ("b/drone/0000.jpg", "b/drone/0001.jpg")
    assert found.unreadable == ("a/drone/0000.jpg", "a/drone/0001.jpg")
    assert found.town.tolist() == [1, 1]


def test_each_writer_of_the_cache_has_a_file_of_its_own(tmp_path, monkeypatch):
    town = open_town(write_town(tmp_path / "t", seed=1, drone=3, panoramas=0, street=0))
    photos, spec, path = town.photos_of("drone"), RECIPE.views()["drone"], tmp_path / "c" / "t.npz"
    both, written, save = Barrier(2, timeout=20), [], np.savez

    def slow(handle, **arrays):
        written.append(handle.name)
        both.wait()  # the other has opened its file
        save(handle, **arrays)

    monkeypatch.setattr(photo_pixels.np, "savez", slow)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: cached_photos(photos, spec, path), range(2)))
    assert len(set(written)) == 2
    np.testing.assert_array_equal(found[0].pixels, cached_photos(photos, spec, path).pixels)
    assert [file.name for file in path.parent.iterdir()] == ["t.npz"]


def test_a_cache_that_cannot_be_written_leaves_nothing_behind(tmp_path, monkeypatch):
    town = open_town(write_town(tmp_path / "t", seed=1, drone=2, panoramas=0, street=0))

    def full(handle, **_):
        handle.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(photo_pixels.np, "savez", full)
    path = tmp_path / "c" / "t.npz"
    with pytest.raises(OSError, match="no space left"):
        cached_photos(town.photos_of("drone"), RECIPE.views()["drone"], path)
    assert not list(path.parent.iterdir())


def test_the_views_of_a_town_share_one_gallery_and_one_reading_of_their_photos(folder):
    world = SampleWorld.open(RECIPE, [folder / "a"], [folder / "b"], None)
    ground, drone = world.evaluation("towns")
    assert ground.gallery is drone.gallery
    assert ground.queries.photos is world.validation_photos["ground"]
    assert world.evaluation("towns")[0].queries.photos is ground.queries.photos
