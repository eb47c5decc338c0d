"""From a plan to what the encoder takes: reading, hashing, preprocessing; or taking over."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossfix.errors import SourceError
from crossfix.images import Photo
from crossfix.preprocess import prepare
from index_builder.embedding.old_tiles import Known, OldTile, OldTiles
from index_builder.embedding.open_task import OpenTask
from index_builder.embedding.part_file import LeftOut, TileRecord
from index_builder.embedding.pictures import encode_picture, hash_pixels
from index_builder.sources.source import TilePlan

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class ReadTile:
    """A tile to be embedded; `tensor` is (3, h, w) of the view's size."""

    record: TileRecord
    tensor: Float32
    jpeg: bytes


@dataclass(frozen=True)
class KeptTile:
    """A tile taken over from an older version, (D,) fp16."""

    record: TileRecord
    embedding: NDArray[np.float16]
    jpeg: bytes


Outcome = ReadTile | KeptTile | LeftOut


def read_tile(opened: OpenTask, source: int, plan: TilePlan, known: Known) -> Outcome:
    """Reads one tile; may be called from several threads.

    Args:
        source: which of the task's.
        known: of the tile in the older version.

    Raises:
        SourceError: it cannot be read, unless the task skips those; names the tile.
    """
    name, old = opened.infos[source].name, opened.old
    found = known.tile
    if old is not None and name in old.unchanged:
        if found is not None:
            record = TileRecord(
                plan, name, plan.resolution_m or found.resolution_m, found.pixels_hash
            )
            return _keep(old, found, record)
        if known.was_empty:
            return LeftOut(plan)
    try:
        pixels = opened.sources[source].read(plan)
    except SourceError as problem:
        sentence = f"tile {plan.tile_id}: {problem}"
        if opened.task.skip_unreadable:
            return LeftOut(plan, sentence)
        hint = problem.hint or "repair or remove it, or use --skip-unreadable"
        raise SourceError(sentence, hint=hint) from problem
    if pixels is None:
        return LeftOut(plan)
    resolution_m = plan.resolution_m or plan.size_m / pixels.shape[1]
    record = TileRecord(plan, name, resolution_m, hash_pixels(pixels))
    if old is not None and found is not None and found.pixels_hash == record.pixels_hash:
        return _keep(old, found, record)
    tensor = prepare(Photo.of(pixels), opened.view).tensor
    return ReadTile(record, tensor, encode_picture(pixels))


def _keep(old: OldTiles, found: OldTile, record: TileRecord) -> KeptTile:
    embedding, jpeg = old.take(found)
    return KeptTile(record, embedding, jpeg)
