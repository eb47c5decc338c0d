"""Exit codes of every command: 2 for usage, 1 for failure with one line on stderr, 0 for help."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from index_builder.__main__ import main as gallery_main
from tests.tiny_encoder import write_geotiff, write_tiny_encoder

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("package", ["sample_world", "training", "index_builder", "service"])
def test_help_and_unknown_options(package):
    assert run(package, "--help").returncode == 0
    wrong = run(package, "--no-such-option")
    assert wrong.returncode == 2
    assert "usage" in wrong.stderr


FAILURES = {
    "missing encoder": [
        "index_builder",
        "build",
        "--encoder",
        "{tmp}/none",
        "--source",
        "{tmp}/none.tif",
        "--tile-size-m",
        "80",
        "--overlap",
        "0.5",
        "--out",
        "{tmp}/gallery",
    ],
    "missing gallery": ["index_builder", "verify", "--gallery", "{tmp}/none"],
    "service without encoder": [
        "service",
        "--encoder",
        "{tmp}/none",
        "--gallery",
        "{tmp}/none",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
    ],
    "missing recipe": [
        "training",
        "train",
        "--recipe",
        "{tmp}/none.yaml",
        "--data",
        "{tmp}",
        "--out",
        "{tmp}/run",
    ],
    "missing run": ["training", "export", "--checkpoint", "{tmp}/none", "--out", "{tmp}/encoder"],
}


@pytest.mark.parametrize("command", FAILURES.values(), ids=FAILURES.keys())
def test_failures_are_one_clear_line(tmp_path, command):
    done = run(*(part.format(tmp=tmp_path) for part in command))
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert "none" in lines[0]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "gallery" / "CURRENT.json").exists()
    assert not (tmp_path / "encoder").exists()


GALLERY_ERRORS = {
    "no source": (2, ["build", "--out", "{tmp}/g"], "no imagery was named"),
    "recipe and flags": (
        2, ["build", "--out", "{tmp}/g", "--recipe", "{tmp}/bad.yaml", "--source", "a"],
        "cannot be combined with --recipe",
    ),
    "missing recipe": (1, ["plan", "--recipe", "{tmp}/none.yaml"], "none.yaml cannot be read"),
    "recipe with an unknown key": (1, ["plan", "--recipe", "{tmp}/bad.yaml"], "colour"),
    "recipe with an impossible size": (1, ["plan", "--recipe", "{tmp}/size.yaml"], "0.1 m"),
    "missing source": (1, ["plan", "--source", "{tmp}/none.tif"], "none.tif does not exist"),
    "source that is no raster": (
        1, ["plan", "--source", "{tmp}/text.tif", "--tile-size-m", "9"], "text.tif"
    ),
    "wrong kind": (1, ["plan", "--source", "{tmp}", "--kind", "pmtiles"], "is a folder"),
    "folder of nothing": (1, ["plan", "--source", "{tmp}/empty"], "with no file"),
    "folder of photos": (1, ["plan", "--source", "{tmp}/photos"], "nothing that says where"),
    "table without places": (1, ["plan", "--source", "{tmp}/bad.csv"], "line 2 has no lat, lon"),
    "raster without a size": (1, ["plan", "--source", "{tmp}/map.tif"], "needs a tile size"),
    "impossible size": (
        2, ["plan", "--source", "{tmp}/map.tif", "--tile-size-m", "0.5"], "tile size 0.5 m"
    ),
    "impossible overlap": (
        2, ["plan", "--source", "{tmp}/map.tif", "--tile-size-m", "9", "--overlap", "1"],
        "overlap 1",
    ),
    "area that is no area": (
        2, ["plan", "--source", "{tmp}/map.tif", "--tile-size-m", "9", "--area", "{tmp}/bad.csv"],
        "bad.csv cannot be read",
    ),
    "area elsewhere": (
        1, ["build", "--out", "{tmp}/g", "--source", "{tmp}/map.tif", "--tile-size-m", "9",
            "--area", "{tmp}/far.geojson"],
        "no source has a tile that is wanted",
    ),
    "date that is no date": (
        2, ["plan", "--source", "{tmp}/map.tif", "--tile-size-m", "9", "--date", "yesterday"],
        "--date yesterday",
    ),
    "no readers": (
        2, ["plan", "--source", "{tmp}/map.tif", "--tile-size-m", "9", "--readers", "0"],
        "readers 0",
    ),
    "server without an area": (
        1, ["plan", "--source", "http://127.0.0.1:9/{{z}}/{{x}}/{{y}}.png", "--zoom", "18",
            "--attribution", "x", "--tile-size-m", "9", "--cache", "{tmp}/cache"],
        "whole world",
    ),
    "server without an attribution": (
        1, ["plan", "--source", "http://127.0.0.1:9/{{z}}/{{x}}/{{y}}.png", "--zoom", "18"],
        "needs an attribution",
    ),
    "within and a cluster": (
        2, ["build", "--out", "{tmp}/g", "--source", "{tmp}/map.tif", "--tile-size-m", "9",
            "--within", "{tmp}", "--engine", "ray"],
        "--within goes with --engine local",
    ),
    "source outside": (
        1, ["build", "--out", "{tmp}/g", "--source", "{tmp}/map.tif", "--tile-size-m", "9",
            "--within", "{tmp}/empty"],
        "map.tif leads out of the folders",
    ),
    "address where only folders may be read": (
        1, ["build", "--out", "{tmp}/g", "--source", "http://127.0.0.1:9/{{z}}/{{x}}/{{y}}.png",
            "--zoom", "18", "--attribution", "x", "--within", "{tmp}"],
        "is an address",
    ),
    "area outside": (
        1, ["build", "--out", "{tmp}/g", "--source", "{tmp}/map.tif", "--tile-size-m", "9",
            "--area", "{tmp}/far.geojson", "--within", "{tmp}/empty"],
        "far.geojson leads out of the folders",
    ),
    "changes that are not there": (
        1, ["update", "--gallery", "{tmp}/none", "--changes", "{tmp}/none.yaml"],
        "changes {tmp}/none.yaml cannot be read",
    ),
    "update of nothing": (1, ["update", "--gallery", "{tmp}/none"], "there is no gallery"),
    "evaluate without a table": (
        1, ["evaluate", "--gallery", "{tmp}/none", "--queries", "{tmp}/none.csv"],
        "none.csv cannot be read",
    ),
    "out that is a file": (
        1, ["build", "--out", "{tmp}/bad.csv", "--source", "{tmp}/map.tif", "--tile-size-m", "9"],
        "bad.csv",
    ),
}  # fmt: skip
WITHOUT_ENCODER = {
    "inspect of nothing": (1, ["inspect", "--gallery", "{tmp}/none"], "there is no gallery"),
    "versions of nothing": (1, ["versions", "--gallery", "{tmp}/none"], "there is no gallery"),
    "rollback of nothing": (1, ["rollback", "--gallery", "{tmp}/none"], "there is no gallery"),
}


@pytest.fixture(scope="module")
def tiny_encoder(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.mark.parametrize("name", [*GALLERY_ERRORS, *WITHOUT_ENCODER])
def test_gallery_commands_fail_with_one_sentence(tmp_path, tiny_encoder, capsys, monkeypatch, name):
    monkeypatch.setattr("index_builder.__main__.confine_gdal", lambda: None)  # of all that follows
    (tmp_path / "empty").mkdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"x")
    (tmp_path / "bad.yaml").write_text("sources: [{location: a.tif, colour: red}]\n")
    (tmp_path / "size.yaml").write_text("sources: [{location: a.tif}]\ntile_sizes_m: [0.1]\n")
    (tmp_path / "text.tif").write_text("not a raster")
    ring = [[10, 10], [10.1, 10], [10.1, 10.1], [10, 10]]
    far = {"type": "Polygon", "coordinates": [ring]}
    (tmp_path / "far.geojson").write_text(json.dumps(far))
    (tmp_path / "bad.csv").write_text("file\na.jpg\n")
    write_geotiff(tmp_path / "map.tif", size_px=(60, 60))
    code, command, said = {**GALLERY_ERRORS, **WITHOUT_ENCODER}[name]
    said = said.replace("{tmp}", str(tmp_path))
    verb, *words = (part.format(tmp=tmp_path) for part in command)
    encoder = [] if name in WITHOUT_ENCODER else ["--encoder", str(tiny_encoder)]
    assert gallery_main([verb, *encoder, *words]) == code
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("python -m index_builder: ")
    assert said in lines[0]
    assert "(" in lines[0], "no hint"
    assert not (tmp_path / "g").exists()
