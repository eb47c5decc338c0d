import csv
import hashlib
import json

import numpy as np
import pytest
import rasterio
from PIL import Image

from sample_world import __main__ as cli
from sample_world.georeference import grid_convergence_deg, to_local
from sample_world.town import build_town
from sample_world.writer import PHOTO_COLUMNS, OutputDirectory
from tests.hand_made_town import SIZE_M, hand_made_town, marker_centres

COUNTS = {"panoramas": 3, "street": 2, "drone": 3}


def command(out, *more):
    return [
        "render",
        "--seed",
        "5",
        "--size-m",
        "120",
        "--out",
        str(out),
        "--panoramas",
        "3",
        "--street",
        "2",
        "--drone",
        "3",
        "--panorama-px",
        "128",
        "--photo-px",
        "64",
        "--satellite-compression",
        "deflate",
        *more,
    ]


@pytest.fixture(autouse=True)
def _small_town(monkeypatch):
    monkeypatch.setattr(cli, "build_town", hand_made_town)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    out = tmp_path_factory.mktemp("town") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "build_town", hand_made_town)
        assert cli.main(command(out, "--workers", "1")) == 0
    return out


def read_rows(out):
    with (out / "photos.csv").open(newline="") as source:
        return list(csv.DictReader(source))


def digests(out):
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def test_all_files_are_there_and_nothing_else(rendered):
    rows = read_rows(rendered)
    files = {f"{kind}/{i:05d}.jpg" for kind, n in COUNTS.items() for i in range(n)}
    assert {row["file"] for row in rows} == files
    assert set(digests(rendered)) == files | {"satellite.tif", "photos.csv", "town.json"}
    assert [path.name for path in rendered.parent.iterdir()] == ["data"]


def test_the_table_has_the_promised_columns_and_sane_values(rendered):
    rows = read_rows(rendered)
    assert tuple(rows[0]) == PHOTO_COLUMNS
    scene = hand_made_town()
    for row in rows:
        x, y = to_local(scene.georeference, float(row["lon"]), float(row["lat"]))
        assert 0 <= x <= SIZE_M
        assert 0 <= y <= SIZE_M
        assert 0 <= float(row["heading_deg"]) < 360
        is_drone = row["file"].startswith("drone")
        assert row["view"] == ("drone" if is_drone else "ground")
        if not is_drone:
            assert (row["lat"], row["lon"]) == (row["camera_lat"], row["camera_lon"])


def test_panoramas_are_two_to_one_and_look_to_true_north(rendered):
    row = next(row for row in read_rows(rendered) if row["projection"] == "equirectangular")
    with Image.open(rendered / row["file"]) as picture:
        assert picture.size == (128, 64)
    assert float(row["heading_deg"]) == 0
    assert float(row["hfov_deg"]) == 360


def test_the_geotiff_is_placed_in_the_towns_zone(rendered):
    scene = hand_made_town()
    place = scene.georeference
    with rasterio.open(rendered / "satellite.tif") as satellite:
        assert satellite.crs.to_epsg() == place.epsg
        assert satellite.res == (0.5, 0.5)
        assert tuple(satellite.bounds) == (
            place.easting_m,
            place.northing_m,
            place.easting_m + SIZE_M,
            place.northing_m + SIZE_M,
        )
        pixels = satellite.read().astype(float)
        bounds = satellite.bounds
    red = np.clip(pixels[0] - 1.6 * pixels[1] - 20, 0, None)
    for centre in marker_centres()[:3]:
        expected = (place.easting_m + centre[0], place.northing_m + centre[1])
        rows, columns = np.mgrid[:240, :240] + 0.5
        eastings, northings = bounds.left + columns * 0.5, bounds.top - rows * 0.5
        near = np.hypot(eastings - expected[0], northings - expected[1]) < 3
        weight = np.where(near, red, 0)
        assert weight.sum() > 50
        found = (weight * eastings).sum() / weight.sum(), (weight * northings).sum() / weight.sum()
        assert np.hypot(*np.subtract(found, expected)) < 0.5  # one pixel


