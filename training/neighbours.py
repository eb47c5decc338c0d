"""Who is close to whom: on the ground by a k-d tree, in embedding space by streaming top-k."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from training.photo_cache import ViewPhotos
from training.sample_world_data import Town

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

TOWN_SPACING_M = 1e6  # towns lie this far apart in the plane: never neighbours, never in conflict


def plane_positions(photos: ViewPhotos, towns: Sequence[Town]) -> Float64:
    """(N, 2) metres in one plane where different towns are far apart."""
    resolution = np.array([town.satellite.resolution_m for town in towns])[photos.town]
    positions = photos.xy_px * resolution[:, None]
    positions[:, 0] += photos.town * TOWN_SPACING_M
    return np.asarray(positions, np.float64)


def conflicts_within(positions: Float64, radius_m: float) -> list[list[int]]:
    """For each item the items nearer than `radius_m`, itself included."""
    tree = cKDTree(positions)
    found: list[list[int]] = tree.query_ball_point(positions, radius_m, return_sorted=True).tolist()
    return found


def nearest_on_ground(positions: Float64, count: int, *, exclude_within_m: float) -> Int64:
    """(N, count) indices of the nearest items beyond the excluded radius, nearest first.

    Rows with fewer such items in reach are padded with -1.
    """
    tree = cKDTree(positions)
    crowd = tree.query_ball_point(positions, exclude_within_m, return_length=True)
    reach = int(min(len(positions), count + crowd.max(initial=1)))
    distances, order = tree.query(positions, k=np.arange(1, reach + 1))
    allowed = (distances > exclude_within_m) & (distances < TOWN_SPACING_M / 2)
    return _compact(order.astype(np.int64), allowed, count)


def nearest_in_embedding(
    queries: Float32, tiles: Float32, count: int, *, conflicts: Sequence[Sequence[int]],
    chunk: int = 1024,
) -> Int64:  # fmt: skip
    """(N, count) indices of the tiles most similar to each query, conflicting ones left out.

    Holds `chunk` x N scores at a time, never N x N.

    Args:
        queries, tiles: (N, D) unit-norm; row i of both is pair i.
        conflicts: for each query the pairs that are no negatives of it.
    """
    rows = []
    reach = min(len(tiles), count + max(len(c) for c in conflicts))
    for start in range(0, len(queries), chunk):
        scores = queries[start : start + chunk] @ tiles.T
        for i in range(len(scores)):
            scores[i, conflicts[start + i]] = -np.inf
        best = np.argpartition(-scores, reach - 1, axis=1)[:, :reach]
        values = np.take_along_axis(scores, best, axis=1)
        inner = np.argsort(-values, axis=1, kind="stable")
        order = np.take_along_axis(best, inner, axis=1)
        allowed = np.isfinite(np.take_along_axis(values, inner, axis=1))
        rows.append(_compact(order.astype(np.int64), allowed, count))
    return np.concatenate(rows)


def _compact(order: Int64, allowed: NDArray[np.bool_], count: int) -> Int64:
    """The first `count` allowed entries of each row, in order; -1 where there are no more."""
    sorted_out = np.argsort(~allowed, axis=1, kind="stable")
    kept = np.take_along_axis(np.where(allowed, order, -1), sorted_out, axis=1)[:, :count]
    missing = count - kept.shape[1]
    return np.pad(kept, ((0, 0), (0, max(0, missing))), constant_values=-1)
