"""Whom an anchor brings into its batch: nobody, ground neighbours, or similar tiles."""

import logging
from collections.abc import Callable

import numpy as np

from crossfix.view import ViewName
from training.batches import PairSource
from training.embedding import torch_embedder
from training.model import CrossViewEncoder
from training.neighbours import (
    conflicts_within,
    nearest_in_embedding,
    nearest_on_ground,
    plane_positions,
)
from training.recipe import Recipe
from training.sampling import ViewItems

LOGGER = logging.getLogger(__name__)


def items_without_company(source: PairSource, recipe: Recipe) -> dict[ViewName, ViewItems]:
    """Every view's pairs and who must stay apart; batches of these are random."""
    radius = recipe.sampling.exclude_within_m
    return {
        view: ViewItems(conflicts_within(plane_positions(photos, source.towns), radius))
        for view, photos in source.photos.items()
    }


def refresh_company(
    items: dict[ViewName, ViewItems], source: PairSource, recipe: Recipe, *, epoch: int,
    model: Callable[[], CrossViewEncoder],
) -> dict[ViewName, ViewItems]:  # fmt: skip
    """The items with the neighbours that the recipe wants in this epoch.

    Distance on the ground first, similarity of the current embeddings later and anew every
    `refresh_every` epochs (Sample4Geo, ICCV 2023, section 3.2: GPS sampling, then dynamic
    similarity sampling).

    Args:
        model: gives the encoder whose similarities count; called only when they are needed.
    """
    sampling = recipe.sampling
    past = epoch - sampling.start_epoch
    if sampling.strategy == "random" or past < 0:
        return items
    missing = any(known.neighbours is None for known in items.values())
    similar = sampling.strategy == "gps_then_dss" and past >= sampling.refresh_every
    if not missing and not (similar and past % sampling.refresh_every == 0):
        return items
    LOGGER.info("neighbours by %s", "similarity" if similar else "distance")
    find = _by_similarity(source, recipe, model()) if similar else _by_distance(source, recipe)
    return {view: find(view, known) for view, known in items.items()}


Find = Callable[[ViewName, ViewItems], ViewItems]


def _by_distance(source: PairSource, recipe: Recipe) -> Find:
    def find(view: ViewName, items: ViewItems) -> ViewItems:
        positions = plane_positions(source.photos[view], source.towns)
        near = nearest_on_ground(
            positions,
            recipe.sampling.neighbour_range,
            exclude_within_m=recipe.sampling.exclude_within_m,
        )
        return ViewItems(items.conflicts, near)

    return find


def _by_similarity(source: PairSource, recipe: Recipe, model: CrossViewEncoder) -> Find:
    embed, specs = torch_embedder(model, precision=recipe.runtime.precision), recipe.views()

    def find(view: ViewName, items: ViewItems) -> ViewItems:
        photos = source.photos[view]
        tiles = source.tiles(photos, np.arange(len(photos)))
        near = nearest_in_embedding(
            embed(photos.pixels, specs[view]),
            embed(tiles, specs["satellite"]),
            recipe.sampling.neighbour_range,
            conflicts=items.conflicts,
        )
        return ViewItems(items.conflicts, near)

    return find
