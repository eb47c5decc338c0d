"""A few tiles of a build, read and encoded with a clock in the hand."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

import numpy as np

from crossfix.encoder import Encoder
from crossfix.errors import SourceError
from crossfix.images import Photo
from crossfix.preprocess import prepare
from index_builder.embedding.parts import Part
from index_builder.embedding.pictures import encode_picture
from index_builder.sources.source import TilePlan, TileSource, UInt8

_GROUPS_OF_A_PART, _TILES_OF_A_GROUP = 3, 4
_SAMPLING_S = 20.0  # a slow tile server is not asked for more than this
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Sample:
    """One tile that was tried.

    Attributes:
        read_s: reading, preprocessing and its picture, on one core.
        encode_s: 0 where the tile was empty.
        jpeg_bytes: of its picture; None where the tile was empty.
    """

    read_s: float
    encode_s: float
    jpeg_bytes: int | None


def try_tiles(
    encoder: Encoder, sources: Sequence[TileSource], parts: Sequence[Part], *, skip: bool
) -> Iterator[Sample]:
    """Tiles from a few groups of each part.

    Args:
        skip: go on where imagery cannot be read.

    Raises:
        SourceError: it cannot be read.
    """
    started = time.monotonic()
    for part in parts:
        groups = [list(some) for _, some in groupby(part.plans, key=lambda plan: plan.group)]
        for group in _spread(groups, _GROUPS_OF_A_PART):
            try:
                yield from _try_group(encoder, sources[part.source], group)
            except SourceError:
                if not skip:
                    raise
            if time.monotonic() - started > _SAMPLING_S:
                return


def _spread(items: Sequence[_Item], count: int) -> list[_Item]:
    """A few, from the first to the last."""
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, count).astype(int))]


def _try_group(encoder: Encoder, source: TileSource, plans: Sequence[TilePlan]) -> Iterator[Sample]:
    """The first tile's reading pays for what its whole group shares."""
    timed = []
    for plan in _spread(plans, _TILES_OF_A_GROUP):
        started = time.monotonic()
        pixels = source.read(plan)
        timed.append((time.monotonic() - started, pixels))
    later = [seconds for seconds, _ in timed[1:]]
    each_s = timed[0][0] if not later else float(np.mean(later))
    read_s = (timed[0][0] + (len(plans) - 1) * each_s) / len(plans)
    for _, pixels in timed:
        yield Sample(read_s, 0.0, None) if pixels is None else _encode(encoder, pixels, read_s)


def _encode(encoder: Encoder, pixels: UInt8, read_s: float) -> Sample:
    started = time.monotonic()
    tensor = prepare(Photo.of(pixels), encoder.view("satellite")).tensor
    jpeg = encode_picture(pixels)
    prepared = time.monotonic()
    encoder.encode(tensor[None], "satellite")
    encode_s = time.monotonic() - prepared
    return Sample(read_s + prepared - started, encode_s, len(jpeg))
