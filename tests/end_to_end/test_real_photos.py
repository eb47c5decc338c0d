"""Real files through the photo's path; skipped where the imagery is not beside the checkout."""

from pathlib import Path

import numpy as np
import pytest

from crossfix.images import decode
from crossfix.preprocess import prepare
from crossfix.view import ViewSpec

IMAGERY = Path(__file__).resolve().parents[3] / "shared" / "imagery"
needs_imagery = pytest.mark.skipif(
    not IMAGERY.is_dir(), reason="real imagery is not here: ../shared/imagery does not exist"
)

GROUND = ViewSpec(
    view="ground",
    model_file="m.onnx",
    height_px=64,
    width_px=256,
    projection="equirectangular",
    fit="panorama_canvas",
    elevation_top_deg=45,
    elevation_bottom_deg=-60,
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
    heading="north_centre",
)
DRONE = ViewSpec(
    view="drone",
    model_file="m.onnx",
    height_px=96,
    width_px=96,
    projection="oblique",
    fit="center_crop",
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
    heading="any",
)


@needs_imagery
@pytest.mark.parametrize(
    "folder", ["brighton_beach_drone_ortho", "caliterra_drone_ortho", "seneca_uav_ortho"]
)
def test_drone_photos_become_tensors(folder):
    files = sorted((IMAGERY / folder / "queries").iterdir())[:5]
    assert files
    for file in files:
        photo = decode(file.read_bytes(), target_px=96)
        tensor = prepare(photo, DRONE).tensor
        assert tensor.shape == (3, 96, 96)
        assert tensor.std() > 0.05, f"{file.name} became a flat image"


@needs_imagery
def test_street_photos_are_placed_by_their_exif_focal_length():
    files = sorted((IMAGERY / "street_level_opensfm" / "images").rglob("*.jpg"))[:8]
    assert files
    for file in files:
        photo = decode(file.read_bytes())
        prepared = prepare(photo, GROUND)
        seen = (np.abs(prepared.tensor) > 0.01).any(axis=(0, 1)).mean()
        assert 0.1 < seen < 0.5, f"{file.name} covers {seen:.0%} of the canvas's columns"
        assert any("heading_deg" in text for text in prepared.warnings)
