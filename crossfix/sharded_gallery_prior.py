"""Which shards a geographic prior touches: never one too few, seldom one too many."""

from collections.abc import Sequence

from crossfix.bounds import meet_in_longitude
from crossfix.gallery_manifest import BoundsModel
from crossfix.prior import Prior
from crossfix.sharded_gallery_manifest import ShardEntry


def touched(shards: Sequence[ShardEntry], prior: Prior | None) -> list[int]:
    """Numbers of the shards to ask, ascending; all without a prior."""
    return [
        number
        for number, shard in enumerate(shards)
        if prior is None or may_hold(shard.bounds, prior)
    ]


def may_hold(bounds: BoundsModel, prior: Prior) -> bool:
    """Whether a tile whose centre lies in the box can lie inside the prior.

    Errs towards true: asking a shard in vain costs time, leaving one out loses tiles.
    """
    return any(
        box.south <= bounds.north
        and bounds.south <= box.north
        and meet_in_longitude(box.west, box.east, bounds.west, bounds.east)
        for box in prior.boxes()
    )
