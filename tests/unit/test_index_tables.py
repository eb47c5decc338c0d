"""Tables of image files with places: CSV, Parquet, GeoJSON."""

import io
import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from crossfix.errors import SourceError
from crossfix.geodesy import LocalFrame, LonLat, distance_m
from index_builder.sources.grid.area import Area
from index_builder.sources.opening import open_sources
from index_builder.sources.spec import SourceSpec
from index_builder.sources.tables.table_source import TableSource
from tests.tiny_encoder import png, random_texture, write_geotiff


def write_table(folder, text, *, name="tiles.csv", images=("a.png", "b.png")):
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        (folder / image).write_bytes(png(random_texture(40, 40, seed=number)))
    (folder / name).write_text(text)
    return folder / name


def table_of(path, **spec):
    return TableSource(SourceSpec(location=str(path), **spec), name="tiles", tile_px=256)


def plans_of(path, tile_size_m=None, **spec):
    return list(table_of(path, **spec).plan(tile_size_m, 0.5))


@pytest.mark.parametrize(
    "header",
    [
        "file,lat,lon,size_m,date",
        "path,latitude,longitude,side_m,date",
        " Image ,LAT,lng,tile_size_m,Date",
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_columns_have_several_names(tmp_path, header, delimiter):
    text = f"{header}\na.png,10,20,50,2021\nb.png,10.1,20.1,60,\n"
    path = write_table(tmp_path, text.replace(",", delimiter))
    source = table_of(path, date="2020")
    first, second = source.plan(None, 0.5)
    assert (first.lon, first.lat, first.size_m, first.date) == (20, 10, 50, "2021")
    assert (second.size_m, second.date) == (60, "2020")
    assert np.array_equal(source.read(second), random_texture(40, 40, seed=1))
    width_m = distance_m(first.bounds.west, 10, first.bounds.east, 10)
    assert width_m == pytest.approx(50, rel=1e-4)


def test_a_table_with_semicolons_may_have_decimal_commas(tmp_path):
    path = write_table(tmp_path, "file;lat;lon;size_m\na.png;10,25;20,5;50\n")
    (plan,) = plans_of(path)
    assert (plan.lat, plan.lon) == (10.25, 20.5)


def test_rows_credit_their_own_makers(tmp_path):
    path = write_table(
        tmp_path,
        "file,lat,lon,size_m,attribution,license\na.png,10,20,50,Anna,CC0\nb.png,10,20.1,50,,\n",
    )
    source = table_of(path, attribution="Berta", licence="CC-BY-4.0", date="2020")
    first, second = source.plan(None, 0.5)
    assert (first.attribution, first.licence) == ("Anna", "CC0")
    assert (second.attribution, second.licence) == ("Berta", "CC-BY-4.0")
    info = source.describe()
    assert (info.kind, info.attribution, info.licence, info.date) == ("table", "", "", "2020")


def test_sizes_come_from_bounds_or_the_option(tmp_path):
    path = write_table(
        tmp_path,
        "file,west,south,east,north\na.png,19.998984,9.998995,20.001016,10.001005\n",
    )
    (plan,) = plans_of(path)
    assert (plan.lon, plan.lat) == pytest.approx((20, 10))
    assert plan.size_m == pytest.approx(222.3, abs=0.2)
    assert plan.bounds.west == 19.998984
    bare = write_table(tmp_path, "file,lat,lon\na.png,10,20\n")
    (plan,) = plans_of(bare, 75.0)
    assert plan.size_m == 75
    square = LocalFrame(LonLat(20, 10)).square(75.0)
    for side in ("west", "south", "east", "north"):
        assert getattr(plan.bounds, side) == pytest.approx(getattr(square, side), abs=1e-12)
    with pytest.raises(SourceError, match="line 2 has no usable tile size") as caught:
        plans_of(bare)
    assert "--tile-size-m" in caught.value.hint


def test_an_image_that_is_not_square_gives_its_middle(tmp_path):
    path = write_table(tmp_path, "file,lat,lon,size_m\na.png,10,20,50\n")
    wide = random_texture(40, 60, seed=5)
    (tmp_path / "a.png").write_bytes(png(wide))
    source = table_of(path)
    (plan,) = source.plan(None, 0.5)
    assert np.array_equal(source.read(plan), wide[:, 10:50])


def test_a_footprint_that_is_not_square_gives_its_middle_square(tmp_path):
    degree_m = distance_m(20, 10, 21, 10)
    half = 0.001
    path = write_table(
        tmp_path,
        "file,west,south,east,north\n"
        f"a.png,{20 - 2 * half},{10 - half},{20 + 2 * half},{10 + half}\n",
    )
    wide = random_texture(40, 80, seed=5)
    (tmp_path / "a.png").write_bytes(png(wide))
    source = table_of(path)
    (plan,) = source.plan(None, 0.5)
    height_m = distance_m(20, 10 - half, 20, 10 + half)
    assert plan.size_m == pytest.approx(height_m)
    assert (plan.bounds.east - plan.bounds.west) * degree_m == pytest.approx(height_m, rel=1e-4)
    pixels = source.read(plan)
    assert pixels.shape == (40, 40, 3)
    difference = pixels[:, :39].astype(int) - wide[:, 20:59]
    assert np.abs(difference).mean() < 12


def test_squashed_pixels_are_stretched_to_the_ground(tmp_path):
    path = write_table(
        tmp_path, "file,lat,lon,west,south,east,north\na.png,0,20,19.999,-0.001,20.001,0.001\n"
    )
    (tmp_path / "a.png").write_bytes(png(random_texture(40, 20, seed=5)))
    source = table_of(path)
    assert source.read(next(source.plan(None, 0.5))).shape == (40, 40, 3)


def test_images_stand_upright_and_transparency_counts_as_empty(tmp_path):
    path = write_table(
        tmp_path, "file,lat,lon,size_m\nturned.jpg,10,20,50\nhalf.png,10,20,50\nhole.png,10,20,50\n"
    )
    upright = Image.new("RGB", (40, 40), "red")
    upright.paste("blue", (0, 0, 40, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    upright.rotate(90).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    for name, columns in (("half.png", 10), ("hole.png", 25)):
        alpha = np.full((40, 40, 4), 200, np.uint8)
        alpha[:, :columns, 3] = 0
        buffer = io.BytesIO()
        Image.fromarray(alpha).save(buffer, "PNG")
        (tmp_path / name).write_bytes(buffer.getvalue())
    source = table_of(path)
    turned, half, hole = (source.read(plan) for plan in source.plan(None, 0.5))
    assert turned[5, 20].argmax() == 2
    assert turned[35, 20].argmax() == 0
    assert half.shape == (40, 40, 3)
    assert hole is None


def test_files_count_from_the_table_wherever_one_stands(tmp_path, monkeypatch):
    path = write_table(tmp_path / "maps", "file,lat,lon,size_m\nsub/a.png,10,20,50\n", images=())
    absolute = tmp_path / "else" / "b.png"
    for file in (tmp_path / "maps" / "sub" / "a.png", absolute):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(png(random_texture(40, 40)))
    path.write_text(path.read_text() + f"{absolute},10,20,50\n")
    monkeypatch.chdir(tmp_path / "maps")
    for location in (path, os.path.relpath(path)):
        source = table_of(location)
        assert all(source.read(plan) is not None for plan in source.plan(None, 0.5))


def test_images_may_lie_in_a_folder_named_like_the_table(tmp_path):
    path = write_table(tmp_path, "file,lat,lon,size_m\na.png,10,20,50\n")
    (tmp_path / "tiles").mkdir()
    (tmp_path / "a.png").rename(tmp_path / "tiles" / "a.png")
    source = table_of(path)
    assert source.read(next(source.plan(None, 0.5))).shape == (40, 40, 3)


def test_parquet_and_csv_give_the_same_tiles(tmp_path):
    path = write_table(
        tmp_path, "file,lat,lon,size_m,date\na.png,10.5,20,50,2021\nb.png,11,21,60,\n"
    )
    columns = {
        "file": ["a.png", "b.png"],
        "lat": pa.array([10.5, 11], pa.float32()),
        "lon": [20, 21],
        "size_m": pa.array([50, 60], pa.decimal128(5, 1)),
        "date": ["2021", None],
    }
    pq.write_table(pa.table(columns), tmp_path / "tiles.parquet")
    assert plans_of(tmp_path / "tiles.parquet") == plans_of(path)


def test_geojson_points_are_centres_and_polygons_footprints(tmp_path):
    def feature(file, geometry, **more):
        return {"type": "Feature", "geometry": geometry, "properties": {"file": file, **more}}

    ring = [[20, 10], [20.001, 10], [20.001, 10.001], [20, 10.001], [20, 10]]
    halves = [
        [[[179.999, 0], [180, 0], [180, 0.002], [179.999, 0.002], [179.999, 0]]],
        [[[-180, 0], [-179.999, 0], [-179.999, 0.002], [-180, 0.002], [-180, 0]]],
    ]
    features = [
        feature("a.png", {"type": "Point", "coordinates": [20, 10, 99]}, size_m=50, lat="no"),
        feature("b.png", {"type": "Polygon", "coordinates": [ring]}, date="2021"),
        feature("b.png", {"type": "MultiPolygon", "coordinates": halves}, tags=["x"]),
    ]
    path = write_table(tmp_path, json.dumps({"features": features}), name="tiles.geojson")
    point, box, split = plans_of(path)
    assert (point.lon, point.lat, point.size_m) == (20, 10, 50)
    assert (box.lon, box.lat, box.date) == (pytest.approx(20.0005), pytest.approx(10.0005), "2021")
    assert (split.bounds.west, split.bounds.east) == (179.999, -179.999)
    assert abs(split.lon) == pytest.approx(180)
    assert split.tile_id != box.tile_id


def test_an_area_leaves_out_what_does_not_touch_it(tmp_path):
    path = write_table(
        tmp_path, "file,lat,lon,size_m\na.png,10,20,50\nb.png,10,21,50\na.png,0,-180,500\n"
    )
    ring = [[20.9, 9], [21.5, 9], [21.5, 11], [20.9, 11], [20.9, 9]]
    east = Area.from_geojson({"type": "Polygon", "coordinates": [ring]})
    dateline = [[179.99, -1], [180, -1], [180, 1], [179.99, 1], [179.99, -1]]
    edge = Area.from_geojson({"type": "Polygon", "coordinates": [dateline]})
    source = table_of(path)
    assert [plan.lon for plan in source.plan(None, 0.5, east)] == [21]
    assert [plan.lon for plan in source.plan(None, 0.5, edge)] == [-180]


def test_ids_stay_when_rows_come_and_go(tmp_path):
    header = "file,lat,lon,size_m\n"
    before = plans_of(write_table(tmp_path, f"{header}a.png,1,2,50\nb.png,1,3,50\n"))
    after = plans_of(write_table(tmp_path, f"{header}c.png,5,5,50\nb.png,1,3,50\na.png,1,2,50\n"))
    assert {p.tile_id for p in before} < {p.tile_id for p in after}
    twice = plans_of(write_table(tmp_path, f"{header}a.png,1,2,50\nb.png,1,3,50\na.png,1,4,50\n"))
    assert len({plan.tile_id for plan in twice}) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no rows"),
        ("file,lat,lon\n", "no rows"),
        ("name,lat,lon\na.png,1,2\n", "no column file|path|image|filename"),
        ("file,lat,size_m\na.png,1,50\n", "line 2 has no lat, lon and no bounds"),
        ("file,lat,lat\na.png,1,2\n", "two columns called lat"),
        ("file,lat,lon,size_m\na.png,95,20,50\n", "line 2.*not a place"),
        ("file,lat,lon,size_m\na.png,1,20,50\nb.png,89,20,50\n", "line 3.*too near a pole"),
        ("file,lat,lon,size_m\na.png,1,2,50\nb.png,north,20,50\n", "line 3: lat is 'north'"),
        ("file,lat,lon,size_m\na.png,10,20,-3\n", "line 2 has no usable tile size"),
        ("file,lat,lon,size_m\na.png,10\n", "cannot be read.*Expected 4 columns"),
        ("file,lat,lon,west,south,east,north\na.png,1,2,1,,,\n", "only some of its bounds"),
        ("file,west,south,east,north\na.png,1,3,2,2\n", "no box on Earth"),
        ("file,lat,lon,west,south,east,north\na.png,9,9,1,1,2,2\n", "outside its own bounds"),
        (
            "file,size_m,west,south,east,north\na.png,50,1,1,1.01,1.01\n",
            "a size_m of 50 and bounds",
        ),
    ],
)
def test_bad_tables_are_refused(tmp_path, text, said):
    path = write_table(tmp_path, text)
    with pytest.raises(SourceError, match=said.replace("|", r"\|")):
        plans_of(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "not a GeoJSON FeatureCollection"),
        ('{"features": [{"geometry": {"type": "LineString"}}]}', "feature 1 is no Point"),
        (
            '{"features": [{"geometry": {"type": "Point", "coordinates": ["a", 1]}}]}',
            "feature 1 has no usable coordinates",
        ),
    ],
)
def test_bad_geojson_is_refused(tmp_path, text, said):
    path = write_table(tmp_path, text, name="tiles.geojson")
    with pytest.raises(SourceError, match=said):
        plans_of(path)


