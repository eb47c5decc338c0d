"""Which tiles are close: on the ground by a k-d tree, in embedding space by streaming top-k."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from crossfix.matches import Matches
from training.datasets.ground import unit_sphere
from training.datasets.split import Float64, Int64, Positions
from training.recipe import Mode
from training.sampling.neighbour_table import Int32

Float32 = NDArray[np.float32]

EARTH_RADIUS_M = 6_371_008.8  # mean radius; distances are off by up to 0.5 % from the ellipsoid's
PLANE_REACH_M = 5e5  # rendered towns are laid out 1,000 km apart; another town is no neighbour
SCORES_BYTES = 256 * 2**20  # of similarities held at a time


def tree_points(positions: Positions, mode: Mode) -> Float64:
    """Points whose straight-line order is the order of distance on the ground.

    Degrees become points on the unit sphere (N, 3): the chord c of two points and their
    great-circle angle t satisfy ``c = 2 sin(t / 2)``, which grows with t. In mode `paper` the
    degree values are taken as radians, as the official code of Sample4Geo does when it hands
    degrees to a haversine: since ``sin^2(dlat/2) + cos lat1 cos lat2 sin^2(dlon/2) = c^2 / 4``
    for any real angles, these points have exactly its order, wrap-around included.
    """
    if positions.kind == "plane_m":
        return positions.xy
    return unit_sphere(positions.xy if mode == "paper" else np.radians(positions.xy))


def references_within(positions: Positions, radius_m: float) -> Matches:
    """For each tile the others at most `radius_m` away, on the true ground in every mode."""
    tree = cKDTree(tree_points(positions, "correct"))
    pairs = tree.query_pairs(_reach(positions, radius_m), output_type="ndarray").reshape(-1, 2)
    both = np.concatenate([pairs, pairs[:, ::-1]])
    return Matches.from_pairs(both[:, 0], both[:, 1], count=len(positions))


def _reach(positions: Positions, radius_m: float) -> float:
    """What a distance on the ground is between `tree_points` of mode `correct`."""
    if positions.kind == "plane_m":
        return radius_m
    return 2 * math.sin(min(radius_m / EARTH_RADIUS_M, math.pi) / 2)


def ground_neighbours(
    positions: Positions, count: int, *, exclude_within_m: float, mode: Mode
) -> Int32:
    """(R, count) the nearest tiles of every tile, nearest first, -1 where there are no more.

    Args:
        exclude_within_m: nearer tiles are no negatives and are left out; 0 leaves out none.
        mode: `paper` measures degrees as the official code does.
    """
    points = tree_points(positions, mode)
    tree = cKDTree(points)
    too_near = _with_itself(positions, exclude_within_m)
    reach = min(len(points), count + int(too_near.counts().max(initial=0)))
    distances, found = tree.query(points, k=np.arange(1, reach + 1), workers=-1)
    allowed = ~_listed(too_near, found, len(points))
    if positions.kind == "plane_m":
        allowed &= distances < PLANE_REACH_M
    return _compact(found, allowed, count)


def _with_itself(positions: Positions, radius_m: float) -> Matches:
    own = np.arange(len(positions))
    if radius_m <= 0:
        return Matches.one_each(own)
    near = references_within(positions, radius_m)
    rows = np.concatenate([near.rows(), own])
    return Matches.from_pairs(rows, np.concatenate([near.columns, own]), count=len(own))


def _listed(matches: Matches, found: Int64, width: int) -> NDArray[np.bool_]:
    """(Q, K) which of each row's found columns are among the row's matches."""
    keys = matches.rows() * width + matches.columns  # ascending, as are the columns inside a row
    wanted = np.arange(len(found))[:, None] * width + found
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.asarray(keys[place] == wanted, np.bool_)


def similar_tiles(
    queries: Float32, tiles: Float32, count: int, *, blocked: Matches,
    device: torch.device | str = "cpu", scores_bytes: int = SCORES_BYTES,
) -> Int32:  # fmt: skip
    """(N, count) the tiles most similar to each query, best first, -1 where there are no more.

    Holds one block of scores at a time, never N x R.

    Args:
        queries: (N, D) unit-norm.
        tiles: (R, D) unit-norm.
        blocked: for each query the tiles that are no negatives of it, its own among them.
        scores_bytes: size of a block.

    Raises:
        ValueError: an embedding is not finite.
    """
    if not (np.isfinite(queries).all() and np.isfinite(tiles).all()):
        raise ValueError("embeddings hold NaN or infinity; a broken model has no neighbours")
    pool = torch.from_numpy(np.ascontiguousarray(tiles)).to(device).T
    chunk = max(1, scores_bytes // (4 * max(1, len(tiles))))
    kept = min(count, len(tiles))
    found = np.full((len(queries), count), -1, np.int32)
    for start in range(0, len(queries), chunk):
        part = torch.from_numpy(np.ascontiguousarray(queries[start : start + chunk])).to(device)
        scores = part @ pool
        listed = blocked.select(np.arange(start, start + len(part)))
        row, column = (torch.from_numpy(n).to(device) for n in (listed.rows(), listed.columns))
        scores[row, column] = -torch.inf
        best, order = torch.topk(scores, kept, dim=1)
        similar = torch.where(torch.isfinite(best), order, -1)
        found[start : start + len(part), :kept] = similar.cpu().numpy()
    return found


def _compact(found: Int64, allowed: NDArray[np.bool_], count: int) -> Int32:
    """The first `count` allowed entries of each row, in order; -1 where there are no more."""
    order = np.argsort(~allowed, axis=1, kind="stable")[:, :count]
    kept = np.take_along_axis(np.where(allowed, found, -1), order, axis=1)
    missing = count - kept.shape[1]
    return np.pad(kept, ((0, 0), (0, missing)), constant_values=-1).astype(np.int32)
