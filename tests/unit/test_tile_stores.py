"""Folders, MBTiles and PMTiles: the same tiles out of each, and clear words about bad ones."""

import gzip
import itertools
import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pmtiles.tile import Compression, TileType, tileid_to_zxy

from crossfix.errors import SourceError
from crossfix.geodesy import TileId
from index_builder.sources.spec import SourceSpec
from index_builder.sources.tile_sets.mbtiles_store import MbtilesStore
from index_builder.sources.tile_sets.pmtiles_store import PmtilesStore, _from_hilbert
from index_builder.sources.tile_sets.tile_set_opening import open_tile_set
from index_builder.sources.tile_sets.xyz_store import XyzStore
from tests.tiny_tile_sets import (
    Painting,
    encode,
    painted,
    patch,
    write_folder,
    write_mbtiles,
    write_pmtiles,
)

TILES = [*patch(16, 11.5, 48.1, columns=3, rows=2), *patch(14, 11.5, 48.1, columns=1, rows=1)]


@pytest.fixture(scope="module")
def images():
    return painted(TILES, Painting(16), side_px=16)


def open_all(folder, images):
    yield XyzStore(write_folder(folder / "nested", images))
    yield XyzStore(write_folder(folder / "flat", images, flat=True))
    yield XyzStore(write_folder(folder / "tms", images, from_south=True), from_south=True)
    yield MbtilesStore(write_mbtiles(folder / "tiles.mbtiles", images))
    yield PmtilesStore(write_pmtiles(folder / "tiles.pmtiles", images))


def listed(store, zoom):
    return [TileId(zoom, x, y) for batch in store.tiles(zoom) for x, y in batch.tolist()]


def test_every_store_gives_the_same_tiles(tmp_path, images):
    for store in open_all(tmp_path, images):
        assert store.zooms == (14, 16), store.kind
        found = [tile for zoom in store.zooms for tile in listed(store, zoom)]
        assert sorted(found, key=str) == sorted(images, key=str), store.kind
        assert found == [tile for zoom in store.zooms for tile in listed(store, zoom)]
        assert {tile: store.get(tile) for tile in images} == images, store.kind
        assert store.get(TileId(16, 0, 0)) is None
        assert store.get(TileId(15, 3, 3)) is None
        store.close()


def test_a_store_may_be_read_from_several_threads(tmp_path, images):
    for store in open_all(tmp_path, images):
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(store.get, [*images] * 8)) == [*images.values()] * 8
        store.close()


def test_archives_tell_attribution_and_licence_without_markup(tmp_path, images):
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "metadata.json").write_text(json.dumps({"attribution": "us"}))
    *_, flat, _tms, mbtiles, pmtiles = open_all(tmp_path, images)
    for store in (mbtiles, pmtiles):
        assert (store.facts.attribution, store.facts.licence) == ("painted by hand", "CC0")
        store.close()
    assert flat.facts.attribution == "us"


def test_a_change_of_one_tile_changes_the_fingerprint(tmp_path, images):
    for store in open_all(tmp_path, images):
        assert store.fingerprint() == store.fingerprint()
        store.close()
    folder = tmp_path / "flat"
    before = XyzStore(folder).fingerprint()
    tile = TILES[0]
    path = folder / f"{tile.zoom}_{tile.x}_{tile.y}.png"
    path.write_bytes(path.read_bytes() + b" ")
    assert XyzStore(folder).fingerprint() != before


def test_a_folder_may_mix_formats(tmp_path):
    one, two, three = patch(16, 11.5, 48.1, columns=3, rows=1)
    painting = Painting(16)
    write_folder(tmp_path, painted([one], painting, 16))
    write_folder(tmp_path, painted([two], painting, 16, "JPEG"), extension="jpg")
    write_folder(tmp_path, painted([three], painting, 16, "WEBP"), extension="webp")
    (tmp_path / "16" / "readme.txt").write_text("not a tile")
    assert listed(XyzStore(tmp_path), 16) == [one, two, three]


def test_tiles_outside_their_level_are_left_out(tmp_path):
    inside, outside = TileId(3, 1, 1), TileId(3, 8, 1)
    data = encode(np.zeros((8, 8, 3), np.uint8))
    for flat in (True, False):
        store = XyzStore(write_folder(tmp_path / str(flat), dict.fromkeys((inside, outside), data),
                                      flat=flat))  # fmt: skip
        assert listed(store, 3) == [inside]


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda at, images: write_folder(at / "a", images), "xyz"),
        (lambda at, images: write_folder(at / "a", images, flat=True), "xyz"),
        (lambda at, images: write_mbtiles(at / "a.mbtiles", images), "mbtiles"),
        (lambda at, images: write_pmtiles(at / "a.PMTILES", images), "pmtiles"),
    ],
)
def test_kinds_are_told_by_the_location(tmp_path, images, make, kind):
    location = make(tmp_path, images)
    source = open_tile_set(SourceSpec(location=str(location)), name="set", tile_px=64)
    assert source.describe().kind == kind
    source.close()


def test_the_label_of_gdal2tiles_means_rows_from_the_south(tmp_path, images):
    write_folder(tmp_path, images, from_south=True)
    (tmp_path / "tilemapresource.xml").write_text("<TileMap/>")
    source = open_tile_set(SourceSpec(location=str(tmp_path)), name="set", tile_px=64)
    plans = {plan.tile_id for plan in source.plan(None, 0.0)}
    assert plans == {f"set-z16-x{t.x}-y{t.y}" for t in images if t.zoom == 16}


