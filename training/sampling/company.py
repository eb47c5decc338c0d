"""Whom an anchor brings into its batch: nobody, ground neighbours, or similar tiles."""

import hashlib
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from crossfix.manifest import canonical_json
from crossfix.view import ViewName
from training.datasets.split import PairTable
from training.embedding import EmbedImages
from training.loop.devices import choose_device
from training.recipe import Recipe
from training.sampling.items import PairItems, pair_items
from training.sampling.neighbour_table import NeighbourTable
from training.sampling.search import required_positions, table_by_distance, table_by_similarity

LOGGER = logging.getLogger(__name__)

_FILE_NAME = re.compile(r"neighbours-[a-z]+-(\d+)\.npz")


class Company:
    """Every view's pairs with the neighbours that the recipe wants in an epoch.

    Distance on the ground first, similarity of the current embeddings later and anew every
    `refresh_every` epochs (Sample4Geo, ICCV 2023, section 3.2: GPS sampling, then dynamic
    similarity sampling).

    Args:
        folder: keeps the neighbour tables, so that a resumed run has the very same ones; None
            keeps them in memory only.
        main_process: whether this one of several processes writes the files. The others compute
            the same tables; all of them must ask for the same epochs.
        device: of the similarity search; None takes the recipe's.

    Raises:
        DataError: the recipe needs positions and the data set has none.
        DeviceUnavailable: the recipe wants CUDA and there is none.
    """

    def __init__(
        self, recipe: Recipe, tables: Mapping[ViewName, PairTable], folder: Path | None, *,
        main_process: bool = True, device: torch.device | str | None = None,
    ) -> None:  # fmt: skip
        self._recipe, self._tables, self._folder = recipe, tables, folder
        self._main = main_process
        self._device = choose_device(recipe.runtime.device) if device is None else device
        radius_m = recipe.sampling.exclude_within_m
        self._alone: dict[ViewName, PairItems] = {}
        for view, table in tables.items():
            if recipe.sampling.strategy != "random":
                required_positions(table)
            items = pair_items(table, exclude_within_m=radius_m, mode=recipe.mode)
            self._alone[view] = items
        self._made_for = {view: _digest(recipe, table) for view, table in tables.items()}
        self._at: int | None = None
        self._items: Mapping[ViewName, PairItems] = self._alone

    def due_epoch(self, epoch: int) -> int | None:
        """The epoch at whose start the neighbours in force were found; None while there are none.

        Epochs count from 0.
        """
        sampling = self._recipe.sampling
        past = epoch - sampling.start_epoch
        if sampling.strategy == "random" or past < 0:
            return None
        if sampling.strategy == "gps":
            return sampling.start_epoch
        return epoch - past % sampling.refresh_every

    def items(
        self, epoch: int, embed: Callable[[], EmbedImages]
    ) -> Mapping[ViewName, PairItems]:  # fmt: skip
        """What the batches of an epoch are made of.

        Args:
            embed: gives the embedder whose similarities count; called only when they are due.

        Raises:
            DataError: an image or a stored table cannot be read, or a table not be written.
        """
        due = self.due_epoch(epoch)
        if due != self._at:
            self._items = self._alone if due is None else self._with_neighbours(due, epoch, embed)
            self._at = due
        return self._items

    def forget_before(self, epoch: int) -> None:
        """Removes the files of tables that are no longer in force in this epoch."""
        due = self.due_epoch(epoch)
        if due is None or self._folder is None or not self._main:
            return
        for path in self._folder.glob("neighbours-*.npz"):
            name = _FILE_NAME.fullmatch(path.name)
            if name is not None and int(name[1]) < due:
                path.unlink(missing_ok=True)

    def _with_neighbours(
        self, due: int, epoch: int, embed: Callable[[], EmbedImages]
    ) -> Mapping[ViewName, PairItems]:
        found: dict[ViewName, PairItems] = {}
        for view, items in self._alone.items():
            path = None if self._folder is None else self._folder / f"neighbours-{view}-{due}.npz"
            if path is not None and path.is_file():
                table = NeighbourTable.load(path, made_for=self._made_for[view])
            else:
                table = self._search(view, due, epoch, embed)
                if path is not None and self._main:
                    table.save(path, made_for=self._made_for[view])
            found[view] = replace(items, neighbours=table)
        return found

    def _search(
        self, view: ViewName, due: int, epoch: int, embed: Callable[[], EmbedImages]
    ) -> NeighbourTable:
        sampling, mode, pairs = self._recipe.sampling, self._recipe.mode, self._tables[view]
        similar = due > sampling.start_epoch
        LOGGER.info("%s neighbours by %s", view, "similarity" if similar else "distance")
        if not similar:
            return table_by_distance(
                pairs, sampling.neighbour_range,
                exclude_within_m=sampling.exclude_within_m, mode=mode,
            )  # fmt: skip
        if due < epoch:
            LOGGER.warning("the neighbours of epoch %d are lost; found anew in %d", due, epoch)
        return table_by_similarity(
            pairs, self._alone[view], sampling.neighbour_range, embed(), mode=mode,
            device=self._device,
        )  # fmt: skip


def _digest(recipe: Recipe, table: PairTable) -> str:
    """Of all that neighbours depend on, besides the weights."""
    settings = recipe.sampling.model_dump(mode="json") | {
        "mode": recipe.mode, "dataset": recipe.data.dataset, "seed": recipe.runtime.seed,
    }  # fmt: skip
    digest = hashlib.sha256(canonical_json(settings).encode())
    arrays: list[NDArray[np.int64] | NDArray[np.float64]] = [table.reference, table.semi_positives]
    if table.positions is not None:
        arrays.append(table.positions.xy)
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
