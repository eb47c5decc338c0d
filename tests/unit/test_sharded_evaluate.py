"""Evaluating a gallery in shards tells what evaluating it in one piece tells."""

import json

import numpy as np
import pytest

from crossfix.encoder import Encoder
from crossfix.errors import GalleryError
from crossfix.gallery import Gallery
from crossfix.sharded_gallery import ShardedGallery
from crossfix.vector_search import SearchResult
from index_builder.__main__ import main
from index_builder.build import BuildRequest, build_gallery
from index_builder.evaluation.evaluate import evaluate_gallery, read_queries
from index_builder.evaluation.searched import Searched
from index_builder.recipe import GalleryRecipe, IndexRequest
from index_builder.sources.spec import SourceSpec
from tests.tiny_encoder import write_geotiff, write_tiny_encoder

SHARDS = 3


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with an encoder, a gallery in one piece and in shards, and photos."""
    folder = tmp_path_factory.mktemp("evaluated")
    write_tiny_encoder(folder / "encoder")
    write_geotiff(folder / "map.tif", size_px=(160, 160))
    for name, shards in (("plain", 1), ("sharded", SHARDS)):
        build(folder, name, shards=shards)
    gallery = Gallery.open(folder / "plain")
    lines = ["file,lat,lon,view"]
    for row in range(0, len(gallery), 2):
        # A little beside the next tile: some are found, some are not.
        other = (row + 3) % len(gallery)
        (folder / f"{row}.jpg").write_bytes(gallery.picture(row if row % 4 else other))
        lat, lon = gallery.tiles.lat[row] + 2e-5, gallery.tiles.lon[row]
        lines.append(f"{row}.jpg,{lat},{lon},{'drone' if row % 3 else 'ground'}")
    lines.append("0.jpg,0,0,drone")
    (folder / "photos.csv").write_text("\n".join(lines))
    return folder


def build(folder, name, *, shards, **index):
    recipe = GalleryRecipe(
        sources=(SourceSpec(location=str(folder / "map.tif")),),
        tile_sizes_m=(20.0, 30.0),
        index=IndexRequest(**index),
    )
    request = BuildRequest(
        encoder_dir=folder / "encoder", recipe=recipe, out=folder / name, shards=shards
    )
    return build_gallery(request)


def evaluated(folder, gallery):
    encoder = Encoder.load(folder / "encoder")
    queries = read_queries(folder / "photos.csv", None, "drone")
    report = evaluate_gallery(encoder, gallery, queries, ks=(1, 2, 5))
    return {key: value for key, value in report.items() if key != "gallery_version"}


def assert_close(one, other):
    """Equal but for the last bits of scores, from which metres follow."""
    assert one.keys() == other.keys()
    for key, value in one.items():
        if isinstance(value, dict):
            assert_close(value, other[key])
        elif isinstance(value, float):
            assert value == pytest.approx(other[key], rel=1e-5), key
        else:
            assert value == other[key], key


def test_ranks_and_estimates_are_those_of_the_gallery_in_one_piece(world):
    with ShardedGallery.open(world / "sharded", strict=True) as sharded:
        found = evaluated(world, sharded)
    expected = evaluated(world, Gallery.open(world / "plain"))
    assert_close(found, expected)
    everything = found["all"]
    assert 0 < everything["recall_at_1"] < 1
    assert everything["estimate_median_m"] > 0
    assert everything["queries_without_tile"] == 1
    assert set(found["views"]) == {"drone", "ground"}
    assert found["index"] == "exact_f16"


def test_the_shard_that_finds_the_least_says_how_it_is_searched(world):
    build(world, "approximate", shards=2, kind="ivf_rabitq", recall_at_10=0.5)
    with ShardedGallery.open(world / "approximate", strict=True) as sharded:
        kinds = {shard.index_kind for shard in sharded.shards.values()}
        searched = Searched.of(sharded)
        report = evaluated(world, sharded)
    assert searched.index_kind == report["index"] == "ivf_rabitq"
    assert "ivf_rabitq" in kinds
    expected = evaluated(world, Gallery.open(world / "plain"))
    for k in (1, 2, 5):
        key = f"exact_recall_at_{k}"
        assert report["all"][key] == expected["all"][key] >= report["all"][f"recall_at_{k}"]


def test_rows_that_an_index_did_not_find_are_no_tiles(world, monkeypatch):
    search = ShardedGallery.search

    def find_two(self, embeddings, k):
        found = search(self, embeddings, k)
        rows, scores = found.rows.copy(), found.scores.copy()
        rows[:, 2:], scores[:, 2:] = -1, -np.inf
        return SearchResult(rows=rows, scores=scores)

    with ShardedGallery.open(world / "sharded", strict=True) as sharded:
        expected = evaluated(world, sharded)["all"]
        monkeypatch.setattr(ShardedGallery, "search", find_two)
        found = evaluated(world, sharded)["all"]
    assert found["recall_at_1"] == expected["recall_at_1"]
    assert found["recall_at_5"] == found["recall_at_2"] == expected["recall_at_2"]
    assert found["top1_median_m"] == expected["top1_median_m"]


def test_the_command_evaluates_shards_and_refuses_where_one_is_lost(world, tmp_path, capsys):
    words = ["evaluate", "--encoder", world / "encoder", "--queries", world / "photos.csv",
             "--json", tmp_path / "report.json", "--gallery"]  # fmt: skip
    words = [str(word) for word in words]
    assert main([*words, str(world / "sharded")]) == 0
    assert "R@5" in capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    with ShardedGallery.open(world / "sharded") as sharded:
        assert report["gallery_version"] == sharded.manifest.epoch
    build(world, "lost", shards=2)
    (vectors,) = (world / "lost" / "shards" / "001").glob("versions/*/vectors.f16")
    vectors.unlink()
    assert main([*words, str(world / "lost")]) == 1
    assert "1 of 2 shards did not answer" in capsys.readouterr().err
    with pytest.raises(GalleryError, match="1 of 2 shards"):
        ShardedGallery.open(world / "lost", strict=True)
