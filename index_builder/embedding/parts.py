"""A build cut into parts: the unit that is done, kept and resumed."""

import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from index_builder.recipe import GalleryRecipe
from index_builder.sources.source import TilePlan, TileSource

PART_TILES = 256
SAY_EVERY_S = 5.0
_LOG = logging.getLogger("index_builder")


@dataclass(frozen=True)
class Part:
    """Up to `PART_TILES` tiles of one source; picklable.

    Attributes:
        number: from 0, the same at every planning.
        source: which of the recipe's sources.
        plans: whole groups, except where one group alone is larger than a part.
    """

    number: int
    source: int
    plans: tuple[TilePlan, ...]


@dataclass(frozen=True)
class PartSurvey:
    """All parts of a build, counted; equal digests mean equal parts."""

    parts: int
    tiles: int
    digest: str


def iterate_parts(
    sources: Sequence[TileSource], recipe: GalleryRecipe, retired: Counter[int] | None = None
) -> Iterator[Part]:
    """Every part of a build, made as it is read; the same at every call.

    Args:
        sources: opened, one for each of the recipe's.
        retired: where to count the tiles that each of the recipe's retired regions takes away;
            a tile in several counts for the first.

    Raises:
        SourceError: a source cannot be planned.
        InvalidParameter: an impossible size, overlap or area.
    """
    is_wanted = _read_filter(recipe, Counter() if retired is None else retired)
    area = recipe.read_area()
    number = 0
    for index, source in enumerate(sources):
        for size_m in sizes_of(source, recipe):
            plans = filter(is_wanted, source.plan(size_m, recipe.overlap, area))
            for chunk in _cut(plans):
                yield Part(number, index, tuple(chunk))
                number += 1


def sizes_of(source: TileSource, recipe: GalleryRecipe) -> tuple[float | None, ...]:
    """With which tile sizes a source is planned: each, or once where it has its own."""
    sizes: tuple[float | None, ...] = recipe.tile_sizes_m or (None,)
    if source.has_own_sizes and len(sizes) > 1:
        return (None,)
    return sizes


def survey_parts(parts: Iterator[Part]) -> PartSurvey:
    """Plans everything once without keeping it; finds what cannot be planned before any work."""
    count, tiles = 0, 0
    digest = hashlib.blake2b(digest_size=16)
    said = time.monotonic()
    for part in parts:
        if time.monotonic() - said >= SAY_EVERY_S:
            said = time.monotonic()
            _LOG.info("%s tiles planned so far", f"{tiles:,}")
        count, tiles = count + 1, tiles + len(part.plans)
        digest.update(f"{part.number} {part.source}\n".encode())
        for plan in part.plans:
            digest.update(_spell(plan))
    return PartSurvey(count, tiles, digest.hexdigest())


def _spell(plan: TilePlan) -> bytes:
    bounds = plan.bounds
    numbers = (plan.lon, plan.lat, bounds.west, bounds.south, bounds.east, bounds.north)
    texts = (plan.tile_id, plan.date, plan.attribution, plan.licence)
    return json.dumps([*texts, *numbers, plan.size_m, plan.resolution_m, plan.place]).encode()


def _read_filter(recipe: GalleryRecipe, taken: Counter[int]) -> Callable[[TilePlan], bool]:
    area, retired = recipe.read_area(), recipe.read_retired()

    def is_wanted(plan: TilePlan) -> bool:
        if area is not None and not area.touches(plan.bounds):
            return False
        holders = (n for n, one in enumerate(retired) if one.contains(plan.lon, plan.lat))
        region = next(holders, None)
        if region is not None:
            taken[region] += 1
        return region is None

    return is_wanted


def _cut(plans: Iterator[TilePlan]) -> Iterator[list[TilePlan]]:
    """Whole groups while they fit; a group larger than a part is cut."""
    waiting: list[TilePlan] = []
    for _, group in groupby(plans, key=lambda plan: plan.group):
        for piece in _pieces(group):
            if waiting and len(waiting) + len(piece) > PART_TILES:
                yield waiting
                waiting = []
            waiting = [*waiting, *piece]
    if waiting:
        yield waiting


def _pieces(group: Iterator[TilePlan]) -> Iterator[list[TilePlan]]:
    piece: list[TilePlan] = []
    for plan in group:
        piece.append(plan)
        if len(piece) == PART_TILES:
            yield piece
            piece = []
    if piece:
        yield piece
