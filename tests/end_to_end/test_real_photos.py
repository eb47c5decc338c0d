"""Real files through the photo's path; skipped where the imagery is not beside the checkout."""

from pathlib import Path

import numpy as np
import pytest

from crossfix.images import decode
from crossfix.preprocess import prepare
from tests.view_specs import drone_view, ground_view

IMAGERY = Path(__file__).resolve().parents[3] / "shared" / "imagery"
needs_imagery = pytest.mark.skipif(
    not IMAGERY.is_dir(), reason="real imagery is not here: ../shared/imagery does not exist"
)

GROUND = ground_view(64, 256)
DRONE = drone_view(96)


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
