"""The places that a loss takes for classes."""

from collections.abc import Mapping

from crossfix.errors import RecipeError
from crossfix.view import ViewName
from training.datasets.split import PairTable
from training.recipe import Recipe
from training.recipe_losses import InstanceLoss


def places_of(recipe: Recipe, tables: Mapping[ViewName, PairTable]) -> int:
    """How many places there are to train on.

    Raises:
        RecipeError: the loss takes places for classes, and the views number them differently.
    """
    names = {
        view: [table.tiles.name(i) for i in range(len(table.tiles))]
        for view, table in tables.items()
        if isinstance(recipe.loss, InstanceLoss)
    }
    first = next(iter(names.values()), [])
    for view, found in names.items():
        if found != first:
            raise RecipeError(
                f"loss.kind instance takes tiles for classes, and the {view} view has other tiles "
                "than the first one",
                hint="train on one query view, or on a data set with the same tiles for all",
            )
    return max(len(table.tiles) for table in tables.values())
