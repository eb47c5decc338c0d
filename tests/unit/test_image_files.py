"""Images in files: the service's preprocessing, reduced decoding, and errors that name the file."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import training
from crossfix.errors import DataError
from crossfix.images import decode
from crossfix.preprocess import fit_pixels
from tests.tiny_datasets import save
from tests.tiny_pairs import Pictures
from training.augmentation.colour import recompress
from training.datasets.image_files import ImageFiles, RecompressibleSet, select_images
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


def smooth_panorama(path, width, height):
    row = np.arange(height)[:, None]
    around = np.sin(2 * np.pi * np.arange(width) / width * 5)
    pixels = np.stack(np.broadcast_arrays(
        row * 255 / height, 127 + 100 * around, 127 + 100 * np.sin(row / 40)
    ), axis=2)  # fmt: skip
    Image.fromarray(pixels.astype(np.uint8)).save(path, quality=95)


def panorama_spec(height_px, width_px, top_deg=90.0, interpolation="bilinear"):
    return CVUSA["ground"].model_copy(update={
        "height_px": height_px, "width_px": width_px, "elevation_top_deg": top_deg,
        "elevation_bottom_deg": -top_deg, "interpolation": interpolation,
    })  # fmt: skip


@pytest.mark.parametrize(
    ("size", "spec", "decoded"),
    [
        ((2048, 1024), panorama_spec(384, 768), (512, 1024)),
        ((2048, 1024), panorama_spec(384, 768, interpolation="sampled_bilinear"), (1024, 2048)),
        ((1664, 832), panorama_spec(140, 768), (416, 832)),
        ((2048, 1024), panorama_spec(384, 768, 45.0), (1024, 2048)),  # 512 rows show too few
        ((4096, 2048), panorama_spec(384, 768, 45.0), (1024, 2048)),
        ((1232, 224), CVUSA["ground"], (224, 1232)),  # cut already: 768 columns need the whole
        ((2464, 448), CVUSA["ground"], (224, 1232)),
        ((1500, 750), panorama_spec(384, 768), (750, 1500)),  # half of it is too narrow
    ],
)
def test_panoramas_are_decoded_as_small_as_their_canvas_allows(
    tmp_path, monkeypatch, size, spec, decoded
):
    smooth_panorama(tmp_path / "p.jpg", *size)
    seen = []
    monkeypatch.setattr(
        "training.datasets.image_files.fit_pixels",
        lambda photo, spec, **angles: (seen.append(photo.pixels.shape[:2]), fit_pixels(
            photo, spec, **angles))[1],
    )  # fmt: skip
    found = ImageFiles(tmp_path, ("p.jpg",), spec, panoramas=True).read(0)
    assert seen == [decoded]
    whole, _ = fit_pixels(decode((tmp_path / "p.jpg").read_bytes()), spec,
                          heading_deg=0.0, hfov_deg=360.0)  # fmt: skip
    assert found.shape == whole.shape
    assert np.abs(found.astype(int) - whole).mean() < (2 if decoded != size[::-1] else 1e-9)


def test_street_photos_in_an_oblique_view_keep_the_plain_rule(tmp_path):
    smooth_panorama(tmp_path / "s.jpg", 512, 256)
    files = ImageFiles(tmp_path, ("s.jpg",), TINY["drone"], panoramas=True)
    assert files.read(0).shape == (32, 32, 3)


def test_recompression_takes_place_at_full_size_and_after_decoding_the_whole(tmp_path):
    save(tmp_path / "p.png", 1, 512, 256)
    smooth_panorama(tmp_path / "q.jpg", 512, 256)
    spec = panorama_spec(48, 96)
    files = ImageFiles(tmp_path, ("p.png", "q.jpg"), spec, panoramas=True)
    for index, quality in ((0, 90), (0, 96), (1, 93)):
        photo = decode((tmp_path / files.name(index)).read_bytes())
        artefacts = replace(photo, pixels=recompress(photo.pixels, quality=quality))
        expected, _ = fit_pixels(artefacts, spec, heading_deg=0.0, hfov_deg=360.0)
        found = files.read_recompressed(index, quality=quality)
        np.testing.assert_array_equal(found, expected)
        assert (found != files.read(index)).any()
    with pytest.raises(DataError, match=r"gone\.png cannot be read"):
        ImageFiles(tmp_path, ("gone.png",), spec).read_recompressed(0, quality=95)


def test_subsets_recompress_exactly_when_their_set_can(tmp_path):
    for i in range(3):
        save(tmp_path / f"{i}.png", i, 64, 64)
    files = ImageFiles(tmp_path, ("0.png", "1.png", "2.png"), TINY["drone"])
    part = select_images(select_images(files, np.array([2, 1])), np.array([1, 0]))
    assert isinstance(part, RecompressibleSet)
    np.testing.assert_array_equal(
        part.read_recompressed(1, quality=92), files.read_recompressed(2, quality=92)
    )
    plain = select_images(Pictures(TINY["drone"], 3, noise=1), np.array([2, 1]))
    assert not isinstance(plain, RecompressibleSet)
    assert isinstance(pickle.loads(pickle.dumps(part)), RecompressibleSet)


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
