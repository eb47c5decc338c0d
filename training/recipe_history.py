"""Former runs: keys of recipes that have come since, with the only value there was before."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

FORMER: Mapping[str, Mapping[str, Any]] = {
    "model": {
        "sharing": "all", "shared_head": True, "stem_pool": True, "feature_level": None,
        "aggregation": {"kind": "network"}, "embedding_norm": False,
        "tile_transform": {"kind": "none"}, "fit_first_layer": False, "pool_rounding": "down",
        "conv_dropout": None, "attention": {"kind": "none"},
    },
    "data": {
        "add_mirrored": False, "google_photos": False, "tile_crop": None, "polar_tiles": None,
    },
    "loss": {"kind": "info_nce"},
    "optimiser": {"kind": "adamw", "backbone_lr_share": 1.0},
    "schedule": {"kind": "cosine", "loss_scales": [{"epochs": None, "factor": 1.0}]},
}  # fmt: skip
FORMER_WEIGHTS = {"backbone.": "backbones.shared.", "projection.": "heads.shared.projection."}


def brought_up_to_date(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recorded recipe with the keys of today; what it says itself stays."""
    found = dict(recipe)
    for group, former in FORMER.items():
        if isinstance(found.get(group), Mapping):
            found[group] = {**former, **found[group]}
    return found


def weights_brought_up_to_date(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A model's state with the names of today."""
    found = {}
    for name, value in state.items():
        for former, now in FORMER_WEIGHTS.items():
            if name.startswith(former):
                name = now + name.removeprefix(former)
        found[name] = value
    return found
