"""Evaluating a gallery with photos of known places."""

import dataclasses

import numpy as np
import pytest

from crossfix.encoder import Encoder
from crossfix.errors import InvalidParameter, SourceError
from crossfix.gallery import Gallery
from crossfix.vector_search import SearchResult
from index_builder.evaluation.evaluate import evaluate_gallery, read_queries
from index_builder.screens.evaluation import evaluate_screen
from tests.tiny_encoder import build_test_gallery, write_tiny_encoder


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    encoder_dir = write_tiny_encoder(folder / "encoder")
    root = build_test_gallery(folder / "gallery", encoder_dir)
    gallery, encoder = Gallery.open(root), Encoder.load(encoder_dir)
    picks = np.linspace(0, len(gallery) - 1, 70).astype(int)
    lines = ["file,lat,lon,view"]
    for pick in picks:
        (folder / f"{pick}.jpg").write_bytes(gallery.picture(int(pick)))
        lines.append(f"{pick}.jpg,{gallery.tiles.lat[pick]},{gallery.tiles.lon[pick]},drone")
    lines.append(f"{picks[0]}.jpg,0,0,")
    (folder / "queries.csv").write_text("\n".join(lines))
    return encoder, gallery, read_queries(folder / "queries.csv", None, "drone")


def test_queries_name_view_and_angles(tmp_path):
    text = "file,lat,lon,view,heading_deg,hfov_deg\na.png,10,20,ground,90,360\nb.png,10,20,,,\n"
    (tmp_path / "queries.csv").write_text(text)
    first, second = read_queries(tmp_path / "queries.csv", None, "drone")
    assert (first.view, first.heading_deg, first.hfov_deg) == ("ground", 90, 360)
    assert (second.view, second.heading_deg, second.path) == ("drone", None, tmp_path / "b.png")
    elsewhere = read_queries(tmp_path / "queries.csv", tmp_path / "else", "drone")
    assert elsewhere[0].path == tmp_path / "else" / "a.png"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a.png,10,20,satellite,", "line 2: view is 'satellite'"),
        ("a.png,10,200,drone,", "line 2: lon 200, lat 10 is not a place"),
        ("a.png,,20,drone,", "line 2: lon 20, lat nan is not a place"),
        ("a.png,10,20,drone,north", "line 2: heading_deg is 'north'"),
    ],
)
def test_bad_queries_are_named(tmp_path, row, said):
    (tmp_path / "bad.csv").write_text(f"file,lat,lon,view,heading_deg\n{row}\n")
    with pytest.raises(SourceError, match=said):
        read_queries(tmp_path / "bad.csv", None, "drone")


def test_geojson_points_are_queries(tmp_path):
    (tmp_path / "q.geojson").write_text(
        '{"features": [{"geometry": {"type": "Point", "coordinates": [20, 10]}, '
        '"properties": {"file": "a.jpg", "view": "ground"}}]}'
    )
    (query,) = read_queries(tmp_path / "q.geojson", None, "drone")
    assert (query.place.lon, query.place.lat, query.view) == (20, 10, "ground")


def test_pictures_of_tiles_find_themselves(built):
    encoder, gallery, queries = built
    report = evaluate_gallery(encoder, gallery, queries, ks=(1, 3))
    everything = report["all"]
    assert (everything["queries"], everything["queries_without_tile"]) == (71, 1)
    assert everything["recall_at_1"] == everything["exact_recall_at_1"] > 0.9
    assert everything["recall_at_3"] <= 70 / 71
    assert everything["top1_median_m"] < 1
    assert "recall_at_5" not in everything
    assert report["index"] == "exact_f16"
    screen = evaluate_screen(report)
    assert "R@3" in screen
    assert "served" not in screen


class Lossy:
    """A gallery whose index overlooks every second tile."""

    index_kind = "ivf_rabitq"

    def __init__(self, gallery):
        self._gallery = gallery
        self.tiles, self.vectors, self.manifest = gallery.tiles, gallery.vectors, gallery.manifest

    def __len__(self):
        return len(self._gallery)

    def require_encoder(self, encoder):
        self._gallery.require_encoder(encoder)

    def search(self, embeddings, k):
        found = self._gallery.search(embeddings, len(self))
        kept = [np.flatnonzero(rows % 2 == 0)[:k] for rows in found.rows]
        return SearchResult(
            rows=np.stack([rows[some] for rows, some in zip(found.rows, kept, strict=True)]),
            scores=np.stack([one[some] for one, some in zip(found.scores, kept, strict=True)]),
        )


def test_what_an_approximate_index_loses_is_told_apart(built):
    encoder, gallery, queries = built
    exact = evaluate_gallery(encoder, gallery, queries)["all"]
    report = evaluate_gallery(encoder, Lossy(gallery), queries)
    lossy = report["all"]
    assert lossy["exact_recall_at_1"] == exact["recall_at_1"]
    assert lossy["recall_at_1"] < 0.7 < lossy["exact_recall_at_1"]
    screen = evaluate_screen(report)
    assert "served" in screen
    assert "the true rank among the scores of all tiles" in screen


def test_views_are_reported_apart(built):
    encoder, gallery, queries = built
    ground = dataclasses.replace(queries[0], view="ground")
    report = evaluate_gallery(encoder, gallery, [*queries[:3], ground])
    assert {view: part["queries"] for view, part in report["views"].items()} == {
        "drone": 3, "ground": 1,
    }  # fmt: skip
    screen = evaluate_screen(report)
    assert [line.split(":")[0] for line in screen.splitlines() if "queries" in line] == [
        "drone", "ground", "all",
    ]  # fmt: skip


def test_wrong_photos_and_ks_are_refused(built, tmp_path):
    encoder, gallery, queries = built
    missing = dataclasses.replace(queries[0], path=tmp_path / "none.jpg")
    with pytest.raises(SourceError, match=r"none\.jpg cannot be read: No such file"):
        evaluate_gallery(encoder, gallery, [missing])
    with pytest.raises(InvalidParameter, match="k 0"):
        evaluate_gallery(encoder, gallery, queries, ks=(0,))
