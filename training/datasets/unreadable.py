"""Damaged images found beforehand, and training tables and evaluation splits without them."""

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import repeat

import numpy as np

from crossfix.errors import DataError
from crossfix.view import ViewName
from training.datasets.image_files import select_images
from training.datasets.split import EvaluationSplit, ImageSet, PairTable
from training.datasets.subsplit import subsplit
from training.datasets.subtable import Bool, subtable
from training.datasets.town_images import TilesAroundTruth, TownGrid, TownPhotos

LOGGER = logging.getLogger(__name__)

LOG_EVERY_S = 10.0
_AT_ONCE = 4096  # submitted to the threads together, so that a million images need no queue


def find_unreadable(images: ImageSet, *, threads: int = 4) -> list[int]:
    """Reads every image; indices of those that cannot be read, ascending.

    Args:
        threads: that decode at the same time.
    """
    found: list[int] = []
    last = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(images), _AT_ONCE):
            part = range(start, min(start + _AT_ONCE, len(images)))
            for index, problem in zip(part, pool.map(_problem, repeat(images), part), strict=True):
                if problem:
                    LOGGER.warning("%s", problem)
                    found.append(index)
                if time.monotonic() - last > LOG_EVERY_S:
                    last = time.monotonic()
                    LOGGER.info("read %d of %d %s images", index + 1, len(images), images.spec.view)
    LOGGER.info("%d of %d %s images unreadable", len(found), len(images), images.spec.view)
    return found


def _problem(images: ImageSet, index: int) -> str:
    try:
        images.read(index)
    except DataError as problem:
        return str(problem)
    return ""


@dataclass
class Scan:
    """Finds unreadable images, reading each file once, however many sets it is in.

    Images of towns are in memory and are not read: their damaged photos were left out when the
    town was opened, and are only added to the names.

    Attributes:
        names: of the unreadable images found so far, without repetition, in the order found.
    """

    names: list[str] = field(default_factory=list)
    _known: dict[tuple[ViewName, str], bool] = field(default_factory=dict)

    def of(self, images: ImageSet) -> list[int]:
        """Indices of a set's unreadable images, ascending."""
        if isinstance(images, TownPhotos):
            self._note(images.photos.unreadable)
        if isinstance(images, TownPhotos | TilesAroundTruth | TownGrid):
            return []
        keys = [(images.spec.view, images.name(i)) for i in range(len(images))]
        unknown = np.array([i for i, k in enumerate(keys) if k not in self._known], np.int64)
        if len(unknown):
            found = {int(unknown[i]) for i in find_unreadable(select_images(images, unknown))}
            self._known |= {keys[i]: i in found for i in unknown}
            self._note([keys[i][1] for i in sorted(found)])
        return [i for i, key in enumerate(keys) if self._known[key]]

    def _note(self, names: Sequence[str]) -> None:
        self.names = list(dict.fromkeys([*self.names, *names]))

    def readable_table(self, table: PairTable) -> PairTable:
        """The table without unreadable photos and tiles, which are counted and logged.

        Raises:
            DataError: no pair is left.
        """
        photos, tiles = self.of(table.queries), self.of(table.tiles)
        if not (photos or tiles):
            return table
        kept = without(table, photos, tiles)
        LOGGER.warning(
            "%s: left out %d unreadable photos and %d unreadable tiles, %d of %d pairs remain",
            table.view, len(photos), len(tiles), len(kept), len(table),
        )  # fmt: skip
        return kept

    def readable_split(self, split: EvaluationSplit) -> EvaluationSplit:
        """The split without unreadable images, which are counted and logged.

        Raises:
            DataError: no query or no gallery image is left.
        """
        queries, gallery = self.of(split.queries), self.of(split.gallery)
        if not (queries or gallery):
            return split
        kept = readable_split(split, queries, gallery)
        before = split.positives.counts()
        if split.query_groups is None:
            before = np.delete(before, queries)
        lost = (kept.positives.counts() == 0).sum() - (before == 0).sum()
        LOGGER.warning(
            "%s: left out %d unreadable queries and %d unreadable gallery images; %d queries have "
            "lost every right one and count as misses",
            split.name, len(queries), len(gallery), lost,
        )  # fmt: skip
        return kept


def without(
    table: PairTable, unreadable_queries: Sequence[int], unreadable_tiles: Sequence[int]
) -> PairTable:
    """The table without some photos and tiles, and without tiles that thereby lost every photo.

    Raises:
        DataError: no pair is left.
    """
    pairs = _all_but(len(table), unreadable_queries)
    tiles = _all_but(len(table.tiles), unreadable_tiles)
    before = np.bincount(table.reference, minlength=len(tiles))
    after = np.bincount(table.reference[pairs], minlength=len(tiles))
    return subtable(table, pairs=pairs, tiles=tiles & ((after > 0) | (before == 0)))


def readable_split(
    split: EvaluationSplit, bad_queries: Sequence[int], bad_gallery: Sequence[int]
) -> EvaluationSplit:
    """The split without some queries and gallery images; see `subsplit`.

    Raises:
        DataError: no query or no gallery image is left.
    """
    queries = _all_but(len(split.queries), bad_queries)
    return subsplit(split, queries=queries, gallery=_all_but(len(split.gallery), bad_gallery))


def _all_but(count: int, left_out: Sequence[int]) -> Bool:
    kept = np.ones(count, np.bool_)
    kept[np.asarray(left_out, np.int64)] = False
    return kept
