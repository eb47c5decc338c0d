"""Tables of tiles and of queries."""

import numpy as np
import pytest

from crossfix.errors import SourceError
from crossfix.geodesy import distance_m
from index_builder.evaluate import read_queries
from index_builder.sources.opening import open_sources
from index_builder.sources.source import SourceOptions
from index_builder.sources.table_source import TableSource
from tests.tiny_encoder import png, random_texture, write_geotiff


def write_table(folder, text, *, name="tiles.csv", images=("a.png", "b.png")):
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        (folder / image).write_bytes(png(random_texture(40, 50, seed=number)))
    (folder / name).write_text(text)
    return folder / name


def table_of(path):
    return TableSource(path, SourceOptions(date="2020"), name="tiles")


@pytest.mark.parametrize(
    "header",
    [
        "file,lat,lon,size_m,date",
        "path,latitude,longitude,side_m,date",
        "Image,LAT,lng,tile_size_m,date",
    ],
)
def test_columns_have_several_names(tmp_path, header):
    path = write_table(tmp_path, f"{header}\na.png,10,20,50,2021\nb.png,10.1,20.1,60,\n")
    source = table_of(path)
    first, second = source.plan(None, 0.5)
    assert (first.lon, first.lat, first.size_m, first.date) == (20, 10, 50, "2021")
    assert (second.size_m, second.date) == (60, "2020")
    assert np.array_equal(source.read(second), random_texture(40, 50, seed=1))
    width_m = distance_m(first.bounds.west, 10, first.bounds.east, 10)
    assert width_m == pytest.approx(50, rel=1e-4)


def test_sizes_come_from_bounds_or_the_option(tmp_path):
    path = write_table(
        tmp_path, "file,lat,lon,west,south,east,north\na.png,10,20,19.999,9.999,20.001,10.001\n"
    )
    (plan,) = table_of(path).plan(None, 0.5)
    assert plan.size_m == pytest.approx(221.2, abs=0.2)
    assert plan.bounds.west == 19.999
    bare = write_table(tmp_path, "file,lat,lon\na.png,10,20\n")
    assert table_of(bare).plan(75.0, 0.5)[0].size_m == 75
    with pytest.raises(SourceError, match="line 2 has no usable tile size"):
        table_of(bare).plan(None, 0.5)


def test_images_may_lie_in_a_folder_named_like_the_table(tmp_path):
    path = write_table(tmp_path, "file,lat,lon,size_m\na.png,10,20,50\n")
    (tmp_path / "tiles").mkdir()
    (tmp_path / "a.png").rename(tmp_path / "tiles" / "a.png")
    source = table_of(path)
    assert source.read(source.plan(None, 0.5)[0]).shape == (40, 50, 3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no rows"),
        ("file,lat,lon\n", "no rows"),
        ("file,lat\na.png,1\n", "no column lon|lng|longitude"),
        ("file,lat,lon,size_m\na.png,95,20,50\n", "line 2.*not a place"),
        ("file,lat,lon,size_m\na.png,north,20,50\n", "line 2: lat is 'north'"),
        ("file,lat,lon,size_m\na.png,10,20,-3\n", "line 2 has no usable tile size"),
    ],
)
def test_bad_tables_are_refused(tmp_path, text, said):
    path = write_table(tmp_path, text)
    with pytest.raises(SourceError, match=said.replace("|", r"\|")):
        table_of(path).plan(None, 0.5)


def test_unreadable_images_are_named(tmp_path):
    path = write_table(tmp_path, "file,lat,lon,size_m\na.png,10,20,50\nnone.png,10,20,50\n")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    source = table_of(path)
    for plan, name in zip(source.plan(None, 0.5), ("a.png", "none.png"), strict=True):
        with pytest.raises(SourceError, match=name):
            source.read(plan)


def test_sources_of_one_name_stay_apart(tmp_path):
    paths = [
        write_geotiff(tmp_path / folder / "ortho map.tif", size_px=(120, 120))
        for folder in ("a", "b")
    ]
    sources = open_sources(paths, SourceOptions(attribution="someone", tile_px=32))
    infos = [source.describe() for source in sources]
    ids = [plan.tile_id for source in sources for plan in source.plan(30.0, 0.5)]
    for source in sources:
        source.close()
    assert [info.name for info in infos] == ["ortho-map", "ortho-map-2"]
    assert infos[0].attribution == "someone"
    assert len(set(ids)) == len(ids)


def test_missing_sources_are_named(tmp_path):
    with pytest.raises(SourceError, match=r"none\.tif does not exist"):
        open_sources([tmp_path / "none.tif"], SourceOptions())
    with pytest.raises(SourceError, match="is a directory"):
        open_sources([tmp_path], SourceOptions())


def test_queries_name_view_and_angles(tmp_path):
    path = write_table(
        tmp_path,
        "file,lat,lon,view,heading_deg,hfov_deg\na.png,10,20,ground,90,360\nb.png,10,20,,,\n",
        name="queries.csv",
    )
    first, second = read_queries(path, None, "drone")
    assert (first.view, first.heading_deg, first.hfov_deg) == ("ground", 90, 360)
    assert (second.view, second.heading_deg, second.path) == ("drone", None, tmp_path / "b.png")
    assert read_queries(path, tmp_path / "else", "drone")[0].path == tmp_path / "else" / "a.png"
    bad = write_table(tmp_path, "file,lat,lon,view\na.png,10,20,satellite\n", name="bad.csv")
    with pytest.raises(SourceError, match="view is 'satellite'"):
        read_queries(bad, None, "drone")
