"""`verify` sees what checksums cannot: a gallery that was written wrong."""

import json

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


def test_vectors_of_other_tiles_do_not_fit_the_pictures(gallery, encoder_dir):
    encoder = Encoder.load(encoder_dir)
    report = verify_gallery(gallery, encoder=encoder)
    assert report.sample_cosine > 0.99
    assert report.max_norm_error < 1e-2
    directory = Gallery.open(gallery).directory
    change_vectors(directory, lambda vectors: np.roll(vectors, 1, axis=0))
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest["files"]["vectors.f16"] = FileEntry.of(directory / "vectors.f16").model_dump()
    (directory / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(GalleryCorrupt, match="do not fit their pictures"):
        verify_gallery(gallery, encoder=encoder)
