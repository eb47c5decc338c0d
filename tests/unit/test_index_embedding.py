"""The pipeline gives what one plain loop gives, in Morton order, and stops when it must."""

import threading

import numpy as np
import pytest

from crossfix.encoder import Encoder
from crossfix.errors import SourceError
from crossfix.gallery import Gallery
from crossfix.gallery_manifest import SourceInfo
from crossfix.geodesy import LocalFrame, LonLat, morton_code
from crossfix.images import Photo
from crossfix.preprocess import prepare
from index_builder.build import find_bounds
from index_builder.embedding import Work, embed_tiles
from index_builder.sources.source import TilePlan
from index_builder.spool import Spool
from tests.tiny_encoder import (
    build_test_gallery,
    random_texture,
    write_geotiff,
    write_tiny_encoder,
)


class FakeSource:
    """A third kind of source, made of random textures; some empty, some unreadable."""

    def __init__(self, count=50, empty=(), broken=()):
        self.count, self.empty, self.broken = count, set(empty), set(broken)

    def describe(self):
        return SourceInfo(name="fake", attribution="", licence="", date="", crs="EPSG:4326")

    def plan(self, tile_size_m, overlap):  # noqa: ARG002
        frame = LocalFrame(LonLat(20.0, 10.0))
        for index in range(self.count):
            lon, lat = frame.to_lonlat(index % 7 * 30, index // 7 * 30)
            place = LonLat(float(lon), float(lat))
            yield TilePlan(
                f"fake-{index}",
                place.lon,
                place.lat,
                LocalFrame(place).square(30),
                30.0,
                None,
                "",
                index // 6,
                index,
            )

    def read(self, plan):
        if plan.place in self.broken:
            raise SourceError(f"image {plan.place} is broken")
        return None if plan.place in self.empty else random_texture(60, 60, seed=plan.place)

    def close(self):
        pass


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return Encoder.load(write_tiny_encoder(tmp_path_factory.mktemp("embed") / "encoder"))


def embed(encoder, source, folder, **options):
    folder.mkdir(parents=True, exist_ok=True)
    spool = Spool(folder, encoder.embedding_dim)
    progress = []
    plans = list(source.plan(30.0, 0.0))
    try:
        stats = embed_tiles(
            encoder, [Work(source, "fake", plans)], spool, on_progress=progress.append, **options
        )
        return spool.write_version()[0], stats, progress, plans
    finally:
        spool.close()


def test_rows_are_what_a_plain_loop_gives(encoder, tmp_path):
    source = FakeSource(empty={3, 17})
    table, stats, progress, plans = embed(encoder, source, tmp_path, threads=3, batch_size=4)
    vectors = np.fromfile(tmp_path / "vectors.f16", "<f2").reshape(len(table), -1)
    by_id = {plan.tile_id: plan for plan in plans}
    for tile_id, vector in zip(table.ids, vectors, strict=True):
        tensor = prepare(Photo.of(source.read(by_id[tile_id])), encoder.view("satellite")).tensor
        plain = encoder.encode(tensor[None], "satellite")[0]
        np.testing.assert_allclose(vector.astype(np.float32), plain, atol=1e-3)
    assert set(by_id) - set(table.ids) == {"fake-3", "fake-17"}
    assert (stats.tiles, stats.empty_tiles) == (48, 2)
    assert 0 < stats.encoder_busy_share <= 1
    assert progress[-1].done == progress[-1].total == 50
    codes = morton_code(table.lon, table.lat)
    assert (codes[1:] >= codes[:-1]).all()
    assert table.resolution_m[0] == 0.5


def test_unreadable_tiles_fail_or_are_listed(encoder, tmp_path):
    source = FakeSource(broken={5, 40})
    with pytest.raises(SourceError, match="is broken"):
        embed(encoder, source, tmp_path / "a")
    table, stats, _, _ = embed(encoder, source, tmp_path / "b", skip_unreadable=True)
    assert len(table) == 48
    assert stats.unreadable == ["image 40 is broken", "image 5 is broken"]


def test_no_reader_outlives_a_failure(encoder, tmp_path):
    with pytest.raises(SourceError):
        embed(encoder, FakeSource(count=400, broken={200}), tmp_path, threads=3)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("reader-")]


def test_pictures_are_their_tiles(tmp_path):
    raster = write_geotiff(tmp_path / "map.tif")
    encoder_dir = write_tiny_encoder(tmp_path / "encoder")
    gallery = Gallery.open(build_test_gallery(tmp_path / "gallery", encoder_dir, raster=raster))
    assert len(gallery) > 64, "more than one row group"
    encoder = Encoder.load(encoder_dir)
    for row in (0, 63, 64, len(gallery) - 1):
        picture = gallery.picture(row)
        tensor = prepare(Photo.of(_pixels(picture)), encoder.view("satellite")).tensor
        found = gallery.search(encoder.encode(tensor[None], "satellite"), 1)
        assert found.rows[0, 0] == row


def _pixels(jpeg):
    from crossfix.images import decode

    pixels = decode(jpeg).pixels
    assert max(pixels.shape) <= 256
    return pixels


@pytest.mark.parametrize(
    ("lons", "west_east"),
    [
        ((10.0, 12.0), (10.0, 12.0)),
        ((179.9, -179.9), (179.9, -179.9)),
        ((-120.0, 0.0, 130.0), (-120.0, 130.0)),
    ],
)
def test_bounds_go_the_shorter_way_round(lons, west_east):
    from types import SimpleNamespace

    lon = np.array(lons)
    table = SimpleNamespace(west=lon - 1e-4, east=lon + 1e-4, south=lon * 0 - 1, north=lon * 0 + 1)
    bounds = find_bounds(table)
    assert (bounds.west, bounds.east) == pytest.approx(west_east, abs=1e-3)
