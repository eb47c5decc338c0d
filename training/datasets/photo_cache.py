"""The photos of towns, preprocessed once, kept in memory and in files beside the run."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossfix.images import UInt8
from crossfix.manifest import canonical_json
from crossfix.view import ViewSpec
from training.datasets.photo_pixels import PhotoPixels, cached_photos, read_photos
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
        unreadable: names of damaged photos that were left out.
    """

    spec: ViewSpec
    pixels: UInt8
    town: NDArray[np.int64]
    xy_px: Float64
    lon: Float64
    lat: Float64
    kind: NDArray[np.str_]
    name: tuple[str, ...]
    unreadable: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)


@dataclass(frozen=True)
class _TownPhotos:
    """Usable photos of one town, their pixels and places, and the unreadable ones."""

    rows: list[PhotoRow]
    pixels: UInt8
    xy_px: Float64
    unreadable: list[PhotoRow]


def load_view(
    towns: Sequence[Town], spec: ViewSpec, *, tile_size_m: float, tile_offset_share: float,
    cache: Path | None, skip_unreadable: bool = False,
) -> ViewPhotos:  # fmt: skip
    """Preprocesses one view's photos, dropping those whose tile cannot be cut from the image.

    Args:
        cache: folder for the preprocessed pixels, or None for no file.
        skip_unreadable: leaves damaged photos out; they are logged, counted and named.

    Raises:
        DataError: a photo cannot be read and is not to be skipped.
    """
    read = [_read_town(town, spec, cache, skip_unreadable) for town in towns]
    parts = [
        _inside(town, spec, found, tile_size_m, tile_offset_share)
        for town, found in zip(towns, read, strict=True)
    ]
    rows = [row for part in parts for row in part.rows]
    return ViewPhotos(
        spec=spec,
        pixels=np.concatenate([part.pixels for part in parts]),
        town=np.repeat(np.arange(len(towns)), [len(part.rows) for part in parts]),
        xy_px=np.concatenate([part.xy_px for part in parts]),
        lon=np.array([row.lon for row in rows], np.float64),
        lat=np.array([row.lat for row in rows], np.float64),
        kind=np.array([row.kind for row in rows], np.str_),
        name=_names(towns, [part.rows for part in parts]),
        unreadable=_names(towns, [part.unreadable for part in parts]),
    )


def _names(towns: Sequence[Town], rows: Sequence[Sequence[PhotoRow]]) -> tuple[str, ...]:
    return tuple(
        f"{town.name}/{row.path.relative_to(town.folder).as_posix()}"
        for town, found in zip(towns, rows, strict=True)
        for row in found
    )


def _read_town(
    town: Town, spec: ViewSpec, cache: Path | None, skip_unreadable: bool
) -> PhotoPixels:
    photos = town.photos_of(spec.view)
    if cache is None:
        return read_photos(photos, spec, skip_unreadable=skip_unreadable)
    path = _cache_file(town, spec, cache)
    return cached_photos(photos, spec, path, skip_unreadable=skip_unreadable)


def _cache_file(town: Town, spec: ViewSpec, cache: Path) -> Path:
    table = (town.folder / PHOTO_TABLE).read_bytes()
    content = canonical_json(spec.model_dump(mode="json")).encode() + table
    content += str(town.folder.resolve()).encode()
    return cache / f"{town.name}-{spec.view}-{hashlib.sha256(content).hexdigest()[:12]}.npz"


def _inside(
    town: Town, spec: ViewSpec, read: PhotoPixels, tile_size_m: float, tile_offset_share: float
) -> _TownPhotos:
    """The photos that were read and lie far enough inside the satellite image."""
    listed = town.photos_of(spec.view)
    photos, lacking = [listed[i] for i in read.kept], set(range(len(listed))) - {*read.kept}
    unreadable = [listed[i] for i in sorted(lacking)]
    if unreadable:
        LOGGER.warning(
            "town %s: left out %d of %d %s photos, unreadable",
            town.name, len(unreadable), len(listed), spec.view,
        )  # fmt: skip
    if not photos:
        return _TownPhotos([], read.pixels, np.zeros((0, 2)), unreadable)
    xy = town.satellite.pixels_of([p.lon for p in photos], [p.lat for p in photos])
    side = tile_size_m / town.satellite.resolution_m
    moved = np.linalg.norm(town.satellite.clamp(xy, np.full(len(xy), side)) - xy, axis=1)
    kept = np.flatnonzero(moved <= tile_offset_share * side)
    if len(kept) < len(photos):
        dropped = len(photos) - len(kept)
        LOGGER.info("town %s: %d %s photos dropped at the edge", town.name, dropped, spec.view)
    return _TownPhotos([photos[i] for i in kept], read.pixels[kept], xy[kept], unreadable)
