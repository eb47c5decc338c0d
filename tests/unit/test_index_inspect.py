"""What is in a gallery: summary, map, footprints."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from PIL import Image

from crossfix.errors import GalleryNotFound
from crossfix.gallery_manifest import BoundsModel, GalleryManifest, IndexInfo, SourceInfo
from crossfix.geodesy import distance_m
from crossfix.tile_table import SCHEMA
from index_builder.inspection.inspect_gallery import Inspection, count_sources, summarise_versions
from index_builder.pieces import join_manifests
from index_builder.screens.looking import inspect_screen, versions_screen

SOURCES = ("old", "new")


def write_gallery(root, lon, lat, *, half=0.0005, source=None, version="v1", **columns):
    """A version of tiles only, which is all that looking needs."""
    lon, lat = np.asarray(lon, float), np.asarray(lat, float)
    count = len(lon)
    directory = root / "versions" / version
    directory.mkdir(parents=True)
    table = {
        "tile_id": [f"t{row}" for row in range(count)],
        "lon": lon,
        "lat": lat,
        "west": (lon - half + 180) % 360 - 180,
        "south": lat - half,
        "east": (lon + half + 180) % 360 - 180,
        "north": lat + half,
        "size_m": np.full(count, 100.0),
        "resolution_m": np.full(count, 0.5),
        "source": source or ["old"] * count,
        "date": ["2024"] * count,
        "attribution": ["A"] * count,
        "licence": ["CC0"] * count,
        "pixels_hash": ["x"] * count,
        **columns,
    }
    pq.write_table(pa.table(table, schema=SCHEMA), directory / "tiles.parquet")
    manifest = GalleryManifest(
        version=version,
        embedding_space_id="space",
        encoder_name="tiny",
        tile_count=count,
        embedding_dim=8,
        index=IndexInfo(
            kind="ivf_rabitq", parameters={"nprobe": 8}, measured_recall_at_10=0.9931,
            recall_asked=0.99, recall_queries=600,
        ),
        bounds=BoundsModel(
            west=float(table["west"][0]), south=float(lat.min() - half),
            east=float(table["east"][-1]), north=float(lat.max() + half),
        ),
        tile_sizes_m=[100],
        overlap=0.5,
        sources=[
            SourceInfo(name=name, attribution="A", licence="CC0", date="", crs="EPSG:4326")
            for name in SOURCES
        ],
        files={},
        content_hash="h",
        created="2026-01-01T00:00:00+00:00",
        builder_revision="0",
    )  # fmt: skip
    (directory / "manifest.json").write_text(manifest.model_dump_json())
    (root / "CURRENT.json").write_text(json.dumps({"version": version}))
    return manifest


def footprints(folder):
    return json.loads((folder / "footprints.geojson").read_text())["features"]


def look(root, out, *, limit=200_000):
    inspection = Inspection(root)
    summary = inspection.summarise()
    return summary, inspection.write(out, limit=limit, summary=summary)


def test_a_summary_counts_tiles_credits_and_dates(tmp_path):
    write_gallery(
        tmp_path / "g", [10, 10.01, 10.02], [50, 50, 50], source=["old", "new", "new"],
        size_m=[100.0, 100.0, 40.0], date=["2019", "", "2024"],
        attribution=["A", "B", ""], licence=["CC0", "CC-BY", "CC-BY"],
    )  # fmt: skip
    summary = Inspection(tmp_path / "g").summarise()
    old, new = summary.sources
    assert (old.tiles, new.tiles) == (1, 2)
    assert new.sizes_m == {40: 1, 100: 1}
    assert (new.attributions, new.licences, new.dates) == (("", "B"), ("CC-BY",), ("2024",))
    side_m = distance_m(10, 50, 10.001, 50) * distance_m(10, 49.9995, 10, 50.0005)
    assert summary.area_km2 == pytest.approx(3 * side_m / 1e6, rel=1e-3)
    assert (summary.is_live, summary.versions, summary.shards) == (True, 1, 1)
    screen = inspect_screen(summary)
    for said in (
        "3, sides 100 m, overlap 0.5", "ivf-rabitq, recall@10 0.9931 over 600 queries (0.99",
        "1 of 40 m, 1 of 100 m", "credit    A", "licence   CC-BY", "date      2019",
    ):  # fmt: skip
        assert said in screen
    assert max(len(line) for line in screen.splitlines()) <= 110
    assert count_sources(tmp_path / "g", "v1") == {"old": 1, "new": 2}


def test_footprints_are_the_tiles_and_know_them(tmp_path):
    write_gallery(tmp_path / "g", [10, 10.01], [50, 50], attribution=["Ümläut & Co", '"quoted"'])
    _, written = look(tmp_path / "g", tmp_path / "out")
    features = footprints(tmp_path / "out")
    assert written.features == len(features) == 2
    first = features[0]
    assert first["properties"]["tile_id"] == "t0"
    assert first["properties"]["attribution"] == "Ümläut & Co"
    polygon = shapely.from_geojson(json.dumps(first["geometry"]))
    assert polygon.exterior.is_ccw
    assert polygon.bounds == pytest.approx((9.9995, 49.9995, 10.0005, 50.0005))


def test_footprints_at_the_antimeridian_are_cut_there(tmp_path):
    write_gallery(tmp_path / "g", [179.9, 180, -179.9], [0, 0, 0], half=0.05)
    summary, _ = look(tmp_path / "g", tmp_path / "out")
    kinds = [feature["geometry"]["type"] for feature in footprints(tmp_path / "out")]
    assert kinds == ["Polygon", "MultiPolygon", "Polygon"]
    halves = footprints(tmp_path / "out")[1]["geometry"]["coordinates"]
    longitudes = sorted({round(x, 6) for half in halves for x, _ in half[0]})
    assert longitudes == [-180, -179.95, 179.95, 180]
    assert summary.area_km2 == pytest.approx(3 * (0.1 * 111.3) ** 2, rel=0.02)


def test_many_tiles_give_one_outline_per_source(tmp_path):
    rows, columns = np.divmod(np.arange(400), 20)
    write_gallery(
        tmp_path / "g", 179.99 + columns * 0.001 - (columns > 9) * 0, 10 + rows * 0.001,
        source=["old" if row < 10 else "new" for row in rows],
    )  # fmt: skip
    _, written = look(tmp_path / "g", tmp_path / "out", limit=399)
    features = footprints(tmp_path / "out")
    assert written.features == len(features) == 2
    assert [feature["properties"]["tiles"] for feature in features] == [200, 200]
    outline = shapely.from_geojson(json.dumps(features[0]["geometry"]))
    assert outline.is_valid
    assert outline.area == pytest.approx(0.02 * 0.01, rel=1e-6)
    assert -180 <= outline.bounds[0] < outline.bounds[2] <= 180


@pytest.mark.parametrize("count", [1, 10, 15_000])
def test_the_map_shows_every_source_at_any_number_of_tiles(tmp_path, count):
    rng = np.random.default_rng(0)
    source = np.where(np.arange(count) % 2, "new", "old").tolist()
    write_gallery(
        tmp_path / "g", 10 + rng.normal(0, 0.05, count), 50 + rng.normal(0, 0.05, count),
        source=source,
    )  # fmt: skip
    _, written = look(tmp_path / "g", tmp_path / "out")
    with Image.open(written.map) as picture:
        assert picture.size[0] == 1600
        pixels = np.asarray(picture.convert("RGB"), int)
    below_legend = pixels[200:]
    coloured = (np.ptp(below_legend, axis=2) > 30).mean()
    assert coloured > 1e-5
    if count > 1:
        blue = (below_legend[..., 2] - below_legend[..., 0] > 60).sum()
        orange = (below_legend[..., 0] - below_legend[..., 2] > 60).sum()
        assert min(blue, orange) > 20


def test_places_far_apart_get_maps_of_their_own(tmp_path):
    lon = np.r_[10 + np.arange(20) * 1e-3, -90 + np.arange(20) * 1e-3]
    write_gallery(tmp_path / "g", lon, np.full(40, 30.0))
    _, written = look(tmp_path / "g", tmp_path / "out")
    with Image.open(written.map) as picture:
        pixels = np.asarray(picture.convert("RGB"), int)
    blue = (pixels[200:, :, 2] - pixels[200:, :, 0] > 60).sum(axis=0) > 0
    assert blue.sum() > 500  # two rows of tiles, each as wide as its map


def test_versions_are_listed_with_the_live_one_marked(tmp_path):
    write_gallery(tmp_path / "g", [10], [50], version="20260101T000000Z-a")
    write_gallery(tmp_path / "g", [10], [50], version="20260201T000000Z-b")
    (tmp_path / "g" / "versions" / "20260101T000000Z-a" / "manifest.json").write_text("{")
    versions = summarise_versions(tmp_path / "g")
    marks = [(one.is_live, one.manifest is None) for one in versions]
    assert marks == [(False, True), (True, False)]
    lines = versions_screen(versions).splitlines()
    assert "cannot be read" in lines[1]
    assert "live" in lines[2]


def test_missing_galleries_and_versions_are_named(tmp_path):
    with pytest.raises(GalleryNotFound, match="there is no gallery"):
        Inspection(tmp_path / "none")
    write_gallery(tmp_path / "g", [10], [50])
    with pytest.raises(GalleryNotFound, match="no version 'v9'") as caught:
        Inspection(tmp_path / "g", "v9")
    assert "v1" in caught.value.hint


@pytest.mark.parametrize(
    ("longitudes", "west", "east"),
    [([(10, 11), (12, 13)], 10, 13), ([(179, -179), (-178, -177)], 179, -177),
     ([(-100, -90), (170, 175)], 170, -90)],
)  # fmt: skip
def test_bounds_of_shards_are_joined_the_short_way(tmp_path, longitudes, west, east):
    manifest = write_gallery(tmp_path / "g", [10], [50])
    pieces = [
        manifest.model_copy(update={"bounds": BoundsModel(west=w, south=0, east=e, north=1)})
        for w, e in longitudes
    ]
    joined = join_manifests("epoch", pieces)
    assert (joined.bounds.west, joined.bounds.east) == (west, east)
    assert (joined.tile_count, joined.version) == (2, "epoch")