def test_a_damaged_parquet_file_is_refused(tmp_path):
    path = write_table(tmp_path, "PAR1 nothing more", name="tiles.parquet")
    with pytest.raises(SourceError, match=r"tiles\.parquet cannot be read"):
        table_of(path)


def test_unreadable_images_are_named(tmp_path):
    path = write_table(tmp_path, "file,lat,lon,size_m\na.png,10,20,50\nnone.png,10,20,50\n")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    source = table_of(path)
    for plan, name in zip(source.plan(None, 0.5), ("a.png", "none.png"), strict=True):
        with pytest.raises(SourceError, match=name):
            source.read(plan)


def test_the_fingerprint_follows_table_and_images(tmp_path):
    path = write_table(tmp_path, "file,lat,lon,size_m\na.png,10,20,50\n")
    before = table_of(path).fingerprint()
    assert table_of(path).fingerprint() == before
    (tmp_path / "a.png").write_bytes(png(random_texture(41, 41)))
    changed = table_of(path).fingerprint()
    (tmp_path / "a.png").unlink()
    assert len({before, changed, table_of(path).fingerprint()}) == 3


def test_a_hundred_thousand_rows_are_quick_and_light(tmp_path):
    count = 100_000
    numbers = np.arange(count)
    columns = {
        "file": pa.array([f"images/{number:07d}.jpg" for number in numbers]),
        "lat": numbers / count,
        "lon": numbers / count,
        "size_m": np.full(count, 50.0),
    }
    pq.write_table(pa.table(columns), tmp_path / "tiles.parquet")
    pa.default_memory_pool().release_unused()
    before = pa.total_allocated_bytes()
    source = table_of(tmp_path / "tiles.parquet")
    assert pa.total_allocated_bytes() - before < 200 * count
    plans = source.plan(None, 0.5)
    first = next(plans)
    assert first.tile_id.startswith("tiles-0000000-")
    assert sum(1 for _ in plans) == count - 1


def test_sources_of_one_name_stay_apart(tmp_path):
    paths = [
        write_geotiff(tmp_path / folder / "ortho map.tif", size_px=(120, 120))
        for folder in ("a", "b")
    ]
    specs = [SourceSpec(location=str(path), attribution="someone") for path in paths]
    sources = open_sources(specs, tile_px=32)
    infos = [source.describe() for source in sources]
    ids = [plan.tile_id for source in sources for plan in source.plan(30.0, 0.5)]
    for source in sources:
        source.close()
    assert [info.name for info in infos] == ["ortho-map", "ortho-map-2"]
    assert infos[0].attribution == "someone"
    assert len(set(ids)) == len(ids)