def test_other_locations_are_no_tile_sets(tmp_path):
    (tmp_path / "table.csv").write_text("file,lat,lon\n")
    with pytest.raises(SourceError, match="no tile set"):
        open_tile_set(SourceSpec(location=str(tmp_path / "table.csv")), name="set", tile_px=64)


def test_a_zoom_that_is_not_there_is_refused_with_those_that_are(tmp_path, images):
    spec = SourceSpec(location=str(write_folder(tmp_path, images)), zoom=15)
    with pytest.raises(SourceError, match="no tiles of zoom 15") as caught:
        open_tile_set(spec, name="set", tile_px=64)
    assert "14, 16" in caught.value.hint


def test_vector_tiles_are_refused(tmp_path, images):
    pbf = write_mbtiles(tmp_path / "v.mbtiles", images, format="pbf")
    with pytest.raises(SourceError, match="vector tiles"):
        MbtilesStore(pbf)
    mvt = write_pmtiles(tmp_path / "v.pmtiles", images, tile_type=TileType.MVT)
    with pytest.raises(SourceError, match="vector tiles"):
        PmtilesStore(mvt)
    undeclared = {TILES[0]: gzip.compress(b"\x1a\x00 a vector tile")}
    source = open_tile_set(
        SourceSpec(location=str(write_mbtiles(tmp_path / "u.mbtiles", undeclared))),
        name="set",
        tile_px=64,
    )
    with pytest.raises(SourceError, match=r"tile 16/\d+/\d+ of MBTiles file .* vector tiles"):
        source.plan(None, 0.0)
    source.close()


def test_gzipped_and_strangely_compressed_pmtiles(tmp_path, images):
    packed = {tile: gzip.compress(data) for tile, data in images.items()}
    store = PmtilesStore(
        write_pmtiles(tmp_path / "g.pmtiles", packed, compression=Compression.GZIP)
    )
    assert {tile: store.get(tile) for tile in images} == images
    store.close()
    strange = write_pmtiles(tmp_path / "b.pmtiles", images, compression=Compression.BROTLI)
    with pytest.raises(SourceError, match="BROTLI"):
        PmtilesStore(strange)


@pytest.mark.parametrize("length", [0, 60, 127, 200, 400, -10])
def test_cut_pmtiles_are_refused_in_one_sentence(tmp_path, images, length):
    path = write_pmtiles(tmp_path / "a.pmtiles", images)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(SourceError, match="not a whole PMTiles file"):
        PmtilesStore(path)


def test_files_that_are_no_archives_are_refused(tmp_path):
    path = tmp_path / "a.mbtiles"
    path.write_bytes(b"nothing like a database" * 100)
    with pytest.raises(SourceError, match="cannot be read"):
        MbtilesStore(path)
    path.unlink()
    sqlite3.connect(path).close()
    with pytest.raises(SourceError, match="no such table"):
        MbtilesStore(path)
    path.unlink()
    write_mbtiles(path, {})
    with pytest.raises(SourceError, match="holds no tiles"):
        MbtilesStore(path)
    pmtiles = tmp_path / "a.pmtiles"
    pmtiles.write_bytes(b"nothing like an archive" * 100)
    with pytest.raises(SourceError, match="MagicNumberNotFound"):
        PmtilesStore(pmtiles)
    for kind in (MbtilesStore, PmtilesStore):
        with pytest.raises(SourceError, match="does not exist"):
            kind(tmp_path / "missing")
    with pytest.raises(SourceError, match="holds no tiles"):
        XyzStore(tmp_path)
    with pytest.raises(SourceError, match="cannot be read"):
        XyzStore(tmp_path / "missing")


def test_mbtiles_in_the_middle_of_being_written_are_read_with_their_log(tmp_path, images):
    first, second = itertools.islice(images.items(), 2)
    path = write_mbtiles(tmp_path / "a.mbtiles", dict([first]))
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode=WAL")
    tile, data = second
    row = (tile.zoom, tile.x, 2**tile.zoom - 1 - tile.y, data)
    writer.execute("INSERT INTO tiles VALUES (?, ?, ?, ?)", row)
    writer.commit()
    store = MbtilesStore(path)
    assert store.get(tile) == data
    store.close()
    writer.close()


@pytest.mark.parametrize("zoom", [0, 1, 2, 5])
def test_the_hilbert_curve_is_that_of_the_pmtiles_package(zoom):
    first = (4**zoom - 1) // 3
    expected = [tileid_to_zxy(first + index)[1:] for index in range(4**zoom)]
    found = _from_hilbert([(0, 4**zoom // 2), (4**zoom // 2, 4**zoom - 4**zoom // 2)], zoom)
    assert found.tolist() == [list(pair) for pair in expected]


def test_pmtiles_with_leaf_directories_and_runs(tmp_path):
    """Thousands of entries spill into leaves; equal neighbours become runs."""
    random = np.random.default_rng(3)
    numbers = random.choice(4**9, 12_000, replace=False).tolist()
    different = {TileId(9, n % 512, n // 512): random.bytes(1 + n * 7 % 997) for n in numbers}
    same = {TileId(7, x, y): b"sea" for x in range(40) for y in range(40)}
    store = PmtilesStore(write_pmtiles(tmp_path / "a.pmtiles", {**different, **same}))
    assert store._header["leaf_directory_length"] > 0
    assert set(listed(store, 9)) == set(different)
    assert set(listed(store, 7)) == set(same)
    assert len(listed(store, 7)) == len(same)
    for tile in itertools.islice(different, 0, None, 531):
        assert store.get(tile) == different[tile]
    assert store.get(TileId(7, 39, 39)) == b"sea"
    assert store.get(TileId(7, 40, 0)) is None
    store.close()
