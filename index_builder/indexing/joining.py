"""What is said of the indexes of several shards, which choose and tune their own, as of one."""

from collections.abc import Iterable

from crossfix.gallery_manifest import IndexInfo


def least_exact(indexes: Iterable[IndexInfo]) -> IndexInfo:
    """The one that finds the least; one whose recall nobody measured before all others."""
    return min(indexes, key=_exactness)


def _exactness(index: IndexInfo) -> tuple[float, bool]:
    """An approximate index that was measured to find everything still comes first."""
    recall = index.measured_recall_at_10
    return (-1.0 if recall is None else recall, index.recall_asked is None)
