"""From a data set as it is distributed to a gallery of its satellite side, by the two commands."""

import pytest

from crossfix.gallery import Gallery
from index_builder.__main__ import main as index_builder
from tests.tiny_datasets import write_cvact, write_cvusa, write_university, write_vigor
from tests.tiny_encoder import write_tiny_encoder
from training.__main__ import main as training


@pytest.fixture(scope="module")
def encoder_dir(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder"))


def run(program, *words):
    return program([str(word) for word in words])


@pytest.mark.parametrize(
    ("name", "write", "tiles", "flags"),
    [
        ("cvusa", write_cvusa, 10, ()),
        ("cvact", write_cvact, 15, ("--size-m", 72)),
        ("vigor", write_vigor, 64, ()),
        ("university1652", write_university, 2, ("--places", "places.csv")),
    ],
)
def test_every_data_set_becomes_a_gallery(
    tmp_path, encoder_dir, capsys, monkeypatch, name, write, tiles, flags
):
    write(tmp_path / "data")
    places = "building,lat,lon,size_m\n0011,10,20,90\n0001,-10,20,90\n"
    (tmp_path / "places.csv").write_text(places)
    monkeypatch.chdir(tmp_path)
    # The folder itself is refused, and the answer is the command that helps.
    assert run(index_builder, "plan", "--encoder", encoder_dir, "--source", "data") == 1
    hint = capsys.readouterr().err
    assert f"python -m training satellite-table --data-set {name} --data " in hint
    told = hint.split("`")[1].split()[3:]
    assert run(training, *told, *flags) == 0
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    code = run(
        index_builder, "build", "--encoder", encoder_dir, "--source", "../tiles.csv",
        "--out", "gallery", "--index", "exact",
    )  # fmt: skip
    out = capsys.readouterr()
    assert code == 0, out.err
    assert f"{tiles} of {tiles} planned" in out.out
    gallery = Gallery.open(elsewhere / "gallery")
    assert len(gallery) == tiles
    assert all(gallery.tiles.attribution)
    assert all(gallery.tiles.licence)
    assert gallery.manifest.sources[0].kind == "table"
    monkeypatch.chdir(tmp_path)  # the recorded paths hold from anywhere
    assert run(index_builder, "update", "--encoder", encoder_dir,
               "--gallery", elsewhere / "gallery") == 0  # fmt: skip
    assert "nothing has changed" in capsys.readouterr().out
