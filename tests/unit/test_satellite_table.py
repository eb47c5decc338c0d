"""Satellite images of the known data sets as tables."""

import csv

import numpy as np
import pytest
from pyproj import Transformer

from crossfix.errors import DataError
from crossfix.geodesy import web_mercator_resolution_m
from tests.tiny_datasets import write_cvact, write_cvusa, write_university, write_vigor
from training.__main__ import main
from training.datasets.vigor import CITIES
from training.satellite_table import write_satellite_table

PLACES = "building,lat,lon,size_m\n0011,10,20,\n0012,10.1,20,90\n0001,11,20,\n9999,0,0,\n"


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_cvusa_has_the_tiles_places_and_not_the_cameras(tmp_path):
    write_cvusa(tmp_path / "data", train=6, val=4)
    written = write_satellite_table("cvusa", tmp_path / "data", tmp_path / "val.csv", split="val")
    rows = rows_of(written.path)
    assert [row["file"] for row in rows] == [f"data/bingmap/19/{n:07d}.jpg" for n in (2, 4, 6, 8)]
    assert [(float(row["lat"]), float(row["lon"])) for row in rows] == [
        (32, -92), (34, -94), (36, -96), (38, -98),
    ]  # fmt: skip
    side = 750 * web_mercator_resolution_m(32, 19)
    assert float(rows[0]["size_m"]) == pytest.approx(side, abs=1e-3)
    assert 180 < side < 200
    assert rows[0]["attribution"].startswith("Workman")
    assert rows[0]["licence"].startswith("none stated")
    assert write_satellite_table("cvusa", tmp_path / "data", tmp_path / "all.csv").images == 10


def test_cvusa_needs_its_tiles_only(tmp_path):
    root = write_cvusa(tmp_path / "data")
    for file in (root / "streetview" / "panos").iterdir():
        file.unlink()
    assert write_satellite_table("cvusa", root, tmp_path / "t.csv").images == 10
    (root / "bingmap/19/0000002.jpg").unlink()
    with pytest.raises(DataError, match=r"first is bingmap/19/0000002\.jpg"):
        write_satellite_table("cvusa", root, tmp_path / "t.csv")


def test_cvusa_without_places_says_which_file_is_missing(tmp_path):
    root = write_cvusa(tmp_path / "data", places=False)
    with pytest.raises(DataError, match=r"split_locations/all\.csv is missing"):
        write_satellite_table("cvusa", root, tmp_path / "t.csv")
    assert not (tmp_path / "t.csv").exists()


def test_cvact_places_come_from_utm(tmp_path):
    root = write_cvact(tmp_path / "data", train=5, val=4, test=6)
    written = write_satellite_table("cvact", root, tmp_path / "t.csv", split="val", size_m=72)
    rows = rows_of(written.path)
    assert [row["file"] for row in rows] == [
        f"data/ANU_data_small/satview_polish/pano{i:02d}_satView_polish.jpg" for i in range(5, 9)
    ]
    back = Transformer.from_crs("EPSG:4326", "EPSG:32755", always_xy=True)
    east, north = back.transform(float(rows[0]["lon"]), float(rows[0]["lat"]))
    assert (east, north) == (pytest.approx(690_200, abs=0.01), pytest.approx(6_090_000, abs=0.01))
    assert {row["size_m"] for row in rows} == {"72.000"}
    everything = write_satellite_table("cvact", root, tmp_path / "t.csv", size_m=72)
    assert everything.images == 15


def test_cvact_without_its_test_download_gives_the_rest(tmp_path, caplog):
    root = write_cvact(tmp_path / "data", train=5, val=4, test=6)
    (root / "ANU_data_test").rename(tmp_path / "elsewhere")
    (root / "ANU_data_small/satview_polish/pano00_satView_polish.jpg").unlink()
    assert write_satellite_table("cvact", root, tmp_path / "t.csv", size_m=72).images == 8
    assert "1 of 5 images of train are not there" in caplog.text
    with pytest.raises(DataError, match="ANU_data_test"):
        write_satellite_table("cvact", root, tmp_path / "t.csv", split="test", size_m=72)


def test_cvact_does_not_guess_sizes(tmp_path):
    root = write_cvact(tmp_path / "data")
    with pytest.raises(DataError, match="how much ground") as caught:
        write_satellite_table("cvact", root, tmp_path / "t.csv")
    assert "--size-m" in caught.value.hint


