"""Ranges of longitude against sets of whole degrees."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from index_builder.sources.grid.intervals import find_seam, intersect, merge

pairs = st.tuples(st.integers(-50, 50), st.integers(0, 20)).map(lambda p: (p[0], p[0] + p[1]))
lists = st.lists(pairs, max_size=8)


def halves(intervals):
    """Points every half degree, so that what only touches counts."""
    return {half for west, east in intervals for half in range(2 * int(west), 2 * int(east) + 1)}


@given(lists)
def test_merging_keeps_every_point_once(intervals):
    merged = merge(intervals)
    assert halves(merged) == halves(intervals)
    assert all(one[1] < two[0] for one, two in pairwise(merged))


@given(lists, lists)
def test_common_points(ours, theirs):
    assert halves(intersect(merge(ours), merge(theirs))) == halves(ours) & halves(theirs)


@given(st.lists(st.tuples(st.integers(-180, 179), st.integers(1, 60)), min_size=1, max_size=5))
def test_counted_from_the_seam_no_interval_is_cut(starts):
    intervals = [(float(west), float(west + wide)) for west, wide in starts]
    covered = {degree % 360 for west, wide in starts for degree in range(west, west + wide)}
    if len(covered) == 360:
        return
    seam = find_seam(intervals)
    assert -180 <= seam <= 180
    for west, wide in starts:
        assert (west - seam) % 360 + wide <= 360
    if all(west + wide < 180 for west, wide in starts):
        assert seam == -180
