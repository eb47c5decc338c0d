"""`verify` sees what checksums cannot: a gallery that was written wrong."""

import json
import os

import numpy as np
import pyarrow.parquet as pq
import pytest

from crossfix.encoder import Encoder
from crossfix.errors import GalleryCorrupt
from crossfix.gallery import Gallery
from crossfix.manifest import FileEntry
from index_builder.verify import verify_gallery
from tests.tiny_encoder import build_test_gallery, write_geotiff, write_tiny_encoder


@pytest.fixture(scope="module")
def encoder_dir(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp("verify") / "encoder")


@pytest.fixture
def gallery(tmp_path, encoder_dir):
    raster = write_geotiff(tmp_path / "map.tif", size_px=(200, 200))
    return build_test_gallery(tmp_path / "gallery", encoder_dir, raster=raster)


def change_vectors(directory, change):
    path = directory / "vectors.f16"
    path.write_bytes(change(np.fromfile(path, "<f2").reshape(-1, 32)).tobytes())


def change_tiles(directory, change):
    pq.write_table(change(pq.read_table(directory / "tiles.parquet")), directory / "tiles.parquet")


def halve(vectors):
    return vectors * np.float16(0.5)


def swap(table):
    return table.take([*range(1, table.num_rows), 0])


def move(table):
    south = table.column("south").to_numpy()
    return table.set_column(table.schema.get_field_index("north"), "north", [south])


@pytest.mark.parametrize(
    ("changer", "change", "said"),
    [
        (change_vectors, halve, r"has norm 0\.(4|5)"),
        (change_vectors, lambda v: v * np.float16("nan"), "has norm nan"),
        (change_tiles, swap, "pictures are not those"),
        (change_tiles, move, "outside its bounds"),
    ],
    ids=["norms", "nan", "rows", "places"],
)
def test_wrong_content_with_right_checksums(gallery, changer, change, said):
    directory = Gallery.open(gallery).directory
    changer(directory, change)
    manifest = json.loads((directory / "manifest.json").read_text())
    for name in manifest["files"]:
        manifest["files"][name] = FileEntry.of(directory / name).model_dump()
    (directory / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(GalleryCorrupt, match=said):
        verify_gallery(gallery)


def damage_vectors(gallery, change):
    directory = Gallery.open(gallery).directory
    change_vectors(directory, change)
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest["files"]["vectors.f16"] = FileEntry.of(directory / "vectors.f16").model_dump()
    (directory / "manifest.json").write_text(json.dumps(manifest))


def shifted(vectors):
    return np.roll(vectors, 1, axis=0)


def test_a_sample_is_read_again_from_the_sources(gallery, encoder_dir):
    encoder = Encoder.load(encoder_dir)
    report = verify_gallery(gallery, encoder=encoder)
    assert report.sample_cosine > 0.9999
    assert report.sample_reread == 16
    assert report.notes == ()
    assert report.max_norm_error < 1e-2
    damage_vectors(gallery, shifted)
    with pytest.raises(GalleryCorrupt, match=r"vector of tile .* does not fit its pixels"):
        verify_gallery(gallery, encoder=encoder)


def test_one_vector_that_is_a_little_off_is_seen(gallery, encoder_dir):
    def bend(vectors):
        vectors[0] += np.float16(0.02)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).astype(np.float16)

    damage_vectors(gallery, bend)
    with pytest.raises(GalleryCorrupt, match=r"does not fit its pixels \(cosine 0\.99"):
        verify_gallery(gallery, encoder=Encoder.load(encoder_dir))


@pytest.mark.parametrize("gone", [True, False])
def test_without_the_sources_pictures_are_embedded(gallery, encoder_dir, gone):
    raster = gallery.parent / "map.tif"
    if gone:
        raster.unlink()
    else:
        os.utime(raster, ns=(0, 0))
    encoder = Encoder.load(encoder_dir)
    report = verify_gallery(gallery, encoder=encoder)
    assert 0.99 < report.sample_cosine < 1
    assert report.sample_reread == 0
    (note,) = report.notes
    assert "source map" in note
    assert ("does not exist" in note) if gone else ("has changed since" in note)
    damage_vectors(gallery, shifted)
    with pytest.raises(GalleryCorrupt, match="do not fit their pictures"):
        verify_gallery(gallery, encoder=encoder)


def test_pixels_that_are_not_what_was_embedded_are_seen(gallery, encoder_dir):
    raster = gallery.parent / "map.tif"
    before = raster.stat()
    write_geotiff(raster, size_px=(200, 200), seed=9)
    assert raster.stat().st_size == before.st_size
    os.utime(raster, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(GalleryCorrupt, match="does not have the pixels that were embedded"):
        verify_gallery(gallery, encoder=Encoder.load(encoder_dir))


def test_an_index_of_other_vectors_is_seen(gallery, monkeypatch):
    """An approximate index that lost its vectors still opens; exact search cannot."""
    search = Gallery.search
    monkeypatch.setattr(Gallery, "search", lambda self, x, k: search(self, -x, k))
    with pytest.raises(GalleryCorrupt, match=r"finds only \d+% of the vectors"):
        verify_gallery(gallery)


def test_vectors_that_are_not_what_was_built_are_seen_without_an_encoder(gallery):
    """Every row is whole, and checksums are right; only the content hash tells."""
    damage_vectors(gallery, shifted)
    with pytest.raises(GalleryCorrupt, match="do not have the content hash"):
        verify_gallery(gallery)
