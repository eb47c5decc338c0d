"""Ranges of longitude or latitude: ordered pairs (low, high), none touching the next."""

from collections.abc import Iterable
from itertools import pairwise

Intervals = list[tuple[float, float]]


def merge(intervals: Iterable[tuple[float, float]]) -> Intervals:
    """Any pairs, in order and joined where they touch."""
    merged: Intervals = []
    for west, east in sorted(intervals):
        if merged and west <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], east))
        else:
            merged.append((west, east))
    return merged


def intersect(ours: Intervals, theirs: Intervals) -> Intervals:
    """What both cover."""
    common: Intervals = []
    mine, other = 0, 0
    while mine < len(ours) and other < len(theirs):
        west = max(ours[mine][0], theirs[other][0])
        east = min(ours[mine][1], theirs[other][1])
        if west <= east:
            common.append((west, east))
        if ours[mine][1] < theirs[other][1]:
            mine += 1
        else:
            other += 1
    return common


def find_seam(intervals: Iterable[tuple[float, float]]) -> float:
    """A longitude from which on to count so that the intervals have no seam, -180..180.

    -180 unless they cross it; then the eastern end of the widest gap between them.
    """
    pieces = merge(piece for interval in intervals for piece in _within_a_turn(*interval))
    if pieces[0][0] > -180 or pieces[-1][1] < 180 or len(pieces) == 1:
        return -180.0
    gaps = [after[0] - before[1] for before, after in pairwise(pieces)]
    return pieces[gaps.index(max(gaps)) + 1][0]


def _within_a_turn(west: float, east: float) -> Iterable[tuple[float, float]]:
    if east - west >= 360:
        return [(-180.0, 180.0)]
    west, east = west - 360 * ((west + 180) // 360), east - 360 * ((west + 180) // 360)
    return [(west, east)] if east <= 180 else [(west, 180.0), (-180.0, east - 360)]
