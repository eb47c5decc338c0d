"""Photos of a town as the model's pixels: decoded once, kept in a file, damaged ones left out."""

import logging
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crossfix.errors import CrossfixError, DataError
from crossfix.images import UInt8, decode
from crossfix.preprocess import fit_pixels
from crossfix.view import ViewSpec
from training.datasets.split import Int64
from training.datasets.towns import PhotoRow

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhotoPixels:
    """The photos that could be read.

    Attributes:
        pixels: (K, h, w, 3) uint8.
        kept: (K,) ascending, which of the photos they are.
    """

    pixels: UInt8
    kept: Int64


def read_photos(
    photos: Sequence[PhotoRow], spec: ViewSpec, *, skip_unreadable: bool = False
) -> PhotoPixels:
    """Decodes and preprocesses all photos.

    Args:
        skip_unreadable: leaves damaged photos out and logs each.

    Raises:
        DataError: a photo cannot be read and is not to be skipped.
    """
    pixels = np.empty((len(photos), spec.height_px, spec.width_px, 3), np.uint8)
    kept: list[int] = []
    for i, photo in enumerate(photos):
        try:
            pixels[len(kept)] = read_photo(photo, spec)
        except DataError as problem:
            if not skip_unreadable:
                raise
            LOGGER.warning("%s", problem)
        else:
            kept.append(i)
    return PhotoPixels(pixels[: len(kept)], np.array(kept, np.int64))


def cached_photos(
    photos: Sequence[PhotoRow], spec: ViewSpec, path: Path, *, skip_unreadable: bool = False
) -> PhotoPixels:
    """The same, read from a file where there is one, else written to it.

    The file says which photos it holds. Those it lacks are tried again each time: damaged they
    stop a run that skips nothing, mended they make the file anew. Processes that start together
    may all write it; each replaces it whole.

    Raises:
        DataError: a photo cannot be read and is not to be skipped.
    """
    if path.is_file():
        stored = _load(path)
        lacking = np.setdiff1d(np.arange(len(photos)), stored.kept)
        again = read_photos([photos[i] for i in lacking], spec, skip_unreadable=skip_unreadable)
        if not len(again.kept):
            return stored
    found = read_photos(photos, spec, skip_unreadable=skip_unreadable)
    _save(path, found)
    return found


def _load(path: Path) -> PhotoPixels:
    with np.load(path, allow_pickle=False) as arrays:
        return PhotoPixels(arrays["pixels"], arrays["kept"])


def _save(path: Path, photos: PhotoPixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Processes on several machines may share the folder and a process id.
    partial = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        with partial.open("xb") as handle:
            np.savez(handle, pixels=photos.pixels, kept=photos.kept)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_photo(photo: PhotoRow, spec: ViewSpec) -> UInt8:
    """One photo as the model's input pixels (h, w, 3), by the code the service uses.

    Raises:
        DataError: the file is missing or damaged.
    """
    ground = spec.view == "ground"
    heading, hfov = (photo.heading_deg, photo.hfov_deg) if ground else (None, None)
    try:
        decoded = decode(photo.path.read_bytes())
        pixels, _ = fit_pixels(decoded, spec, heading_deg=heading, hfov_deg=hfov)
    except (OSError, CrossfixError, ValueError) as problem:
        raise DataError(
            f"photo {photo.path} cannot be read",
            hint="render it again, or leave such photos out with --skip-unreadable",
        ) from problem
    return pixels
