"""Any georeferenced raster as north-up uint8 RGB on a longitude/latitude pixel grid."""

import logging
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError  # some of GDAL's errors come as these only
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.vrt import WarpedVRT
from rasterio.warp import reproject, transform

from crossfix.errors import SourceError
from index_builder.sources.confinement import ANYWHERE, Confinement
from index_builder.sources.grid.blocks import Float64, PixelGrid
from index_builder.sources.rasters.coverage import Coverage, MaskCoverage, OutlineCoverage
from index_builder.sources.rasters.dark_parts import find_dark_parts
from index_builder.sources.rasters.footprint import Footprint, find_footprint
from index_builder.sources.rasters.raster_colours import (
    Colours,
    Stretch,
    find_colours,
    sample_values,
)
from index_builder.sources.rasters.raster_handles import HandlePool, open_raster

UInt8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]

WARP_TOLERANCE_PX = 0.02
_MOST_ENLARGED = 1.05  # an overview that has to be enlarged by a hair is as good as the next finer
_ALIKE = 1.1  # so nearly of the raster's own resolution that there is nothing to average
_LOG = logging.getLogger("index_builder")
_SENTENCES = (  # GDAL's words, and ours
    ("not recognized", "it is in no raster format that may be read here"),
    ("no such file", "there is no such file"),
    ("permission denied", "its permissions forbid it"),
)
_TIFF_DATE = re.compile(r"(\d{4}):(\d\d):(\d\d)(?: (\d\d:\d\d:\d\d))?")


@dataclass(frozen=True)
class RasterFacts:
    """What a raster says about itself, learnt once.

    Attributes:
        crs: as the file names it.
        date, copyright: from the file's tags, or empty.
        overviews: by how much each is smaller.
        unmasked: nothing marks pixels without data.
        files: the file and those that belong to it.
    """

    path: Path
    crs: str
    footprint: Footprint
    colours: Colours
    date: str
    copyright: str
    overviews: tuple[int, ...]
    unmasked: bool
    has_alpha: bool
    files: tuple[Path, ...]


def inspect_rasters(paths: Iterable[Path], within: Confinement = ANYWHERE) -> list[RasterFacts]:
    """Opens, asks and closes each.

    Args:
        within: where all that is opened must lie.

    Raises:
        SourceError: one is not a raster, has no coordinate system, bands of no use, or something
            that belongs to it lies outside.
    """
    with warnings.catch_warnings():
        # A raster without a place is refused in one sentence, below.
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        return [_inspect(path, within) for path in paths]


def _inspect(path: Path, within: Confinement) -> RasterFacts:
    with reported(path), open_raster(path, within) as source:
        tags = source.tags()
        return RasterFacts(
            path=path,
            crs=_require_crs(path, source),
            footprint=find_footprint(source),
            colours=find_colours(path, source),
            date=_iso_date(str(tags.get("TIFFTAG_DATETIME", ""))),
            copyright=str(tags.get("TIFFTAG_COPYRIGHT", "")).strip(),
            overviews=tuple(source.overviews(1)),
            unmasked=all(MaskFlags.all_valid in flags for flags in source.mask_flag_enums),
            has_alpha=ColorInterp.alpha in source.colorinterp,
            files=tuple(_all_files(source.files, within)),
        )


def _all_files(names: Iterable[str], within: Confinement) -> dict[Path, None]:
    """Files and what they refer to in turn: GDAL names only the next level of nested VRTs."""
    found: dict[Path, None] = {}
    waiting = [Path(name) for name in names]
    while waiting:
        file = waiting.pop(0)
        if file in found:
            continue
        found[file] = None
        if file.suffix.lower() == ".vrt" and len(found) > 1 and file.is_file():
            with open_raster(file, within) as inner:
                waiting += [Path(name) for name in inner.files]
    return found


