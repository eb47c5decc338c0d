"""Galleries of any size with the spread of real ones: embeddings and the places they are at.

The demo encoder's figures were taken on 2026-11-21 from 44,737 tiles it embedded: three rendered
towns it had not seen (96 m tiles, overlap 0.9) and the three orthophotos of `../shared/imagery`
(40, 48 and 80 m, overlap 0.95).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

CHUNK_ROWS = 1 << 16  # whole blocks of every size below
# Length of the mean embedding, and variance along the principal axes; the rest, 6e-5 of it all, is
# left out.
DEMO_MEAN = 0.6413
DEMO_VARIANCES = (
    0.168615, 0.103003, 0.086381, 0.072433, 0.052776, 0.045490, 0.031975, 0.024116, 0.003618,
    0.000186, 0.000047, 0.000042, 0.000036, 0.000025, 0.000011, 0.000008, 0.000006,
)  # fmt: skip
# No strong encoder can be had here. Published ones use far more dimensions than ours; this is a
# slow power law over all of them, the hardest case for short codes and inverted lists.
WIDE_MEAN = 0.3
# Share of the variance that blocks of so many rows in Morton order have in common. Tiles half a
# side apart correlate by 0.7, one side 0.45, two 0.25, four 0.1 (means over the rendered towns).
SHARED = ((4, 0.35), (16, 0.15), (64, 0.10), (1024, 0.10))
# A photo's correlation with its tile about the mean. Cosines to the best and the tenth tile: 0.98
# and 0.97 for real photos of the rendered towns, 0.985 and 0.97 for these queries.
PHOTO_CORRELATION = 0.6

_LEVEL = 19  # Morton cells of 52 x 38 m at latitude 45..48: a tile each
_WEST, _SOUTH = 11.25, 45.0  # a corner of a large Morton cell, so that row order is Morton order


@dataclass(frozen=True)
class Spread:
    """How embeddings are spread: a (D,) mean, and (A, D) axes as long as the spread along them."""

    mean: Float32
    axes: Float32

    @classmethod
    def named(cls, name: str, dim: int) -> "Spread":
        """`demo`: as the shipped encoder's; `wide`: all dimensions in use."""
        if name == "demo":
            length, variances = DEMO_MEAN, np.array(DEMO_VARIANCES)
        else:
            length, slow = WIDE_MEAN, 1 / (np.arange(dim) + dim / 16)
            variances = slow / slow.sum() * (1 - WIDE_MEAN**2)
        axes, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((dim, dim)))
        return cls(
            (length * axes[:, -1]).astype(np.float32),
            (axes[:, : len(variances)] * np.sqrt(variances)).T.astype(np.float32),
        )

    def noise(self, rng: np.random.Generator, rows: int) -> Float32:
        """(rows, D) about the mean."""
        drawn = rng.standard_normal((rows, len(self.axes)), dtype=np.float32)
        return np.asarray(drawn @ self.axes, np.float32)


def iterate_rows(spread: Spread, count: int) -> Iterator[Float32]:
    """Unit vectors of `count` tiles in Morton order, `CHUNK_ROWS` at a time."""
    for number, start in enumerate(range(0, count, CHUNK_ROWS)):
        rng = np.random.default_rng((1, number))
        own = 1 - sum(share for _, share in SHARED)
        values = np.sqrt(np.float32(own)) * spread.noise(rng, CHUNK_ROWS)
        for size, share in SHARED:
            common = spread.noise(rng, CHUNK_ROWS // size)
            values += np.sqrt(np.float32(share)) * np.repeat(common, size, axis=0)
        values += spread.mean
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        yield values[: count - start]


def write_vectors(path: Path, spread: Spread, count: int) -> None:
    """fp16 rows as in `vectors.f16`."""
    with path.open("wb") as target:
        for values in iterate_rows(spread, count):
            target.write(values.astype("<f2").tobytes())


def make_photos(spread: Spread, vectors: NDArray[np.float16], count: int) -> Float32:
    """(count, D) queries: a random tile each, seen badly; other draws than the builder's."""
    rng = np.random.default_rng(2)
    tiles = vectors[np.sort(rng.integers(0, len(vectors), count))].astype(np.float32)
    other = np.sqrt(np.float32(1 - PHOTO_CORRELATION**2)) * spread.noise(rng, count)
    photos = spread.mean + PHOTO_CORRELATION * (tiles - spread.mean) + other
    photos = rng.permutation(photos)
    return np.asarray(photos / np.linalg.norm(photos, axis=1, keepdims=True), np.float32)


def places(count: int) -> tuple[Float64, Float64]:
    """(lon, lat) of `count` tiles on a grid of about 45 m, in Morton order."""
    rows = np.arange(count, dtype=np.uint64)
    across, up = _even_bits(rows), _even_bits(rows >> np.uint64(1))
    step = 1 / (1 << _LEVEL)
    return _WEST + (across + 0.5) * 360 * step, _SOUTH + (up + 0.5) * 180 * step


def _even_bits(numbers: NDArray[np.uint64]) -> Float64:
    found = np.zeros(len(numbers), np.uint64)
    for bit in range(16):
        found |= ((numbers >> np.uint64(2 * bit)) & np.uint64(1)) << np.uint64(bit)
    return found.astype(np.float64)
