"""Images in files, read and preprocessed one at a time by the code the service uses."""

import io
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.random import Generator
from PIL.JpegImagePlugin import JpegImageFile

from crossfix.errors import CrossfixError, DataError
from crossfix.images import Photo, UInt8, decode
from crossfix.preprocess import fit_pixels
from crossfix.view import ViewSpec
from training.augmentation.colour import recompress
from training.datasets.split import ImageSet, Int64


@runtime_checkable
class RecompressibleSet(ImageSet, Protocol):
    """An `ImageSet` that can also recompress its images before they are made smaller."""

    def read_recompressed(self, index: int, *, quality: int) -> UInt8:
        """One image as `read` gives it, but of a JPEG recompressed at its full size.

        Args:
            quality: of the JPEG, 1..100.

        Raises:
            DataError: the image cannot be read; the message names the file.
        """


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
        return self._fitted(index, None)

    def read_recompressed(self, index: int, *, quality: int) -> UInt8:
        """The image decoded whole, recompressed as a JPEG of this quality, then fitted.

        Raises:
            DataError: the file is missing or damaged.
        """
        return self._fitted(index, quality)

    def read_centre(self, index: int, *, side_px: int) -> UInt8:
        """A square in the image's middle, then fitted.

        Args:
            side_px: in pixels of the file; at most the image's shorter side is taken.

        Raises:
            DataError: the file is missing or damaged.
        """
        return self._fitted(index, None, side_px)

    def _fitted(self, index: int, quality: int | None, side_px: int | None = None) -> UInt8:
        path = self.root / self.names[index]
        heading_deg, hfov_deg = (0.0, 360.0) if self.panoramas else (None, None)
        try:
            data = path.read_bytes()
            if side_px is None:
                photo = self._decoded(data, quality)
            else:
                photo = _middle(decode(data), side_px)
            pixels, _ = fit_pixels(photo, self.spec, heading_deg=heading_deg, hfov_deg=hfov_deg)
        except (OSError, CrossfixError, ValueError) as problem:
            raise DataError(
                f"image {path} cannot be read: {_reason(problem)}",
                hint="get the file again, or leave such images out with --skip-unreadable",
            ) from problem
        return pixels

    def _decoded(self, data: bytes, quality: int | None) -> Photo:
        if quality is None:
            return decode(data, target_px=self._target_px(data))
        photo = decode(data)
        return replace(photo, pixels=recompress(photo.pixels, quality=quality))

    def _target_px(self, data: bytes) -> int | None:
        """What the shorter side must have after decoding; None for the whole image.

        A panorama's sides are far apart, and what it needs is known: the canvas's columns, and
        its rows within the elevations that are cut out, at ``width / 360`` pixels per degree.
        """
        known = self.panoramas and self.spec.fit == "panorama_canvas"
        if self.spec.decode_px is None or not known:
            return self.spec.decode_px
        sides = _jpeg_sides(data)
        if sides is None:
            return self.spec.decode_px
        top, bottom = self.spec.elevation_deg
        needed = max(self.spec.width_px, self.spec.height_px * 360 / (top - bottom))
        return math.ceil(needed * min(sides) / max(sides))


def _middle(photo: Photo, side_px: int) -> Photo:
    height, width = photo.pixels.shape[:2]
    side = min(side_px, height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return replace(photo, pixels=photo.pixels[top : top + side, left : left + side])


def _jpeg_sides(data: bytes) -> tuple[int, int] | None:
    """A JPEG's size from its header; None for other files, which cannot be decoded in part."""
    try:
        return JpegImageFile(io.BytesIO(data)).size
    except (OSError, SyntaxError, ValueError):
        return None  # what is wrong with a damaged one, decoding tells


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


@dataclass(frozen=True)
class RecompressibleSubset(ImageSubset):
    """Some images of a set that can recompress them."""

    images: RecompressibleSet

    def read_recompressed(self, index: int, *, quality: int) -> UInt8:
        """The image as the whole set recompresses it."""
        return self.images.read_recompressed(int(self.chosen[index]), quality=quality)


def select_images(images: ImageSet, chosen: Int64) -> ImageSet:
    """A subset that can do what the set can; of a subset, too, without nesting."""
    chosen = np.asarray(chosen, np.int64)
    if isinstance(images, ImageSubset):
        return select_images(images.images, images.chosen[chosen])
    if isinstance(images, RecompressibleSet):
        return RecompressibleSubset(images, chosen)
    return ImageSubset(images, chosen)
