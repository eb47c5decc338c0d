"""Nothing outside the given folders is opened, however it is named."""

import json
import os
import sqlite3

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio

from crossfix.errors import CrossfixError, InvalidParameter, RecipeError, SourceError
from index_builder.changes_file import read_changes
from index_builder.recipe import read_geometry, read_recipe
from index_builder.sources.confinement import Confinement
from index_builder.sources.opening import open_source
from index_builder.sources.spec import SourceSpec
from tests.tiny_encoder import png, random_texture, write_geotiff
from tests.tiny_tile_sets import write_folder, write_mbtiles, write_pmtiles

OUT = "leads out of the folders that may be read"
AREA = {"type": "Polygon", "coordinates": [[[8, 47], [9, 47], [9, 48], [8, 47]]]}


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def outside(tmp_path):
    folder = tmp_path / "outside"
    folder.mkdir()
    write_geotiff(folder / "secret.tif", size_px=(64, 64))
    (folder / "secret.png").write_bytes(png(random_texture(32, 32)))
    return folder


def read_all(location, root, *, size_m=20.0, **spec):
    """Plans and reads as a build does; gives the tiles."""
    source = open_source(
        SourceSpec(location=str(location), **spec),
        name="a",
        tile_px=64,
        within=Confinement.of((root,)),
    )
    try:
        source.describe()
        plans = list(source.plan(size_m, 0.5))
        return [source.read(plan) for plan in plans]
    finally:
        source.close()


def refused(location, root, said=OUT, **options):
    with pytest.raises(SourceError, match=said):
        read_all(location, root, **options)


def test_what_lies_inside_is_read(root):
    write_geotiff(root / "maps" / "a.tif", size_px=(64, 64))
    (root / "list.txt").write_text("maps/a.tif\n")
    (root / "link.tif").symlink_to("maps/a.tif")
    for location in ("maps/a.tif", "maps", "maps/*.tif", "list.txt", "link.tif"):
        assert read_all(root / location, root), location


def test_a_root_that_is_a_link_itself_is_followed(tmp_path, root):
    write_geotiff(root / "a.tif", size_px=(64, 64))
    (tmp_path / "alias").symlink_to(root)
    assert read_all(tmp_path / "alias" / "a.tif", tmp_path / "alias")


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/{z}/{x}/{y}.png", "file:///etc/passwd",
                                     "https://example.org/a.tif", "s3://bucket/a.tif"])  # fmt: skip
def test_addresses_are_refused(root, address):
    refused(address, root, "only some folders")


@pytest.mark.parametrize("path", ["/etc/passwd", "/etc/nothing-here", "../outside/secret.tif",
                                  "/vsizip/a.zip/b.tif", "/vsicurl/http://127.0.0.1:9/a.tif",
                                  "../outside/*.tif", "../outside"])  # fmt: skip
@pytest.mark.usefixtures("outside")
def test_places_outside_are_refused_alike_whether_or_not_something_is_there(root, path):
    refused(root / path, root)


def test_links_that_lead_out_are_refused(root, outside):
    (root / "a.tif").symlink_to(outside / "secret.tif")
    (root / "maps").symlink_to(outside)
    (root / "real").mkdir()
    (root / "real" / "b.tif").symlink_to(outside / "secret.tif")
    (root / "loop.tif").symlink_to("loop.tif")
    for location in ("a.tif", "maps", "maps/secret.tif", "real", "real/*.tif", "loop.tif"):
        refused(root / location, root)


@pytest.mark.parametrize("ending", [".ovr", ".msk", ".aux.xml"])
def test_a_sidecar_that_leads_out_is_refused(root, outside, ending):
    write_geotiff(root / "a.tif", size_px=(64, 64))
    (root / f"a.tif{ending}").symlink_to(outside / "secret.tif")
    refused(root / "a.tif", root)


@pytest.mark.parametrize("ending", ["tfw", "TFW", "prj", "tab"])
def test_a_world_file_that_leads_out_is_refused(root, outside, ending):
    write_geotiff(root / "a.tif", size_px=(64, 64))
    (root / f"a.{ending}").symlink_to(outside / "secret.tif")
    refused(root / "a.tif", root)


