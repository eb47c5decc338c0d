"""Images of towns as sets: photos from memory, tiles cut from the satellite images when read."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from crossfix.images import UInt8
from crossfix.view import ViewSpec
from training.datasets.photo_cache import ViewPhotos
from training.datasets.split import Float64, Int64
from training.datasets.towns import Town
from training.recipe import TownRecipe


@dataclass(frozen=True)
class TownPhotos:
    """Photos of one view, preprocessed and in memory.

    Attributes:
        chosen: (N,) which of the photos.
    """

    photos: ViewPhotos
    chosen: Int64

    @property
    def spec(self) -> ViewSpec:
        """The photos' preprocessing."""
        return self.photos.spec

    def __len__(self) -> int:
        return len(self.chosen)

    def name(self, index: int) -> str:
        """The photo's town and file."""
        return self.photos.name[int(self.chosen[index])]

    def read(self, index: int, rng: Generator | None = None) -> UInt8:
        """The photo; `rng` changes nothing."""
        del rng
        pixels: UInt8 = self.photos.pixels[self.chosen[index]]
        return pixels


@dataclass(frozen=True)
class TilesAroundTruth:
    """One tile per photo, cut round the photo's true place.

    With a generator the tile is shifted so that the truth lies uniformly in a disc, and scaled;
    at the edge of the town tiles are moved inside.

    Attributes:
        towns: those the photos count with their `town`.
        spec: of the satellite view.
    """

    towns: Sequence[Town]
    photos: ViewPhotos
    spec: ViewSpec
    recipe: TownRecipe

    def __len__(self) -> int:
        return len(self.photos)

    def name(self, index: int) -> str:
        """The town and the place in its image, in pixels."""
        x, y = self.photos.xy_px[index]
        return f"{self.towns[int(self.photos.town[index])].name} at pixel {x:.0f} {y:.0f}"

    def read(self, index: int, rng: Generator | None = None) -> UInt8:
        """The tile centred on the truth; with `rng` shifted and scaled at random."""
        satellite = self.towns[int(self.photos.town[index])].satellite
        offset, scale = np.zeros(2), 1.0
        if rng is not None:
            offset = disc_offsets(rng, 1)[0] * self.recipe.tile_offset_share
            scale += float(rng.uniform(-1, 1)) * self.recipe.tile_scale_jitter
        side_px = self.recipe.tile_size_m / satellite.resolution_m * scale
        wanted = self.photos.xy_px[index] + offset * side_px
        x, y = satellite.clamp(wanted[None], [side_px])[0]
        return satellite.tile(
            x, y, side_px=side_px, out_px=self.spec.width_px, resampling=self.spec.interpolation
        )


@dataclass(frozen=True)
class TownGrid:
    """A town's half-overlapping tiles, as the index builder cuts them.

    Attributes:
        spec: of the satellite view.
        centres_px: (N, 2) in the satellite image.
    """

    town: Town
    spec: ViewSpec
    tile_size_m: float
    centres_px: Float64

    @classmethod
    def over(cls, town: Town, spec: ViewSpec, tile_size_m: float) -> "TownGrid":
        """All tiles that lie wholly inside the town.

        Raises:
            DataError: the town is smaller than a tile.
        """
        return cls(town, spec, tile_size_m, town.satellite.grid(tile_size_m))

    def __len__(self) -> int:
        return len(self.centres_px)

    def name(self, index: int) -> str:
        """The town and the tile's centre, in pixels."""
        x, y = self.centres_px[index]
        return f"{self.town.name} at pixel {x:.0f} {y:.0f}"

    def read(self, index: int, rng: Generator | None = None) -> UInt8:
        """The tile; `rng` changes nothing."""
        del rng
        x, y = self.centres_px[index]
        satellite = self.town.satellite
        return satellite.tile(
            x, y, side_px=self.tile_size_m / satellite.resolution_m, out_px=self.spec.width_px,
            resampling=self.spec.interpolation,
        )  # fmt: skip


def disc_offsets(rng: Generator, count: int) -> NDArray[np.float64]:
    """(count, 2) points uniform in the unit disc."""
    radius, angle = np.sqrt(rng.random(count)), rng.random(count) * 2 * np.pi
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
