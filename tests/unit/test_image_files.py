"""Images in files: the service's preprocessing, reduced decoding, and errors that name the file."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import training
from crossfix.errors import DataError
from crossfix.images import decode
from crossfix.preprocess import fit_pixels
from tests.tiny_datasets import save
from training.datasets.image_files import ImageFiles, select_images
from training.recipe_file import load_recipe

RECIPES = Path(training.__file__).parent / "recipes"
CVUSA = load_recipe(RECIPES / "cvusa.yaml").views()
TINY = load_recipe(RECIPES / "tiny.yaml").views()


def test_pixels_are_those_the_service_would_make(tmp_path):
    save(tmp_path / "a.png", 1, 128, 64)
    files = ImageFiles(tmp_path, ("a.png",), TINY["ground"], panoramas=True)
    photo = decode((tmp_path / "a.png").read_bytes())
    expected, _ = fit_pixels(photo, TINY["ground"], heading_deg=0.0, hfov_deg=360.0)
    np.testing.assert_array_equal(files.read(0), expected)
    street = ImageFiles(tmp_path, ("a.png",), TINY["drone"])
    np.testing.assert_array_equal(street.read(0), fit_pixels(photo, TINY["drone"])[0])


def test_all_of_a_cvusa_panorama_is_kept(tmp_path):
    pixels = np.full((224, 1232, 3), 128, np.uint8)
    pixels[:8], pixels[-8:] = (255, 0, 0), (0, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    spec = CVUSA["ground"].model_copy(update={"height_px": 224, "width_px": 1232})
    files = ImageFiles(tmp_path, ("p.png",), spec, panoramas=True)
    np.testing.assert_array_equal(files.read(0), pixels)
    small = ImageFiles(tmp_path, ("p.png",), CVUSA["ground"], panoramas=True).read(0)
    assert small.shape == (140, 768, 3)
    assert small[0, :, 0].min() > 240
    assert small[-1, :, 2].min() > 240


def smooth_jpeg(path):
    row, column = np.mgrid[0:1200, 0:1200] / 1200
    pixels = np.stack([255 * row, 255 * column, 127 + 100 * np.sin(9 * row)], axis=2)
    Image.fromarray(pixels.astype(np.uint8)).save(path, quality=95)


def test_large_jpegs_are_decoded_small_only_where_the_resize_averages(tmp_path, monkeypatch):
    smooth_jpeg(tmp_path / "t.jpg")
    seen = []
    monkeypatch.setattr(
        "training.datasets.image_files.fit_pixels",
        lambda photo, spec, **angles: (seen.append(photo.pixels.shape[0]), fit_pixels(
            photo, spec.model_copy(update={"interpolation": "bilinear"}), **angles))[1],
    )  # fmt: skip
    spec = CVUSA["satellite"]
    averaged = ImageFiles(tmp_path, ("t.jpg",), spec).read(0)
    sampled = spec.model_copy(update={"interpolation": "sampled_bilinear"})
    whole = ImageFiles(tmp_path, ("t.jpg",), sampled).read(0)
    assert seen == [600, 1200]
    assert np.abs(averaged.astype(int) - whole).mean() < 1


@pytest.mark.parametrize("content", [None, b"", b"no image", "truncated"])
def test_every_failure_names_the_file(tmp_path, content):
    save(tmp_path / "whole.jpg", 1, 64, 64)
    if content == "truncated":
        content = (tmp_path / "whole.jpg").read_bytes()[:300]
    if content is not None:
        (tmp_path / "bad.jpg").write_bytes(content)
    files = ImageFiles(tmp_path, ("whole.jpg", "bad.jpg"), TINY["drone"])
    with pytest.raises(DataError, match=r"bad\.jpg cannot be read"):
        files.read(1)
    assert files.read(0).shape == (32, 32, 3)


def test_a_set_travels_to_a_loading_process_by_its_names_alone(tmp_path):
    names = tuple(f"panorama/{i:07d}.jpg" for i in range(1000))
    files = ImageFiles(tmp_path, names, TINY["drone"])
    content = pickle.dumps(files)
    assert len(content) < 40 * len(names)
    assert pickle.loads(content) == files


def test_subsets_of_subsets_keep_names_and_pixels(tmp_path):
    for i in range(4):
        save(tmp_path / f"{i}.png", i, 32, 32)
    files = ImageFiles(tmp_path, tuple(f"{i}.png" for i in range(4)), TINY["drone"])
    part = select_images(select_images(files, np.array([3, 1, 0])), np.array([0, 2]))
    assert [part.name(i) for i in range(len(part))] == ["3.png", "0.png"]
    np.testing.assert_array_equal(part.read(0), files.read(3))
    assert part.spec == files.spec