def test_a_raster_that_names_its_overviews_elsewhere_is_refused(root, outside):
    write_geotiff(root / "a.tif", size_px=(64, 64))
    with rasterio.open(root / "a.tif", "r+") as raster:
        raster.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=str(outside / "secret.tif"))
    with rasterio.open(root / "a.tif") as raster:
        raster.overviews(1)
        assert str(outside / "secret.tif") in raster.files, "GDAL does follow it"
    refused(root / "a.tif", root, "names another file as its overviews")


def pointing_files(outside):
    tif = outside / "secret.tif"
    return {
        "vrt": f'<VRTDataset rasterXSize="64" rasterYSize="64"><SRS>EPSG:4326</SRS>'
        f"<GeoTransform>8,0.00001,0,47,0,-0.00001</GeoTransform>"
        f'<VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename>{tif}'
        f"</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>",
        "wms": '<GDAL_WMS><Service name="TMS"><ServerUrl>http://127.0.0.1:9/${z}/${x}/${y}.png'
        "</ServerUrl></Service><DataWindow><UpperLeftX>-20037508.34</UpperLeftX>"
        "<UpperLeftY>20037508.34</UpperLeftY><LowerRightX>20037508.34</LowerRightX>"
        "<LowerRightY>-20037508.34</LowerRightY><TileLevel>2</TileLevel></DataWindow>"
        "<Projection>EPSG:3857</Projection><BlockSizeX>256</BlockSizeX>"
        "<BlockSizeY>256</BlockSizeY><BandsCount>3</BandsCount></GDAL_WMS>",
        "wcs": "<WCS_GDAL><ServiceURL>http://127.0.0.1:9/?</ServiceURL><CoverageName>a"
        "</CoverageName></WCS_GDAL>",
        "wmts": "<GDAL_WMTS><GetCapabilitiesUrl>http://127.0.0.1:9/</GetCapabilitiesUrl>"
        "</GDAL_WMTS>",
        "gti": f"<GDALTileIndexDataset><IndexDataset>{outside}/index.gpkg</IndexDataset>"
        "</GDALTileIndexDataset>",
        "stacit": json.dumps({"type": "FeatureCollection", "stac_version": "1.0.0", "features": [
            {"type": "Feature", "stac_version": "1.0.0", "properties": {}, "geometry": AREA,
             "assets": {"a": {"href": str(tif)}}}]}),
        "envi-like": f"ENVI\ndescription = {{{tif}}}\n",
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["vrt", "wms", "wcs", "wmts", "gti", "stacit", "envi-like"])
@pytest.mark.parametrize("ending", ["tif", "vrt", "jp2", "xml"])
def test_formats_that_point_elsewhere_are_no_rasters_whatever_their_ending(
    root, outside, kind, ending
):
    (root / f"a.{ending}").write_text(pointing_files(outside)[kind])
    refused(root / f"a.{ending}", root, "cannot be read", kind="raster")


def test_a_vrt_is_read_where_nothing_is_confined(root, outside):
    (root / "a.tif").write_text(pointing_files(outside)["vrt"])
    source = open_source(SourceSpec(location=str(root / "a.tif")), name="a", tile_px=64)
    source.close()


@pytest.mark.parametrize("line", ["../outside/secret.tif", "/etc/passwd", "/etc/nothing-here"])
@pytest.mark.usefixtures("outside")
def test_lists_that_lead_out_are_refused(root, line):
    write_geotiff(root / "a.tif", size_px=(64, 64))
    (root / "list.txt").write_text(f"a.tif\n{line}\n")
    refused(root / "list.txt", root)


@pytest.mark.parametrize("line", ["http://127.0.0.1:9/a.tif", "/vsicurl/http://127.0.0.1:9/a.tif"])
def test_addresses_in_lists_are_refused(root, line):
    (root / "list.txt").write_text(f"{line}\n")
    refused(root / "list.txt", root, f"{OUT}|does not exist")


ROWS = ["/etc/passwd", "/etc/nothing-here", "../outside/secret.png", "linked.png", "dir/secret.png"]


