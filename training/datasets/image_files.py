"""Images in files, read and preprocessed one at a time by the code the service uses."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator

from crossfix.errors import CrossfixError, DataError
from crossfix.images import UInt8, decode
from crossfix.preprocess import fit_pixels
from crossfix.view import ViewSpec
from training.datasets.split import ImageSet, Int64


@dataclass(frozen=True)
class ImageFiles:
    """An `ImageSet` of files below one folder. Opening it touches no file.

    Attributes:
        names: the files, relative to `root`, with forward slashes.
        panoramas: the files are full 360-degree panoramas whose centre looks north; false for
            tiles, drone photos, and street photos of unknown heading.
    """

    root: Path
    names: tuple[str, ...]
    spec: ViewSpec
    panoramas: bool = False

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """The file below the data set's folder."""
        return self.names[index]

    def read(self, index: int, rng: Generator | None = None) -> UInt8:
        """One image, (h, w, 3) uint8 of the spec's size; `rng` changes nothing.

        Raises:
            DataError: the file is missing or damaged.
        """
        del rng
        path = self.root / self.names[index]
        heading_deg, hfov_deg = (0.0, 360.0) if self.panoramas else (None, None)
        try:
            photo = decode(path.read_bytes(), target_px=self.spec.decode_px)
            pixels, _ = fit_pixels(photo, self.spec, heading_deg=heading_deg, hfov_deg=hfov_deg)
        except (OSError, CrossfixError, ValueError) as problem:
            raise DataError(
                f"image {path} cannot be read: {_reason(problem)}",
                hint="get the file again, or leave such images out with --skip-unreadable",
            ) from problem
        return pixels


def _reason(problem: Exception) -> str:
    if isinstance(problem, OSError) and problem.strerror:
        return problem.strerror.lower()
    return str(problem)


@dataclass(frozen=True)
class ImageSubset:
    """Some images of a set, in the given order.

    Attributes:
        chosen: (N,) indices into `images`.
    """

    images: ImageSet
    chosen: Int64

    @property
    def spec(self) -> ViewSpec:
        """The whole set's preprocessing."""
        return self.images.spec

    def __len__(self) -> int:
        return len(self.chosen)

    def name(self, index: int) -> str:
        """The image's name in the whole set."""
        return self.images.name(int(self.chosen[index]))

    def read(self, index: int, rng: Generator | None = None) -> UInt8:
        """The image as the whole set reads it."""
        return self.images.read(int(self.chosen[index]), rng)


def select_images(images: ImageSet, chosen: Int64) -> ImageSet:
    """A subset; of a subset, too, without nesting."""
    chosen = np.asarray(chosen, np.int64)
    if isinstance(images, ImageSubset):
        return ImageSubset(images.images, images.chosen[chosen])
    return ImageSubset(images, chosen)
