"""Batches of indices to tensors: photos from memory, tiles cut from the satellite images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossfix.images import UInt8
from crossfix.view import ViewName
from training.augment import Pair, augment_pair, normalise_batch
from training.photo_cache import ViewPhotos
from training.recipe import Recipe
from training.sample_world_data import Town
from training.sampling import Batch
from training.satellite_image import cut_tiles


@dataclass(frozen=True)
class PairSource:
    """Training pairs in memory: the towns and the photos of each query view."""

    recipe: Recipe
    towns: Sequence[Town]
    photos: Mapping[ViewName, ViewPhotos]

    def batch(self, batch: Batch, *, seed: Sequence[int]) -> Pair:
        """Augmented, normalised photos and tiles of a batch; the same for the same seed."""
        rng = np.random.default_rng(seed)
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        photos = self.photos[batch.view]
        tiles = self.tiles(photos, batch.indices, rng=rng)
        data = self.recipe.data
        pair = augment_pair(
            Pair(photo=to_tensor(photos.pixels[batch.indices]), tile=to_tensor(tiles)),
            self.recipe.augmentation,
            view=batch.view,
            mean=data.mean,
            generator=generator,
        )
        return Pair(
            photo=normalise_batch(pair.photo, data.mean, data.std),
            tile=normalise_batch(pair.tile, data.mean, data.std),
        )

    def tiles(
        self, photos: ViewPhotos, indices: NDArray[np.int64],
        *, rng: np.random.Generator | None = None,
    ) -> UInt8:  # fmt: skip
        """Tiles (B, s, s, 3) round the truths; with `rng` shifted and scaled at random."""
        data = self.recipe.data
        offset, scale = np.zeros((len(indices), 2)), np.ones(len(indices))
        if rng is not None:
            offset = disc_offsets(rng, len(indices)) * data.tile_offset_share
            scale += rng.uniform(-1, 1, len(indices)) * data.tile_scale_jitter
        tiles = np.empty((len(indices), data.tile_px, data.tile_px, 3), np.uint8)
        for number in np.unique(photos.town[indices]):
            chosen = np.flatnonzero(photos.town[indices] == number)
            satellite = self.towns[number].satellite
            side = data.tile_size_m / satellite.resolution_m * scale[chosen]
            wanted = photos.xy_px[indices[chosen]] + offset[chosen] * side[:, None]
            tiles[chosen] = cut_tiles(
                satellite,
                satellite.clamp(wanted, side),
                side_px=side,
                out_px=data.tile_px,
                resampling=data.interpolation,
            )
        return tiles


def disc_offsets(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """(count, 2) points uniform in the unit disc."""
    radius, angle = np.sqrt(rng.random(count)), rng.random(count) * 2 * np.pi
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def to_tensor(pixels: UInt8) -> Tensor:
    """(N, h, w, 3) uint8 to (N, 3, h, w) float32 in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float().div_(255)