@pytest.mark.parametrize("file", ROWS)
@pytest.mark.parametrize("form", ["csv", "parquet", "geojson"])
def test_tables_that_lead_out_are_refused(root, outside, file, form):
    (root / "good.png").write_bytes(png(random_texture(32, 32)))
    (root / "linked.png").symlink_to(outside / "secret.png")
    (root / "dir").symlink_to(outside)
    table = root / f"tiles.{form}"
    files = ["good.png", file]
    if form == "csv":
        rows = "".join(f"{one},47.{i},8.5,50\n" for i, one in enumerate(files))
        table.write_text(f"file,lat,lon,size_m\n{rows}")
    elif form == "parquet":
        pq.write_table(
            pa.table({"file": files, "lat": [47.0, 47.1], "lon": [8.5] * 2, "size_m": [50] * 2}),
            table,
        )
    else:
        features = [
            {"type": "Feature", "properties": {"file": one, "size_m": 50},
             "geometry": {"type": "Point", "coordinates": [8.5, 47 + i / 10]}}
            for i, one in enumerate(files)
        ]  # fmt: skip
        table.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    refused(table, root, size_m=None)


def tile_images():
    from crossfix.geodesy import TileId

    return {TileId(16, 34000 + i, 22000): png(random_texture(64, 64, seed=i)) for i in range(2)}


def test_tile_sets_inside_are_read_and_links_of_theirs_that_lead_out_refused(root, outside):
    images = tile_images()
    nested = write_folder(root / "nested", images)
    flat = write_folder(root / "flat", images, flat=True)
    archives = [
        write_mbtiles(root / "a.mbtiles", images), write_pmtiles(root / "a.pmtiles", images)
    ]  # fmt: skip
    for location in (nested, flat, *archives):
        assert read_all(location, root, size_m=None), location
    victim = next(nested.rglob("*.png"))
    victim.unlink()
    victim.symlink_to(outside / "secret.png")
    refused(nested, root, size_m=None)
    victim = next(flat.glob("*.png"))
    victim.unlink()
    victim.symlink_to(outside / "secret.png")
    refused(flat, root, size_m=None)
    (root / "a.mbtiles-wal").symlink_to(outside / "secret.png")
    refused(archives[0], root, size_m=None)


def test_a_folder_of_tiles_with_a_linked_column_or_metadata_is_refused(root, outside):
    nested = write_folder(root / "nested", tile_images())
    (nested / "16" / "34009").symlink_to(outside)
    refused(nested, root, size_m=None)
    (nested / "16" / "34009").unlink()
    (nested / "metadata.json").symlink_to("/etc/passwd")
    refused(nested, root, size_m=None)


def test_an_archive_that_is_a_link_out_is_refused(root, outside):
    connection = sqlite3.connect(outside / "a.mbtiles")
    connection.close()
    (root / "a.mbtiles").symlink_to(outside / "a.mbtiles")
    refused(root / "a.mbtiles", root)


def test_areas_outside_are_refused(root, outside):
    (outside / "area.geojson").write_text(json.dumps(AREA))
    (root / "area.geojson").write_text(json.dumps(AREA))
    within = Confinement.of((root,))
    assert read_geometry(root / "area.geojson", within) == AREA
    for path in (outside / "area.geojson", root / "../outside/area.geojson", outside / "none"):
        with pytest.raises(SourceError, match=OUT):
            read_geometry(path, within)
    for key in ("area", "retired"):
        recipe = {"sources": [{"location": "a.tif"}], key: "../outside/area.geojson"}
        (root / "recipe.json").write_text(json.dumps(recipe))
        with pytest.raises(SourceError, match=OUT):
            read_recipe(root / "recipe.json", within)


def test_changes_are_read_from_a_file(root):
    (root / "area.geojson").write_text(json.dumps(AREA))
    text = "add: [{location: a.tif, date: 2024-05-01}]\nretire: [area.geojson]\nreread: true\n"
    (root / "changes.yaml").write_text(text)
    told = read_changes(root / "changes.yaml")
    assert told.reread
    assert told.changes.add[0].location == str(root / "a.tif")
    assert told.changes.add[0].date == "2024-05-01"
    assert told.changes.retire == (AREA,)
    (root / "changes.yaml").write_text("drop: everything\n")
    with pytest.raises(RecipeError, match="drop"):
        read_changes(root / "changes.yaml")


def test_deep_nonsense_is_an_error_and_no_crash(root):
    (root / "deep.yaml").write_text("[" * 5000)
    with pytest.raises(CrossfixError):
        read_recipe(root / "deep.yaml")
    (root / "deep.json").write_text('{"a":' * 100_000)
    with pytest.raises(InvalidParameter):
        read_geometry(root / "deep.json")


def test_names_with_zero_bytes_are_refused(root):
    with pytest.raises(SourceError, match=OUT):
        Confinement.of((root,)).check(root / "a\0b")
    assert os.path.isdir(root)
