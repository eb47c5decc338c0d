"""Damaged images found before training, and training tables without them."""

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import numpy as np

from crossfix.errors import DataError
from training.datasets.split import ImageSet, PairTable
from training.datasets.subtable import Bool, subtable

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


def _all_but(count: int, left_out: Sequence[int]) -> Bool:
    kept = np.ones(count, np.bool_)
    kept[np.asarray(left_out, np.int64)] = False
    return kept