class Raster:
    """A raster that is read; `read` may be called from several threads."""

    def __init__(self, facts: RasterFacts, handles: HandlePool) -> None:
        self.facts = facts
        self._handles = handles

    def sample(self, *, max_px: int) -> Float64:
        """Values for a stretch; see `sample_values`."""
        with reported(self.facts.path), self._handles.borrow(self.facts.path) as source:
            return sample_values(source, self.facts.colours.bands, max_px=max_px)

    def read(
        self, grid: PixelGrid, stretch: Stretch | None, *, keep_specks: bool = False
    ) -> tuple[UInt8, Bool]:
        """Pixels (height, width, 3) uint8 and whether each holds data, (height, width).

        The grid counts longitudes as the footprint's `system` does. Shrinking averages over all
        source pixels, so fine detail does not alias. For `keep_specks` see `find_dark_parts`.

        Raises:
            SourceError: the file is damaged.
        """
        facts, colours = self.facts, self.facts.colours
        level, shrink = self._choose_level(self._shrink(grid))
        with (
            reported(facts.path),
            self._handles.borrow(facts.path, level) as source,
            self._warped(source, grid, shrink) as warped,
        ):
            values = warped.read([*colours.bands, warped.colorinterp.index(ColorInterp.alpha) + 1])
        valid = values[-1] > 0
        if values.dtype.kind == "f":
            valid &= np.isfinite(values[:-1]).all(axis=0)
        pixels = colours.to_rgb(values[:-1], stretch)
        if facts.unmasked and not colours.needs_stretch:
            planes = values[:-1] if colours.palette is None else np.moveaxis(pixels, 2, 0)
            valid &= ~find_dark_parts(planes.max(axis=0), ~valid, keep_specks=keep_specks)
        return pixels, valid

    def _shrink(self, grid: PixelGrid) -> Float64:
        """Source columns and rows along one pixel of the grid, in the grid's middle: (2,)."""
        footprint = self.facts.footprint
        lon = (grid.west + grid.east) / 2 + np.array([0, grid.pixel_lon, 0])
        lat = (grid.north + grid.south) / 2 + np.array([0, 0, grid.pixel_lat])
        with self._handles.borrow(self.facts.path) as source:
            places = np.array(transform(footprint.system, source.crs, lon, lat))
            a, b, _, d, e, _ = tuple(source.transform)[:6]
        steps = np.linalg.solve(np.array([[a, b], [d, e]]), places[:, 1:] - places[:, :1])
        shrink: Float64 = np.hypot(steps[:, 0], steps[:, 1])
        if not (np.isfinite(shrink).all() and (shrink > 0).all()):
            shrink = np.full(2, grid.pixel_lat * 111_195 / footprint.resolution_m)
        return shrink

    def _choose_level(self, shrink: Float64) -> tuple[int | None, Float64]:
        """The overview to read, if any, and what is left to shrink."""
        factors = self.facts.overviews
        most = shrink.min() * _MOST_ENLARGED
        fitting = [level for level, factor in enumerate(factors) if factor <= most]
        if not fitting:
            return None, shrink
        return fitting[-1], shrink / factors[fitting[-1]]

    def _warped(self, source: Any, grid: PixelGrid, shrink: Float64) -> Any:  # noqa: ANN401
        alike = shrink.max() <= _ALIKE
        smooth = Resampling.cubic if alike else Resampling.bilinear
        # XSCALE and YSCALE: GDAL guesses the ratio from the overlapping part only, which is wrong
        # where a grid reaches over the raster's edge.
        across, down = (1.0, 1.0) if alike else np.minimum(1.0, 1 / shrink)
        return WarpedVRT(
            source,
            crs=self.facts.footprint.system,
            transform=grid.affine,
            width=grid.width_px,
            height=grid.height_px,
            resampling=Resampling.nearest if self.facts.colours.palette is not None else smooth,
            add_alpha=not self.facts.has_alpha,
            tolerance=WARP_TOLERANCE_PX,
            XSCALE=f"{across:.6f}",
            YSCALE=f"{down:.6f}",
        )

    def coverage(self, *, max_px: int) -> Coverage:
        """Where it holds data, coarsely: `max_px` on a side."""
        footprint = self.facts.footprint
        if self.facts.unmasked:
            return OutlineCoverage(footprint)
        extent, shift = footprint.extent, footprint.lon_origin
        grid = PixelGrid(
            west=extent.west - shift,
            north=extent.north,
            pixel_lon=(extent.east - extent.west) / max_px,
            pixel_lat=(extent.north - extent.south) / max_px,
            width_px=max_px,
            height_px=max_px,
        )
        with reported(self.facts.path), self._handles.borrow(self.facts.path) as source:
            covered = _warp_mask(source, footprint, grid, max_px)
        return MaskCoverage(covered, grid, shift=shift)


def _warp_mask(
    source: Any,  # noqa: ANN401
    footprint: Footprint,
    grid: PixelGrid,
    max_px: int,
) -> NDArray[np.float32]:
    reduce = max(1.0, max(source.shape) / max_px)
    shape = tuple(max(1, round(side / reduce)) for side in source.shape)
    mask = (source.dataset_mask(out_shape=shape) > 0).astype(np.float32)
    wide, high = source.width / shape[1], source.height / shape[0]
    a, b, c, d, e, f = tuple(source.transform)[:6]
    covered = np.zeros((grid.height_px, grid.width_px), np.float32)
    reproject(
        mask,
        covered,
        src_transform=rasterio.Affine(a * wide, b * high, c, d * wide, e * high, f),
        src_crs=source.crs,
        dst_transform=grid.affine,
        dst_crs=footprint.system,
        resampling=Resampling.average,
    )
    return covered


@contextmanager
def reported(path: Path) -> Iterator[None]:
    """GDAL's many exceptions as one `SourceError` that names the file."""
    try:
        yield
    except (rasterio.errors.RasterioError, CPLE_BaseError, OSError) as problem:
        words = _first_line(problem)
        _LOG.warning("GDAL on %s: %s", path, words)
        raise SourceError(
            f"raster {path} cannot be read: {_explain(words)}",
            hint="check it with gdalinfo; where folders are confined, only formats that hold "
            "their own pixels are read, such as GeoTIFF, JPEG 2000, PNG and JPEG",
        ) from problem


def _first_line(problem: BaseException) -> str:
    cause = problem
    while cause.__cause__ is not None:  # rasterio's own words often only point to GDAL's
        cause = cause.__cause__
    return (str(cause) or str(problem) or type(problem).__name__).strip().splitlines()[0]


def _explain(words: str) -> str:
    """Our own sentence: GDAL's may quote what a file holds, and where others lie."""
    told = words.lower()
    return next((ours for theirs, ours in _SENTENCES if theirs in told), "its data is damaged")


def _require_crs(path: Path, source: Any) -> str:  # noqa: ANN401
    if source.crs is None or source.transform.is_identity:
        raise SourceError(
            f"raster {path} has no coordinate reference system or no geotransform",
            hint="georeference it first, for example with gdal_translate -a_srs, or gdalwarp "
            "where it only has control points",
        )
    authority = source.crs.to_authority()
    return ":".join(authority) if authority else str(source.crs.to_wkt())


def _iso_date(tag: str) -> str:
    """TIFF's `2020:05:31 12:00:00` as ISO 8601; anything else as it is."""
    found = _TIFF_DATE.fullmatch(tag.strip())
    if not found:
        return tag.strip()
    year, month, day, time = found.groups()
    return f"{year}-{month}-{day}" + (f"T{time}" if time and time != "00:00:00" else "")
