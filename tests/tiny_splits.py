"""Evaluation splits of a few plain images, and embedders whose answer is known."""

from dataclasses import dataclass

import numpy as np

from crossfix.matches import Matches
from crossfix.view import ViewSpec
from training.datasets.split import EvaluationSplit, Positions


def spec_of(view, height_px=8, width_px=8):
    return ViewSpec(
        view=view, model_file="m.onnx", height_px=height_px, width_px=width_px,
        projection="nadir" if view == "satellite" else "oblique", fit="squash", mean=(0, 0, 0),
        std=(1, 1, 1), heading="any",
    )  # fmt: skip


@dataclass(frozen=True)
class PlainImages:
    """Image i is of the one colour (i, i, 90)."""

    spec: ViewSpec
    count: int

    def __len__(self):
        return self.count

    def name(self, index):
        return f"{self.spec.view}/{index:04d}.png"

    def read(self, index, rng=None):
        del rng
        pixels = np.full((self.spec.height_px, self.spec.width_px, 3), 90, np.uint8)
        pixels[..., :2] = index
        return pixels


def split_of(
    positives, gallery, *, name="cvusa val", semi=None, query_xy=None, gallery_xy=None,
    position_kind="plane_m", kinds=None, percent_of=None, query_spec=None,
):  # fmt: skip
    return EvaluationSplit(
        name=name,
        protocol="id-exact",
        queries=PlainImages(query_spec or spec_of("ground"), len(positives)),
        gallery=PlainImages(spec_of("satellite"), gallery),
        positives=Matches.from_lists(positives),
        semi_positives=None if semi is None else Matches.from_lists(semi),
        percent_of=gallery if percent_of is None else percent_of,
        query_positions=None if query_xy is None else Positions(position_kind, query_xy),
        gallery_positions=None if gallery_xy is None else Positions(position_kind, gallery_xy),
        kinds=kinds,
    )


def scores_embedder(scores):
    """Tiles are the unit axes, queries the rows of the wanted score matrix."""
    scores = np.asarray(scores, np.float32)

    def embed(images):
        if images.spec.view == "satellite":
            return np.eye(scores.shape[1], dtype=np.float32)
        return scores

    return embed