def test_cvact_places_elsewhere_are_refused(tmp_path, monkeypatch):
    root = write_cvact(tmp_path / "data")
    monkeypatch.setattr("training.datasets.satellite_places._UTM_55_SOUTH", "EPSG:32655")
    with pytest.raises(DataError, match="not near Canberra"):
        write_satellite_table("cvact", root, tmp_path / "t.csv", size_m=72)


@pytest.mark.parametrize("rearranged", [False, True])
def test_vigor_has_places_in_its_names(tmp_path, rearranged):
    root = write_vigor(tmp_path / "data", rearranged=rearranged)
    written = write_satellite_table("vigor", root, tmp_path / "t.csv", split="Seattle")
    rows = rows_of(written.path)
    assert len(rows) == 16
    _, lat, lon = rows[0]["file"].rpartition("/")[2].removesuffix(".png").split("_")
    assert (float(rows[0]["lat"]), float(rows[0]["lon"])) == (float(lat), float(lon))
    side = 640 * web_mercator_resolution_m(float(lat), 20)
    assert float(rows[0]["size_m"]) == pytest.approx(side, abs=1e-3)
    assert (tmp_path / rows[0]["file"]).is_file()
    counts = {"all": 16 * len(CITIES), "cross-train": 32, "cross-test": 32}
    for split, count in counts.items():
        assert write_satellite_table("vigor", root, tmp_path / "t.csv", split=split).images == count


def test_university_takes_its_places_from_a_table(tmp_path, caplog):
    root = write_university(tmp_path / "data")
    (tmp_path / "places.csv").write_text(PLACES)
    with pytest.raises(DataError, match="without the places") as caught:
        write_satellite_table("university1652", root, tmp_path / "t.csv")
    assert "--places" in caught.value.hint
    with pytest.raises(DataError, match="how much ground"):
        write_satellite_table(
            "university1652", root, tmp_path / "t.csv", places=tmp_path / "places.csv"
        )
    written = write_satellite_table(
        "university1652", root, tmp_path / "t.csv", split="test", size_m=100,
        places=tmp_path / "places.csv",
    )  # fmt: skip
    rows = rows_of(written.path)
    assert [row["file"] for row in rows] == [
        "data/test/gallery_satellite/0011/0011.jpg", "data/test/gallery_satellite/0012/0012.jpg",
    ]  # fmt: skip
    assert [(row["lat"], row["lon"]) for row in rows] == [("10.0", "20.0"), ("10.1", "20.0")]
    assert "2 of 4 images are of buildings without a place" in caplog.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column building"),
        ("building,lat\n1,2\n", "no column lon"),
        ("building,lat,lon\n0011,north,2\n", "line 2 holds no place"),
        ("building,lat,lon\n0011,99,2\n", "line 2 holds no place"),
        ("building,lat,lon,size_m\n0011,9,2,-1\n", "line 2 has a size_m of -1"),
        ("building,lat,lon\nother,9,2\n", "names none of the 8 buildings"),
    ],
)
def test_bad_tables_of_places_are_refused(tmp_path, text, said):
    root = write_university(tmp_path / "data")
    (tmp_path / "places.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        write_satellite_table(
            "university1652", root, tmp_path / "t.csv", places=tmp_path / "places.csv", size_m=9
        )


def test_images_beside_the_table_are_relative_others_absolute(tmp_path, monkeypatch):
    write_cvusa(tmp_path / "data")
    monkeypatch.chdir(tmp_path / "data")
    write_satellite_table("cvusa", tmp_path / "data", tmp_path / "data" / "t.csv")
    assert rows_of(tmp_path / "data" / "t.csv")[0]["file"].startswith("bingmap/")
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    code = main(["satellite-table", "--data-set", "cvusa", "--data", "../data", "--out", "t.csv"])
    assert code == 0
    file = rows_of(tmp_path / "out" / "t.csv")[0]["file"]
    assert file.startswith(str(tmp_path / "data" / "bingmap"))


def test_the_command_says_what_it_wrote_and_what_is_next(tmp_path, capsys):
    write_vigor(tmp_path / "data")
    words = ["satellite-table", "--data-set", "vigor", "--data", str(tmp_path / "data"),
             "--out", str(tmp_path / "new" / "t.csv"), "--split", "NewYork"]  # fmt: skip
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "16 satellite images of vigor (NewYork), sides 72." in out
    assert "python -m index_builder build" in out
    assert main([*words[:-1], "Paris"]) == 1
    assert "vigor has no split 'Paris'" in capsys.readouterr().err
    assert main([*words, "--places", "p.csv"]) == 1
    assert main([*words, "--size-m", "-3"]) == 1
    assert np.array_equal([p.name for p in (tmp_path / "new").iterdir()], ["t.csv"])
