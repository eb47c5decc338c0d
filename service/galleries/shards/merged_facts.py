"""What the shards of an epoch are together, as the manifest that one piece would have."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from crossfix.bounds import find_bounds
from crossfix.gallery_manifest import BoundsModel, GalleryManifest, IndexInfo, SourceInfo
from crossfix.sharded_gallery_manifest import EpochManifest
from service.galleries.coverage import unite
from service.galleries.shards.shard import ShardFacts

_SIDES = ("west", "south", "east", "north")


def merged_manifest(epoch: EpochManifest, facts: Mapping[int, ShardFacts]) -> GalleryManifest:
    """The epoch as a gallery manifest.

    Counts, bounds and hashes are the epoch's; sources, tile sizes and files those of the known
    shards (one at least), files under `<shard number>/<name>`.
    """
    known = [one.manifest for one in facts.values()]
    sources: dict[str, SourceInfo] = {}
    for manifest in known:
        for source in manifest.sources:
            sources.setdefault(source.model_dump_json(), source)
    return GalleryManifest(
        version=epoch.epoch,
        embedding_space_id=epoch.embedding_space_id,
        encoder_name=epoch.encoder_name,
        tile_count=epoch.tile_count,
        embedding_dim=epoch.embedding_dim,
        index=_index([manifest.index for manifest in known]),
        bounds=_bounds([shard.bounds for shard in epoch.shards]),
        tile_sizes_m=sorted({size for manifest in known for size in manifest.tile_sizes_m}),
        overlap=known[0].overlap,
        sources=list(sources.values()),
        files={
            f"{number:03d}/{name}": entry
            for number, one in facts.items()
            for name, entry in one.manifest.files.items()
        },
        content_hash=epoch.content_hash,
        created=epoch.created,
        builder_revision=epoch.builder_revision,
        computed_on=known[0].computed_on,
    )


def merged_coverage(facts: Collection[ShardFacts]) -> dict[str, Any]:
    """All shards' areas as one GeoJSON MultiPolygon."""
    return unite([one.coverage for one in facts])


def _index(shards: list[IndexInfo]) -> IndexInfo:
    """The first shard's; of all the lowest recall."""
    recalls = [one.measured_recall_at_10 for one in shards]
    known = [recall for recall in recalls if recall is not None]
    lowest = min(known) if len(known) == len(recalls) else None
    return shards[0].model_copy(update={"measured_recall_at_10": lowest})


def _bounds(boxes: Sequence[BoundsModel]) -> BoundsModel:
    columns = [[getattr(box, side) for box in boxes] for side in _SIDES]
    return find_bounds(*(np.array(column, np.float64) for column in columns))
