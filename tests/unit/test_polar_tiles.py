"""Folders of tiles to folders of polar tiles."""

import numpy as np
from PIL import Image

from tests.tiny_datasets import picture
from training.__main__ import main
from training.transforms.polar import polar_pixels


def test_tiles_become_polar_tiles_of_the_same_names(tmp_path, capsys):
    tiles, out = tmp_path / "bingmap", tmp_path / "polarmap"
    for name in ("19/0000001.png", "19/0000002.png"):
        (tiles / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(int(name[-5]), 40, 40)).save(tiles / name)
    words = ["polar-tiles", "--tiles", str(tiles), "--out", str(out), "--height", "12", "--width"]
    assert main([*words, "60"]) == 0
    assert "2 polar tiles of 60 x 12" in capsys.readouterr().out
    found = np.asarray(Image.open(out / "19" / "0000002.png"))
    expected = polar_pixels(picture(2, 40, 40), height_px=12, width_px=60)
    np.testing.assert_array_equal(found, expected)
    assert main([*words, "60", "--stretch"]) == 0
    stretched = np.asarray(Image.open(out / "19" / "0000002.png"))
    assert (stretched.min(), stretched.max()) == (0, 255)


def test_no_images_and_wide_ones_are_refused(tmp_path, capsys):
    tiles = tmp_path / "tiles"
    tiles.mkdir()
    words = ["polar-tiles", "--tiles", str(tiles), "--out", str(tmp_path / "out")]
    assert main(words) == 1
    assert "holds no images" in capsys.readouterr().err
    Image.fromarray(picture(1, 60, 40)).save(tiles / "wide.png")
    assert main(words) == 1
    assert "wide.png cannot be made polar: a tile of 60 x 40 pixels" in capsys.readouterr().err
