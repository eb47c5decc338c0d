"""Which shards a geographic prior touches: never one too few, seldom one too many."""

from crossfix.gallery_manifest import BoundsModel
from crossfix.prior import Prior


def may_hold(bounds: BoundsModel, prior: Prior) -> bool:
    """Whether a tile whose centre lies in the box can lie inside the prior.

    Errs towards true: asking a shard in vain costs time, leaving one out loses tiles.
    """
    wests_easts = (
        [(bounds.west, bounds.east)]
        if bounds.west <= bounds.east
        else [(bounds.west, 180.0), (-180.0, bounds.east)]
    )
    return any(
        box.south <= bounds.north
        and bounds.south <= box.north
        and any(box.west <= east and west <= box.east for west, east in wests_easts)
        for box in prior.boxes()
    )
