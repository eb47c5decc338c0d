"""A hand-written gallery version: opening, refusing, searching."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crossfix.encoder import Encoder
from crossfix.errors import (
    EncoderGalleryMismatch,
    GalleryCorrupt,
    GalleryNotFound,
    InvalidParameter,
    PriorOutsideGallery,
    TileNotFound,
)
from crossfix.gallery import Disc, Gallery, current_version
from crossfix.gallery_manifest import BoundsModel, GalleryManifest, IndexInfo, SourceInfo
from crossfix.geodesy import LonLat
from crossfix.manifest import FileEntry, write_json_atomic
from crossfix.prior import Region
from crossfix.sharded_gallery import ShardedGallery
from crossfix.tile_table import PICTURE_SCHEMA, TileTable
from index_builder.indexing.build_index import build_index
from index_builder.recipe import IndexRequest
from tests.made_up_gallery import publish_in_shards, scattered_places, unit_vectors
from tests.tiny_encoder import write_tiny_encoder

COUNT, DIM = 150, 16


@pytest.fixture
def root(tmp_path):
    directory = tmp_path / "versions" / "v1"
    directory.mkdir(parents=True)
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((COUNT, DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors.astype("<f2").tofile(directory / "vectors.f16")
    lon, lat = 10 + np.arange(COUNT) * 1e-3, np.full(COUNT, 50.0)
    half = np.full(COUNT, 5e-4)
    table = TileTable(
        ids=[f"t{row}" for row in range(COUNT)],
        lon=lon,
        lat=lat,
        west=lon - half,
        south=lat - half,
        east=lon + half,
        north=lat + half,
        size_m=np.full(COUNT, 72.0),
        resolution_m=np.full(COUNT, 0.5),
        source=["s"] * COUNT,
        date=["2026"] * COUNT,
        attribution=["someone"] * COUNT,
        licence=["CC0-1.0"] * COUNT,
        pixels_hash=["0" * 32] * COUNT,
    )
    pq.write_table(table.to_arrow(), directory / "tiles.parquet")
    pictures = pa.table(
        {"tile_id": table.ids, "jpeg": [b"jpeg%d" % i for i in range(COUNT)]}, schema=PICTURE_SCHEMA
    )
    pq.write_table(pictures, directory / "pictures.parquet", row_group_size=64)
    names = ("vectors.f16", "tiles.parquet", "pictures.parquet")
    manifest = GalleryManifest(
        version="v1",
        embedding_space_id="space-a",
        encoder_name="tiny",
        tile_count=COUNT,
        embedding_dim=DIM,
        index=IndexInfo(kind="exact_f16", parameters={}, measured_recall_at_10=1.0),
        bounds=BoundsModel(west=10, south=50, east=11, north=51),
        tile_sizes_m=[72.0],
        overlap=0.0,
        sources=[SourceInfo(name="s", attribution="a", licence="l", date="d", crs="EPSG:4326")],
        files={name: FileEntry.of(directory / name) for name in names},
        content_hash="0" * 64,
        created="2026-01-01T00:00:00Z",
        builder_revision="test",
    )
    write_json_atomic(directory / "manifest.json", manifest.model_dump(mode="json"))
    write_json_atomic(tmp_path / "CURRENT.json", {"version": "v1"})
    return tmp_path


def test_a_vector_finds_its_own_row(root):
    gallery = Gallery.open(root)
    found = gallery.search(gallery.vectors[[3, 77]].astype(np.float32), 5)
    assert found.rows[:, 0].tolist() == [3, 77]
    assert found.rows.shape == (2, 5)
    assert len(gallery) == COUNT


def test_prior_keeps_to_the_disc_and_is_exact(root):
    gallery = Gallery.open(root)
    query = gallery.vectors[[120]].astype(np.float32)
    disc = Disc(LonLat(10.010, 50.0), radius_m=500)
    found = gallery.search(query, 100, prior=disc)
    inside = np.flatnonzero(np.abs(gallery.tiles.lon - 10.010) * 71_700 < 500)
    plain = inside[np.argsort(-(gallery.vectors[inside].astype(np.float32) @ query[0]))]
    assert found.rows[0].tolist() == plain.tolist()


def test_a_region_is_a_prior_too(root):
    gallery = Gallery.open(root)
    west, east = 10.0095, 10.0205
    corners = [(west, 49.9), (east, 49.9), (east, 50.1), (west, 50.1)]
    region = Region((tuple(LonLat(*corner) for corner in corners),))
    query = gallery.vectors[[120, 3]].astype(np.float32)
    found = gallery.search(query, 100, prior=region)
    assert [sorted(rows) for rows in found.rows.tolist()] == [list(range(10, 21))] * 2


ODD_QUERIES = {
    "NaN": (np.full((1, DIM), np.nan, np.float32), 5),
    "infinite": (np.full((2, DIM), np.inf, np.float32), 5),
    "of shape": (np.ones(DIM, np.float32), 5),
    "k is 0": (np.ones((1, DIM), np.float32), 0),
    "k is -1": (np.ones((20, DIM), np.float32), -1),
    "8 numbers": (np.ones((1, 8), np.float32), 5),
    "4096 numbers": (np.ones((1, 4096), np.float32), 5),
}


@pytest.mark.parametrize("said", ODD_QUERIES)
@pytest.mark.parametrize("prior", [None, Disc(LonLat(10.010, 50.0), radius_m=500)])
def test_what_cannot_be_searched_is_refused_with_a_way_out(root, said, prior):
    queries, k = ODD_QUERIES[said]
    with pytest.raises(InvalidParameter, match=said) as caught:
        Gallery.open(root).search(queries, k, prior=prior)
    assert caught.value.hint


@pytest.mark.parametrize("said", ODD_QUERIES)
def test_a_sharded_gallery_refuses_the_same(tmp_path, said):
    places = scattered_places(20, 0)
    publish_in_shards(tmp_path / "gallery", unit_vectors(20, DIM, 0), *places, shards=2)
    queries, k = ODD_QUERIES[said]
    with ShardedGallery.open(tmp_path / "gallery") as gallery:
        with pytest.raises(InvalidParameter, match=said):
            gallery.search(queries, k)


def test_no_query_and_other_numbers_are_searched(root):
    gallery = Gallery.open(root)
    assert gallery.search(np.empty((0, DIM), np.float32), 5).rows.shape == (0, 5)
    assert gallery.search(gallery.vectors[[3]].astype(np.float64), 5).rows[0, 0] == 3


def edit_manifest(root, **changes):
    path = root / "versions" / "v1" / "manifest.json"
    document = json.loads(path.read_text())
    document.update(changes)
    path.write_text(json.dumps(document))


@pytest.fixture
def approximate(root):
    """The gallery with an inverted file beside its vectors."""
    directory = root / "versions" / "v1"
    request = IndexRequest(kind="ivf_rabitq", recall_at_10=0.9)
    info = build_index(directory, COUNT, DIM, request, threads=1)
    files = {
        path.name: FileEntry.of(path).model_dump()
        for path in directory.iterdir()
        if path.name != "manifest.json"
    }
    edit_manifest(root, index=info.model_dump(), files=files)
    return root


def test_an_approximate_gallery_is_searched_with_its_index(approximate):
    gallery = Gallery.open(approximate)
    assert (gallery.index_kind, gallery.index_fallback) == ("ivf_rabitq", "")
    found = gallery.search(gallery.vectors[[3, 77]].astype(np.float32), 5)
    assert found.rows[:, 0].tolist() == [3, 77]
    disc = Disc(LonLat(10.010, 50.0), radius_m=500)
    inside = gallery.search(gallery.vectors[[120]].astype(np.float32), 100, prior=disc)
    assert sorted(inside.rows[0].tolist()) == list(range(4, 17))


@pytest.mark.parametrize("damage", ["missing", "flipped", "of other rows"])
def test_an_index_that_is_not_this_gallerys_is_refused(approximate, tmp_path, damage):
    path = approximate / "versions" / "v1" / "index.faiss"
    data = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "flipped":
        data[len(data) // 2] ^= 0x10
        path.write_bytes(data)
    else:
        other = tmp_path / "other"
        other.mkdir()
        Gallery.open(approximate).vectors[:100].tofile(other / "vectors.f16")
        build_index(other, 100, DIM, IndexRequest(kind="ivf_rabitq"), threads=1)
        path.write_bytes((other / "index.faiss").read_bytes())
    with pytest.raises(GalleryCorrupt, match=r"index\.faiss"):
        Gallery.open(approximate)
    if damage != "flipped":  # which only the checksum sees
        with pytest.raises(GalleryCorrupt, match=r"index\.faiss"):
            Gallery.open(approximate, verify=False)


def test_a_gallery_for_a_gpu_says_how_it_is_searched_here(root):
    edit_manifest(
        root, index={"kind": "gpu_flat_f16", "parameters": {}, "measured_recall_at_10": 1.0}
    )
    gallery = Gallery.open(root)
    if gallery.index_fallback:
        assert gallery.index_kind == "exact_f16"
        assert "gpu_flat_f16" in gallery.index_fallback
    assert gallery.search(gallery.vectors[[3]].astype(np.float32), 5).rows[0, 0] == 3


def test_a_gallery_of_format_1_still_opens(root):
    directory = root / "versions" / "v1"
    old = pq.read_table(directory / "tiles.parquet")
    old = old.drop_columns(["attribution", "licence", "pixels_hash"])
    pq.write_table(old, directory / "tiles.parquet")
    edit_manifest(
        root,
        format_version=1,
        index={"kind": "exact_f16", "parameters": {}, "measured_recall_at_10": 1.0},
        sources=[
            {"name": "s", "attribution": "a", "licence": "l", "date": "d", "crs": "EPSG:4326"}
        ],
    )
    gallery = Gallery.open(root, verify=False)
    assert gallery.tiles.licence[5] == ""
    assert gallery.search(gallery.vectors[[3]].astype(np.float32), 5).rows[0, 0] == 3


def test_vectors_cut_short_are_refused_even_unverified(root):
    path = root / "versions" / "v1" / "vectors.f16"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(GalleryCorrupt, match=r"vectors\.f16"):
        Gallery.open(root, verify=False)


def test_prior_elsewhere_is_refused_with_a_way_out(root):
    with pytest.raises(PriorOutsideGallery) as caught:
        Gallery.open(root).search(
            np.ones((1, DIM), np.float32), 5, prior=Disc(LonLat(-60, 10), radius_m=1000)
        )
    assert "bounds" in caught.value.hint


def test_pictures_and_rows(root):
    gallery = Gallery.open(root)
    assert gallery.picture(gallery.row_of("t0")) == b"jpeg0"
    assert gallery.picture(gallery.row_of("t149")) == b"jpeg149"
    with pytest.raises(TileNotFound, match="nope"):
        gallery.row_of("nope")


def test_no_gallery_and_no_such_version(root, tmp_path):
    with pytest.raises(GalleryNotFound, match="no gallery"):
        current_version(tmp_path / "elsewhere")
    with pytest.raises(GalleryNotFound, match="no gallery version"):
        Gallery.open(root, version="v2")


@pytest.mark.parametrize("name", ["vectors.f16", "tiles.parquet", "pictures.parquet"])
def test_a_flipped_byte_in_any_file_is_refused(root, name):
    path = root / "versions" / "v1" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(GalleryCorrupt, match=name):
        Gallery.open(root)


def test_manifest_that_counts_wrong_is_refused_even_unverified(root):
    path = root / "versions" / "v1" / "manifest.json"
    document = json.loads(path.read_text())
    document["tile_count"] = COUNT + 1
    path.write_text(json.dumps(document))
    with pytest.raises(GalleryCorrupt, match="151 tiles"):
        Gallery.open(root, verify=False)


def test_another_encoder_is_refused_naming_both(root, tmp_path):
    write_tiny_encoder(tmp_path / "encoder")
    encoder = Encoder.load(tmp_path / "encoder", device="cpu")
    with pytest.raises(EncoderGalleryMismatch) as caught:
        Gallery.open(root).require_encoder(encoder)
    assert "space-a" in str(caught.value)
    assert encoder.embedding_space_id in str(caught.value)
