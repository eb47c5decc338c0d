"""A gallery's life by its commands: plan, build, inspect, update, evaluate, verify, roll back."""

import json

import pytest
import yaml

from crossfix.gallery import Gallery
from index_builder.__main__ import main
from tests.tiny_encoder import png, random_texture, write_geotiff, write_tiny_encoder

LON, LAT = -98.0897, 30.1712


@pytest.fixture(scope="module")
def encoder_dir(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def run(encoder_dir, capsys):
    def command(verb, *words, expect=0):
        needs = () if verb in ("inspect", "versions", "rollback") else ("--encoder", encoder_dir)
        code = main([str(word) for word in (verb, *needs, *words)])
        captured = capsys.readouterr()
        assert code == expect, captured.err
        return captured.err if expect else captured.out

    command.encoder = encoder_dir
    return command


def square(path, west, south, east, north):
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    path.write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    return path


def test_a_gallery_from_its_plan_to_its_rollback(tmp_path, run, monkeypatch):
    (tmp_path / "maps").mkdir()
    monkeypatch.chdir(tmp_path)
    write_geotiff(tmp_path / "maps" / "town.tif", size_px=(300, 300))
    write_geotiff(tmp_path / "new.tif", size_px=(200, 200), centre=(LON + 0.01, LAT), seed=3)
    what = ("--source", "maps/town.tif", "--tile-size-m", 40, "--attribution", "Town",
            "--licence", "CC0")  # fmt: skip
    assert "town" in run("plan", *what)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["maps", "new.tif"]
    built = run("build", *what, "--out", "gallery")
    first = Gallery.open(tmp_path / "gallery")
    assert f"town {len(first)}" in built
    assert str(tmp_path / "maps" / "town.tif") in run("inspect", "--gallery", "gallery")

    monkeypatch.chdir(tmp_path / "maps")  # recorded paths hold from any folder
    assert "nothing has changed" in run("update", "--gallery", "../gallery")
    added = run("update", "--gallery", "../gallery", "--add-source", "../new.tif",
                "--attribution", "Others")  # fmt: skip
    assert f"{len(first)} taken from the old version" in added
    west = square(tmp_path / "west.geojson", LON - 1, LAT - 1, LON, LAT + 1)
    run("update", "--gallery", "../gallery", "--retire", west)
    third = Gallery.open(tmp_path / "gallery")
    assert third.tiles.lon.min() > LON
    run("update", "--gallery", "../gallery", "--remove-source", "town", "--restore")
    assert set(Gallery.open(tmp_path / "gallery").tiles.attribution) == {"Others"}
    assert "has no source 'town'" in run(
        "update", "--gallery", "../gallery", "--remove-source", "town", expect=2
    )
    listed = run("versions", "--gallery", "../gallery").splitlines()
    assert len(listed) == 1 + 3  # three are kept
    assert "live" in listed[-1]
    run("rollback", "--gallery", "../gallery")
    assert len(Gallery.open(tmp_path / "gallery")) == len(third)
    assert "sound" in run("verify", "--gallery", "../gallery")


def test_a_recipe_builds_a_pyramid_of_several_kinds_of_source(tmp_path, run):
    write_geotiff(tmp_path / "maps" / "a.tif", size_px=(200, 200))
    write_geotiff(tmp_path / "maps" / "b.tif", size_px=(200, 200), centre=(LON + 0.0008, LAT))
    (tmp_path / "tile.png").write_bytes(png(random_texture(64, 64)))
    (tmp_path / "own.csv").write_text(f"file,lat,lon,size_m,licence\ntile.png,{LAT},{LON},50,CC0\n")
    square(tmp_path / "area.geojson", LON - 1, LAT - 1, LON + 0.0005, LAT + 1)
    recipe = {
        "sources": [
            {"location": "maps", "name": "mosaic", "attribution": "Us", "date": 2024},
            {"location": "own.csv"},
        ],
        "tile_sizes_m": [30, 60],
        "overlap": 0.25,
        "area": "area.geojson",
        "index": {"kind": "exact_f16"},
    }
    (tmp_path / "gallery.yaml").write_text(yaml.safe_dump(recipe))
    run("build", "--recipe", tmp_path / "gallery.yaml", "--out", tmp_path / "gallery")
    tiles = Gallery.open(tmp_path / "gallery").tiles
    assert set(tiles.size_m) == {30, 50, 60}
    assert set(tiles.source) == {"mosaic", "own"}
    assert set(tiles.licence) == {"", "CC0"}
    assert (tiles.west <= LON + 0.0005).all()
    out = run("inspect", "--gallery", tmp_path / "gallery", "--out", tmp_path / "looked")
    assert "mosaic" in out
    features = json.loads((tmp_path / "looked" / "footprints.geojson").read_text())["features"]
    assert {one["properties"]["tile_id"] for one in features} == set(tiles.ids)
    assert (tmp_path / "looked" / "coverage.png").stat().st_size > 5000


def write_photos(folder, gallery):
    """Every ninth tile's picture as a photo of its place; the path of their table."""
    rows = ["file,lat,lon"]
    for row in range(0, len(gallery), 9):
        (folder / f"{row}.jpg").write_bytes(gallery.picture(row))
        rows.append(f"{row}.jpg,{gallery.tiles.lat[row]},{gallery.tiles.lon[row]}")
    (folder / "photos.csv").write_text("\n".join(rows))
    return folder / "photos.csv"


def test_a_table_of_photos_is_evaluated(tmp_path, run):
    write_geotiff(tmp_path / "town.tif", size_px=(300, 300))
    run("build", "--source", tmp_path / "town.tif", "--tile-size-m", 40, "--out", tmp_path / "g")
    gallery = Gallery.open(tmp_path / "g")
    photos = write_photos(tmp_path, gallery)
    out = run("evaluate", "--gallery", tmp_path / "g", "--queries", photos,
              "--k", 1, 2, "--json", tmp_path / "report.json")  # fmt: skip
    assert "R@2" in out
    assert "R@5" not in out
    report = json.loads((tmp_path / "report.json").read_text())["all"]
    assert report["recall_at_1"] == report["exact_recall_at_1"] == 1.0


def test_a_sharded_gallery_is_looked_at_like_any_other(tmp_path, run):
    write_geotiff(tmp_path / "town.tif", size_px=(300, 300))
    words = ("--source", tmp_path / "town.tif", "--tile-size-m", 40, "--out", tmp_path / "g")
    built = run("build", *words, "--shards", 3)
    assert f"python -m service --encoder {run.encoder} --gallery {tmp_path / 'g'}" in built
    tiles = sum(len(Gallery.open(path)) for path in (tmp_path / "g" / "shards").iterdir())
    assert f"town {tiles}" in built
    out = run("inspect", "--gallery", tmp_path / "g", "--out", tmp_path / "looked")
    assert f"{tiles}, in 3 shards" in out
    written = json.loads((tmp_path / "looked" / "footprints.geojson").read_text())
    assert len(written["features"]) == tiles
    assert len(run("versions", "--gallery", tmp_path / "g").splitlines()) == 2
    assert "sound" in run("verify", "--gallery", tmp_path / "g")


def test_a_sharded_gallery_is_updated_and_evaluated_like_any_other(tmp_path, run):
    write_geotiff(tmp_path / "town.tif", size_px=(300, 300))
    write_geotiff(tmp_path / "new.tif", size_px=(60, 60), centre=(LON + 0.01, LAT), seed=3)
    made_of = ("--source", tmp_path / "town.tif", "--tile-size-m", 40)
    run("build", *made_of, "--shards", 3, "--out", tmp_path / "g")
    assert "nothing has changed" in run("update", "--gallery", tmp_path / "g")
    far = square(tmp_path / "far.geojson", LON + 1, LAT - 1, LON + 2, LAT + 1)
    said = run("update", "--gallery", tmp_path / "g", "--retire", far, expect=2)
    assert "no tile's centre" in said
    assert len(run("versions", "--gallery", tmp_path / "g").splitlines()) == 2
    added = run("update", "--gallery", tmp_path / "g", "--add-source", tmp_path / "new.tif")
    assert "shards    3: 1 written anew, 2 as they were" in added
    assert "0 gone" in added
    assert "sound" in run("verify", "--gallery", tmp_path / "g")
    out = run("inspect", "--gallery", tmp_path / "g")
    assert "source    new" in out
    run("build", *made_of, "--source", tmp_path / "new.tif", "--out", tmp_path / "plain")
    photos = write_photos(tmp_path, Gallery.open(tmp_path / "plain"))
    screens = [
        run("evaluate", "--gallery", tmp_path / name, "--queries", photos)
        for name in ("g", "plain")
    ]
    assert screens[0] == screens[1]
    assert "R@1   1.000" in screens[0]
    recut = run("update", "--gallery", tmp_path / "g", "--shards", 4)
    assert "shards    4: 4 written anew, 0 as they were" in recut
    assert "0 embedded" in recut
    run("rollback", "--gallery", tmp_path / "g")
    assert "in 3 shards" in run("inspect", "--gallery", tmp_path / "g")
    assert "-1 is not a number" in run("update", "--gallery", tmp_path / "g", "--shards", -1,
                                       expect=2)  # fmt: skip
