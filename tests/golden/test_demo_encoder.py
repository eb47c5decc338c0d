"""The shipped encoder, as a user gets it: whole, small, calibrated, and the same on this machine.

Its golden embeddings were computed where it was exported; another CPU may round differently, hence
a cosine and not equality.
"""

from pathlib import Path

import numpy as np
import pytest

from crossfix.encoder import Encoder
from crossfix.images import decode
from crossfix.preprocess import prepare

DIRECTORY = Path(__file__).resolve().parents[2] / "encoders" / "demo"


@pytest.fixture(scope="module")
def encoder():
    return Encoder.load(DIRECTORY, device="cpu")  # verifies checksums, replays golden samples


def test_it_is_small_enough_to_ship():
    size = sum(path.stat().st_size for path in DIRECTORY.rglob("*") if path.is_file())
    assert size <= 15_000_000


def test_it_has_all_views_golden_samples_and_calibrations(encoder):
    manifest = encoder.manifest
    assert set(manifest.views) == {"satellite", "ground", "drone"}
    assert set(manifest.calibration) == {"ground", "drone"}
    assert {sample.view for sample in manifest.golden} == set(manifest.views)
    assert manifest.licence_data.startswith("synthetic")


def test_golden_embeddings_agree_and_differ_from_each_other(encoder):
    stored = np.array([sample.embedding for sample in encoder.manifest.golden])
    again = np.array(
        [
            encoder.encode(
                prepare(
                    decode((DIRECTORY / sample.file).read_bytes()),
                    encoder.view(sample.view),
                    heading_deg=0.0,
                ).tensor[None],
                sample.view,
            )[0]
            for sample in encoder.manifest.golden
        ]
    )
    np.testing.assert_allclose((stored * again).sum(axis=1), 1, atol=1e-3)
    others = stored @ stored.T - np.eye(len(stored))
    assert others.max() < 0.999, "two different images have the same embedding"


def test_it_was_measured_beside_an_untrained_control(encoder):
    rows = [row for row in encoder.manifest.evaluation if row["town"] == "pooled"]
    recall = {(row["weights"], row["kind"]): row["recall_at_10"] for row in rows}
    for kind in ("panorama", "drone"):
        assert recall["trained", kind] > 3 * recall["random", kind]