def test_the_description_names_the_town(rendered):
    town = json.loads((rendered / "town.json").read_text())
    assert (town["seed"], town["style"], town["size_m"]) == (5, "hand_made", SIZE_M)
    assert town["georeference"]["epsg"] == 32632
    assert town["satellite"]["light"]["sun_elevation_deg"] > 30


def test_two_workers_give_the_same_bytes(rendered, tmp_path):
    assert cli.main(command(tmp_path / "again", "--workers", "2")) == 0
    assert digests(tmp_path / "again") == digests(rendered)


def test_a_real_small_town_can_be_rendered(tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "build_town", build_town)
    arguments = command(tmp_path / "real", "--workers", "1", "--gsd-m", "1")
    arguments[arguments.index("--size-m") + 1] = "200"
    assert cli.main(arguments) == 0
    with rasterio.open(tmp_path / "real" / "satellite.tif") as satellite:
        pixels = satellite.read()
    assert pixels.shape == (3, 200, 200)
    assert pixels.std(axis=(1, 2)).min() > 15
    assert len(read_rows(tmp_path / "real")) == 8


def test_an_unknown_style_fails_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli, "build_town", build_town)
    arguments = command(tmp_path / "x", "--style", "atlantis")
    arguments[arguments.index("--size-m") + 1] = "200"
    assert cli.main(arguments) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "x").exists()


def test_headings_of_panoramas_can_be_random(tmp_path):
    assert (
        cli.main(
            command(
                tmp_path / "a",
                "--workers",
                "1",
                "--random-heading",
                "--panorama-elevation-deg",
                "-40",
                "30",
            )
        )
        == 0
    )
    headings = {
        row["heading_deg"]
        for row in read_rows(tmp_path / "a")
        if row["projection"] == "equirectangular"
    }
    assert len(headings) == 3


def test_convergence_turns_grid_north_into_true_north():
    place = hand_made_town().georeference  # east of its meridian, north of the equator
    assert 1 < grid_convergence_deg(place, 0, 0) < 3


def test_a_full_directory_is_refused_and_kept(tmp_path, capsys):
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep" / "mine.txt").write_text("mine")
    assert cli.main(command(tmp_path / "keep")) == 1
    assert "not empty" in capsys.readouterr().err
    assert (tmp_path / "keep" / "mine.txt").read_text() == "mine"


def test_overwriting_replaces_the_whole_directory(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "mine.txt").write_text("mine")
    output = OutputDirectory.prepare(tmp_path / "old", overwrite=True)
    (output.temporary / "new.txt").write_text("new")
    assert (tmp_path / "old" / "mine.txt").exists()
    output.commit()
    assert [path.name for path in (tmp_path / "old").iterdir()] == ["new.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_args, **_options):
        raise OSError("disk full")

    monkeypatch.setattr("sample_world.dataset.write_photo_table", fail)
    assert cli.main(command(tmp_path / "never", "--workers", "1")) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        ["--gsd-m", "-1"],
        ["--supersample", "0"],
        ["--panorama-px", "15"],
        ["--nonsense"],
        ["--panorama-elevation-deg", "30", "-40"],
    ],
)
def test_wrong_usage_exits_with_two(tmp_path, wrong):
    with pytest.raises(SystemExit) as caught:
        cli.main(command(tmp_path / "x", *wrong))
    assert caught.value.code == 2


def test_the_contact_sheet_shows_the_photos(rendered, tmp_path):
    sheet = tmp_path / "sheet.png"
    assert cli.main(["contact-sheet", "--data", str(rendered), "--out", str(sheet)]) == 0
    with Image.open(sheet) as picture:
        assert picture.size[0] > 500


def test_a_contact_sheet_of_nothing_fails(tmp_path, capsys):
    assert cli.main(["contact-sheet", "--data", str(tmp_path), "--out", "x.png"]) == 1
    assert "photos.csv" in capsys.readouterr().err
