"""The command line from imagery to answers, and what it says when it cannot."""

import csv
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from crossfix.encoder import Encoder
from crossfix.gallery import Gallery
from crossfix.geodesy import LocalFrame, LonLat
from index_builder.__main__ import main
from index_builder.sources.rasters.raster_source import RasterSource
from index_builder.sources.spec import SourceSpec
from tests.tiny_encoder import jpeg, png, random_texture, write_geotiff, write_tiny_encoder

ROOT = Path(__file__).resolve().parents[2]
IMAGERY = ROOT.parent / "shared" / "imagery"


@pytest.fixture(scope="module")
def encoder_dir(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp("build") / "encoder")


@pytest.fixture(scope="module")
def raster(tmp_path_factory):
    return write_geotiff(tmp_path_factory.mktemp("raster") / "town.tif")


@pytest.fixture
def run(capsys):
    def call(*words):
        code = main([str(word) for word in words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def build_words(encoder_dir, source, out):
    return (
        "build",
        "--encoder",
        encoder_dir,
        "--source",
        source,
        "--tile-size-m",
        40,
        "--overlap",
        0.5,
        "--out",
        out,
    )


def test_from_raster_to_answers(tmp_path, run, encoder_dir, raster):
    gallery = tmp_path / "gallery"
    words = build_words(encoder_dir, raster, gallery)
    code, out, err = run("plan", *words[1:-2])
    assert code == 0, err
    assert "tiles" in out
    assert not gallery.exists()
    code, out, err = run(
        *words, "--attribution", "Example Survey", "--licence", "CC0-1.0", "--date", "2024-05-01"
    )
    assert code == 0, err
    assert str(gallery) in out
    assert "tiles/s" in out
    opened = Gallery.open(gallery)
    opened.require_encoder(Encoder.load(encoder_dir))
    (source,) = opened.manifest.sources
    assert (source.attribution, source.licence, source.date) == (
        "Example Survey",
        "CC0-1.0",
        "2024-05-01",
    )
    code, out, _ = run("verify", "--gallery", gallery, "--encoder", encoder_dir)
    assert code == 0
    assert "sound" in out
    queries = write_queries(tmp_path / "photos", raster)
    code, out, err = run(
        "evaluate",
        "--encoder",
        encoder_dir,
        "--gallery",
        gallery,
        "--queries",
        queries,
        "--json",
        tmp_path / "report.json",
    )
    assert code == 0, err
    report = json.loads((tmp_path / "report.json").read_text())["all"]
    assert report["queries"] == 12
    assert report["recall_at_1"] == 1.0
    assert report["top1_median_m"] < 1
    assert report["queries_without_tile"] == 0


def write_queries(folder, raster, count=12):
    """Photos cut from the raster exactly where tiles of the gallery lie."""
    source = RasterSource(SourceSpec(location=str(raster)), name="cut", tile_px=256)
    plans = [plan for plan in source.plan(40.0, 0.5) if source.read(plan) is not None]
    picks = np.linspace(0, len(plans) - 1, count).astype(int)
    folder.mkdir()
    with (folder / "queries.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["file", "lat", "lon"])
        for pick in picks:
            (folder / f"{pick}.jpg").write_bytes(jpeg(source.read(plans[pick])))
            writer.writerow([f"{pick}.jpg", plans[pick].lat, plans[pick].lon])
    source.close()
    return folder / "queries.csv"


def write_tile_table(folder, count=20):
    folder.mkdir()
    frame = LocalFrame(LonLat(8.5, 47.4))
    lines = ["file,lat,lon,size_m"]
    for number in range(count):
        lon, lat = frame.to_lonlat(number * 50, 0)
        (folder / f"t{number}.png").write_bytes(png(random_texture(64, 64, seed=number)))
        lines.append(f"t{number}.png,{lat:.8f},{lon:.8f},50")
    (folder / "tiles.csv").write_text("\n".join(lines) + "\n")
    return folder / "tiles.csv"


def test_a_table_and_unreadable_images(tmp_path, run, encoder_dir):
    table = write_tile_table(tmp_path / "tiles")
    (tmp_path / "tiles" / "t3.png").write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    gallery = tmp_path / "gallery"
    words = ("build", "--encoder", encoder_dir, "--source", table, "--out", gallery)
    code, _, err = run(*words)
    assert code == 1
    assert "t3.png" in err
    assert len(err.strip().splitlines()) == 1
    assert not (gallery / "CURRENT.json").exists()
    code, out, _ = run(*words, "--skip-unreadable")
    assert code == 0
    assert "t3.png" in out
    assert len(Gallery.open(gallery)) == 19


def test_two_sources_and_rollback(tmp_path, run, encoder_dir, raster):
    table, gallery = write_tile_table(tmp_path / "tiles"), tmp_path / "gallery"
    words = build_words(encoder_dir, raster, gallery)
    assert run(*words)[0] == 0
    first = Gallery.open(gallery)
    assert run(*words, "--source", table)[0] == 0
    second = Gallery.open(gallery)
    assert len(second) == len(first) + 20
    assert {source.name for source in second.manifest.sources} == {"town", "tiles"}
    assert second.manifest.tile_sizes_m == [40.0, 50.0]
    assert run("verify", "--gallery", gallery)[0] == 0
    code, out, _ = run("rollback", "--gallery", gallery)
    assert code == 0
    assert first.manifest.version in out
    assert Gallery.open(gallery).manifest.version == first.manifest.version


def test_a_sharded_build_tells_how_its_shards_are_searched(tmp_path, run, encoder_dir):
    raster = write_geotiff(tmp_path / "town.tif", size_px=(400, 400))
    words = (*build_words(encoder_dir, raster, tmp_path / "g"), "--overlap", 0.9, "--shards", 2)
    code, out, err = run(*words, "--index", "ivf-rabitq")
    assert code == 0, err
    shards = [
        Gallery.open(tmp_path / "g" / "shards" / name).manifest.index for name in ("000", "001")
    ]
    assert {one.kind for one in shards} == {"ivf_rabitq"}
    worst = min(one.measured_recall_at_10 for one in shards)
    assert f"ivf-rabitq, recall@10 {worst:.4g}" in out


def test_another_encoder_is_refused(tmp_path, run, encoder_dir, raster):
    other = write_tiny_encoder(tmp_path / "other", seed=5, name="other")
    gallery = tmp_path / "gallery"
    assert run(*build_words(encoder_dir, raster, gallery))[0] == 0
    code, _, err = run("verify", "--gallery", gallery, "--encoder", other)
    assert code == 1
    assert "embedded by tiny" in err


def test_verify_sees_a_flipped_byte(tmp_path, run, encoder_dir, raster):
    gallery = tmp_path / "gallery"
    assert run(*build_words(encoder_dir, raster, gallery))[0] == 0
    pictures = Gallery.open(gallery).directory / "pictures.parquet"
    data = bytearray(pictures.read_bytes())
    data[len(data) // 2] ^= 1
    pictures.write_bytes(bytes(data))
    code, _, err = run("verify", "--gallery", gallery)
    assert code == 1
    assert "pictures.parquet" in err


def test_failures_are_one_line(tmp_path, run, encoder_dir, raster):
    missing = tmp_path / "none.tif"
    for words, code, said in [
        (build_words(encoder_dir, missing, tmp_path / "g"), 1, "none.tif"),
        (build_words(tmp_path / "no-encoder", raster, tmp_path / "g"), 1, "no-encoder"),
        ((*build_words(encoder_dir, raster, tmp_path / "g"), "--overlap", 1.5), 2, "overlap"),
        ((*build_words(encoder_dir, raster, tmp_path / "g"), "--tile-size-m", 5000), 1, "empty"),
    ]:
        got, out, err = run(*words)
        assert (got, out) == (code, "")
        assert said in err
        assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "g" / "CURRENT.json").exists()


def test_as_a_program(tmp_path, encoder_dir, raster):
    words = [str(word) for word in build_words(encoder_dir, raster, tmp_path / "gallery")]
    done = subprocess.run(
        [sys.executable, "-m", "index_builder", *words],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) <= 24
    assert len(done.stderr.splitlines()) <= 5, "what it is doing, no warnings"


def test_a_killed_program_goes_on_and_updates(tmp_path, run, encoder_dir, raster):
    words = build_words(encoder_dir, raster, tmp_path / "gallery")
    program = [sys.executable, "-m", "index_builder", *(str(word) for word in words)]
    process = subprocess.Popen(program, cwd=ROOT, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(tmp_path.glob("gallery/.building-*/parts/*.arrow")):
        time.sleep(0.002)
    process.kill()
    process.wait()
    code, out, err = run(*words)
    assert code == 0, err
    if process.returncode:
        assert "from the interrupted build" in out
    code, _, err = run("update", "--encoder", encoder_dir, "--gallery", tmp_path / "gallery")
    assert code == 0, err
    code, out, err = run("verify", "--gallery", tmp_path / "gallery", "--encoder", encoder_dir)
    assert code == 0, err


def test_real_orthophoto_and_its_own_tiles(tmp_path, run, encoder_dir):
    folder = IMAGERY / "caliterra_drone_ortho"
    if not folder.is_dir():
        pytest.skip("no real imagery at ../shared/imagery: a real orthophoto is not built")
    gallery = tmp_path / "gallery"
    words = (
        "build",
        "--encoder",
        encoder_dir,
        "--source",
        folder / "reference" / "ortho_ref.tif",
        "--tile-size-m",
        48,
        "--overlap",
        0.75,
        "--out",
        gallery,
    )
    assert run(*words)[0] == 0
    assert run("verify", "--gallery", gallery, "--encoder", encoder_dir)[0] == 0
    shutil.copytree(folder / "reference", tmp_path / "reference")
    code, _, err = run(
        "evaluate",
        "--encoder",
        encoder_dir,
        "--gallery",
        gallery,
        "--queries",
        tmp_path / "reference" / "tiles.csv",
        "--json",
        tmp_path / "r.json",
    )
    assert code == 0, err
    # The set's own map tiles, cut by other code up to half a stride off our grid, must be found
    # where its table says; chance is 0.06.
    report = json.loads((tmp_path / "r.json").read_text())["all"]
    assert report["recall_at_1"] > 0.75
    assert report["top1_median_m"] < 12
