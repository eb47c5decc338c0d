"""Photos decoded and preprocessed once, kept in memory and in a file beside the run."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossfix.errors import DataError, ImageError
from crossfix.images import UInt8, decode
from crossfix.manifest import canonical_json
from crossfix.preprocess import fit_pixels
from crossfix.view import ViewSpec
from training.datasets.towns import PHOTO_TABLE, PhotoRow, Town

LOGGER = logging.getLogger(__name__)

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class ViewPhotos:
    """All usable photos of one query view, over several towns. Row i of every array is photo i.

    Attributes:
        pixels: (N, h, w, 3) uint8, geometrically preprocessed.
        town: (N,) index into the list of towns.
        xy_px: (N, 2) the truth in its town's satellite image.
        lon, lat: (N,) the truth, degrees.
        kind: (N,) `panorama`, `street` or `drone`.
        name: (N,) the town and the file in its folder.
    """

    spec: ViewSpec
    pixels: UInt8
    town: NDArray[np.int64]
    xy_px: Float64
    lon: Float64
    lat: Float64
    kind: NDArray[np.str_]
    name: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.pixels)


def load_view(
    towns: Sequence[Town], spec: ViewSpec, *, tile_size_m: float, tile_offset_share: float,
    cache: Path | None,
) -> ViewPhotos:  # fmt: skip
    """Preprocesses one view's photos, dropping those whose tile cannot be cut from the image.

    Args:
        cache: folder for the preprocessed pixels, or None for no file.

    Raises:
        DataError: a photo cannot be read.
    """
    parts = [_load_town(town, spec, tile_size_m, tile_offset_share, cache) for town in towns]
    rows = [row for photos, _, _ in parts for row in photos]
    return ViewPhotos(
        spec=spec,
        pixels=np.concatenate([pixels for _, pixels, _ in parts]),
        town=np.repeat(np.arange(len(towns)), [len(photos) for photos, _, _ in parts]),
        xy_px=np.concatenate([xy for _, _, xy in parts]),
        lon=np.array([row.lon for row in rows], np.float64),
        lat=np.array([row.lat for row in rows], np.float64),
        kind=np.array([row.kind for row in rows], np.str_),
        name=tuple(
            f"{town.name}/{row.path.relative_to(town.folder).as_posix()}"
            for town, (photos, _, _) in zip(towns, parts, strict=True)
            for row in photos
        ),
    )


def _load_town(
    town: Town, spec: ViewSpec, tile_size_m: float, tile_offset_share: float, cache: Path | None
) -> tuple[list[PhotoRow], UInt8, Float64]:
    photos = town.photos_of(spec.view)
    pixels = _cached_pixels(town, photos, spec, cache)
    if not photos:
        return [], pixels, np.zeros((0, 2))
    xy = town.satellite.pixels_of([p.lon for p in photos], [p.lat for p in photos])
    side = tile_size_m / town.satellite.resolution_m
    moved = np.linalg.norm(town.satellite.clamp(xy, np.full(len(xy), side)) - xy, axis=1)
    kept = np.flatnonzero(moved <= tile_offset_share * side)
    if len(kept) < len(photos):
        dropped = len(photos) - len(kept)
        LOGGER.info("town %s: %d %s photos dropped at the edge", town.name, dropped, spec.view)
    return [photos[i] for i in kept], pixels[kept], xy[kept]


def _cached_pixels(
    town: Town, photos: Sequence[PhotoRow], spec: ViewSpec, cache: Path | None
) -> UInt8:
    if cache is None:
        return _preprocess_all(photos, spec)
    table = (town.folder / PHOTO_TABLE).read_bytes()
    content = canonical_json(spec.model_dump(mode="json")).encode() + table
    content += str(town.folder.resolve()).encode()
    path = cache / f"{town.name}-{spec.view}-{hashlib.sha256(content).hexdigest()[:12]}.npy"
    if path.is_file():
        stored: UInt8 = np.load(path, allow_pickle=False)
        return stored
    pixels = _preprocess_all(photos, spec)
    cache.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    with partial.open("wb") as handle:
        np.save(handle, pixels, allow_pickle=False)
    partial.replace(path)
    return pixels


def _preprocess_all(photos: Sequence[PhotoRow], spec: ViewSpec) -> UInt8:
    pixels = np.empty((len(photos), spec.height_px, spec.width_px, 3), np.uint8)
    for i, photo in enumerate(photos):
        pixels[i] = read_photo(photo, spec)
    return pixels


def read_photo(photo: PhotoRow, spec: ViewSpec) -> UInt8:
    """One photo as the model's input pixels (h, w, 3), by the code the service uses.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        decoded = decode(photo.path.read_bytes())
    except (OSError, ImageError) as problem:
        raise DataError(f"photo {photo.path} cannot be read", hint="render it again") from problem
    ground = spec.view == "ground"
    heading, hfov = (photo.heading_deg, photo.hfov_deg) if ground else (None, None)
    pixels, _ = fit_pixels(decoded, spec, heading_deg=heading, hfov_deg=hfov)
    return pixels
