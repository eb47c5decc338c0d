"""Training pairs in memory, and recipes for them: a coloured tile and its photo per place."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import training
from crossfix.errors import DataError
from crossfix.view import ViewSpec
from training.datasets.split import PairTable, Positions
from training.recipe_file import load_recipe

TINY = Path(training.__file__).parent / "recipes" / "tiny.yaml"
SWITCHES = ("flip_probability", "rotate_probability", "colour_probability", "gray_probability",
            "blur_probability", "dropout_probability", "limited_view_probability",
            "heading_noise_deg")  # fmt: skip
PLAIN_AUGMENTATION = (
    *(f"augmentation.{name}=0" for name in SWITCHES),
    "augmentation.drone_zoom_min=1",
)


def tiny(*overrides):
    return load_recipe(TINY, ("data.query_views=[drone]", *overrides))


@dataclass(frozen=True)
class Pictures:
    """Image i shows place i: four blocks of colours; `noise` differs between sets."""

    spec: ViewSpec
    count: int
    noise: int
    unreadable: frozenset[int] = field(default=frozenset())

    def __len__(self):
        return self.count

    def read(self, index, rng=None):
        if index in self.unreadable:
            raise DataError(f"{self.name(index)} cannot be read", hint="download it again")
        height, width = self.spec.height_px, self.spec.width_px
        blocks = np.random.default_rng(index).integers(0, 200, (2, 2, 3))
        picture = np.kron(blocks, np.ones((height // 2, width // 2, 1)))
        grain = np.random.default_rng([index, self.noise]).integers(0, 30, picture.shape)
        shift = 0 if rng is None else rng.integers(0, 25)
        return (picture + grain + shift).astype(np.uint8)

    def name(self, index):
        return f"set-{self.noise}/{index:04d}.png"


def table(recipe, count=40, *, view="drone", unreadable=()):
    specs = recipe.views()
    places = np.random.default_rng(5).uniform(0, 1000, (count, 2))
    return PairTable(
        view=view,
        queries=Pictures(specs[view], count, noise=1, unreadable=frozenset(unreadable)),
        tiles=Pictures(specs["satellite"], count, noise=2),
        reference=np.arange(count),
        positions=Positions("plane_m", places),
        semi_positives=np.full((count, 0), -1),
    )


def right_of(pairs):
    """A validation: the share of photos whose own tile is the most similar one."""

    def validate(embed, _):
        scores = embed(pairs.queries) @ embed(pairs.tiles).T
        return {"selection": float(np.mean(scores.argmax(axis=1) == pairs.reference))}

    return validate
