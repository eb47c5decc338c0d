"""Sources told by looking at their location."""

import sys

import pytest

from crossfix.errors import CrossfixError, SourceError
from index_builder.sources.kinds import find_kind
from index_builder.sources.opening import close_sources, name_sources, open_source, open_sources
from index_builder.sources.spec import SourceSpec
from tests.tiny_datasets import write_cvact, write_cvusa, write_university, write_vigor
from tests.tiny_encoder import png, random_texture, write_geotiff


def spec(location, **more):
    return SourceSpec(location=str(location), **more)


def touch(path, data=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("file", "location", "kind"),
    [
        ("a.tif", "a.tif", "raster"),
        ("a.vrt", "a.vrt", "raster"),
        ("a.unknown", "a.unknown", "raster"),
        ("a.CSV", "a.CSV", "table"),
        ("a.parquet", "a.parquet", "table"),
        ("a.geojson", "a.geojson", "table"),
        ("list.txt", "list.txt", "mosaic"),
        ("maps/deep/a.tif", "maps", "mosaic"),
        ("maps/a.tif", "maps/*.tif", "mosaic"),
        ("a.mbtiles", "a.mbtiles", "mbtiles"),
        ("a.pmtiles", "a.pmtiles", "pmtiles"),
        ("t/18/2/3.png", "t", "xyz"),
        ("t/18_2_3.jpg", "t", "xyz"),
    ],
)
def test_kinds_are_told_by_looking(tmp_path, file, location, kind):
    touch(tmp_path / file)
    assert find_kind(spec(tmp_path / location)) == kind


def test_a_folder_of_gdal2tiles_counts_from_the_south(tmp_path):
    touch(tmp_path / "18/2/3.png")
    touch(tmp_path / "tilemapresource.xml")
    assert find_kind(spec(tmp_path)) == "tms"


def test_an_address_is_a_tile_server():
    assert find_kind(spec("https://tiles.example.org/{z}/{x}/{y}.png?key=1")) == "web"


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("none.tif", "does not exist"),
        ("none", "does not exist"),
        ("tiles.example.org/{z}/{x}/{y}.png", "does not exist"),
        ("empty", "a folder with no file"),
        ("photos", "holds 2 images and nothing that says where they are"),
        ("tables", r"a folder with \.csv files in it"),
        ("odd", "files of no known kind"),
        ("ftp://host/{z}/{x}/{y}.png", "is of scheme ftp"),
        ("s3://bucket/a.tif?secret", "bucket/a.tif is of scheme s3"),
    ],
)
def test_what_is_no_source_is_refused(tmp_path, location, said):
    (tmp_path / "empty").mkdir()
    touch(tmp_path / "photos" / "a.jpg")
    touch(tmp_path / "photos" / "b.PNG")
    touch(tmp_path / "tables" / "a.csv")
    touch(tmp_path / "odd" / "a.xyz")
    where = location if "://" in location else tmp_path / location
    with pytest.raises(SourceError, match=said) as caught:
        open_sources([spec(where)], tile_px=64)
    assert caught.value.hint
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "location", "said"),
    [
        ("xyz", "a.tif", "is a file, and a source of kind xyz is a folder"),
        ("table", "maps", "is a folder, and a source of kind table is a file"),
        ("raster", "maps", "is a folder, and a source of kind raster is a file"),
        ("raster", "https://host/{z}/{x}/{y}.png", "is no raster"),
        ("web", "a.tif", "is a file, and a source of kind web is an address"),
    ],
)
def test_a_kind_that_does_not_fit_is_refused(tmp_path, kind, location, said):
    touch(tmp_path / "a.tif")
    touch(tmp_path / "maps" / "a.tif")
    where = location if "://" in location else tmp_path / location
    with pytest.raises(SourceError, match=said):
        open_source(spec(where, kind=kind), name="a", tile_px=64)


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (write_cvusa, "cvusa"),
        (write_cvact, "cvact"),
        (write_vigor, "vigor"),
        (write_university, "university1652"),
    ],
)
def test_data_sets_are_recognised(tmp_path, write, name):
    write(tmp_path / "data")
    with pytest.raises(SourceError, match=f"looks like the data set {name}") as caught:
        find_kind(spec(tmp_path / "data"))
    assert f"satellite-table --data-set {name} --data {tmp_path / 'data'}" in caught.value.hint


def test_every_kind_of_file_opens(tmp_path):
    raster = write_geotiff(tmp_path / "map.tif", size_px=(100, 100))
    write_geotiff(tmp_path / "maps" / "one.tif", size_px=(100, 100))
    touch(tmp_path / "xyz" / "18/60000/100000.png", png(random_texture(256, 256)))
    touch(tmp_path / "tile.png", png(random_texture(40, 40)))
    (tmp_path / "tiles.csv").write_text("file,lat,lon,size_m\ntile.png,1,2,50\n")
    locations = [raster, tmp_path / "maps", tmp_path / "xyz", tmp_path / "tiles.csv"]
    sources = open_sources([spec(location) for location in locations], tile_px=64)
    try:
        infos = [source.describe() for source in sources]
        assert [info.kind for info in infos] == ["raster", "mosaic", "xyz", "table"]
        assert [info.name for info in infos] == ["map", "maps", "xyz", "tiles"]
        for source in sources:
            assert source.read(next(source.plan(20.0, 0.0))) is not None
    finally:
        close_sources(sources)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "index_builder.sources.tile_sets.tile_set_opening", None)
    path = touch(tmp_path / "a.pmtiles")
    with pytest.raises(CrossfixError, match="pmtiles need the Python package") as caught:
        open_source(spec(path), name="a", tile_px=64)
    assert "pip install" in caught.value.hint


def test_names_are_plain_and_different(tmp_path):
    (tmp_path / "my maps.d").mkdir()
    specs = [
        spec(tmp_path / "my maps.d"),
        spec(tmp_path / "my maps.d" / "*.tif"),
        spec("https://tiles.example.org/{z}/{x}/{y}.png"),
        spec("a.tif", name="Zürich 2024"),
        spec("ort.ho.tif"),
    ]
    assert name_sources(specs, taken=["ort.ho"]) == [
        "my-maps.d",
        "my-maps.d-2",
        "tiles.example.org",
        "Z-rich-2024",
        "ort.ho-2",
    ]
