"""Files of a data set: GeoTIFF, photos and their table, the town's description."""

import csv
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import rasterio
from rasterio import Affine

from crossfix.errors import DataError
from sample_world.camera_look import UInt8
from sample_world.cameras import Perspective
from sample_world.georeference import grid_convergence_deg, to_lonlat
from sample_world.photos import Photo, PhotoKind
from sample_world.scene import Georeference, Scene

PHOTO_COLUMNS = (
    "file",
    "view",
    "projection",
    "lat",
    "lon",
    "camera_lat",
    "camera_lon",
    "altitude_m",
    "heading_deg",
    "pitch_deg",
    "roll_deg",
    "hfov_deg",
    "sun_azimuth_deg",
    "sun_elevation_deg",
    "cloud",
    "season",
    "fog_m",
    "camera",
)
_COMPRESSION: dict[str, dict[str, object]] = {
    "jpeg": {"compress": "jpeg", "photometric": "ycbcr", "jpeg_quality": 90},
    "deflate": {"compress": "deflate", "predictor": 2},
}


@dataclass(frozen=True)
class OutputDirectory:
    """A directory that appears complete or not at all: filled under a temporary name beside it.

    Attributes:
        final: where the data set will be.
        temporary: where it is being made.
    """

    final: Path
    temporary: Path

    @classmethod
    def prepare(cls, final: Path, *, overwrite: bool) -> "OutputDirectory":
        """Make an empty temporary directory beside `final`.

        Raises:
            DataError: `final` exists and is a file, or a non-empty directory without `overwrite`.
        """
        if final.exists() and not final.is_dir():
            raise DataError(f"{final} exists and is no directory", hint="choose another --out")
        if not overwrite and final.is_dir() and any(final.iterdir()):
            raise DataError(f"{final} exists and is not empty", hint="add --overwrite or move it")
        temporary = final.parent / f".{final.name}.partial"
        if temporary.exists():
            shutil.rmtree(temporary)
        temporary.mkdir(parents=True)
        return cls(final, temporary)

    def commit(self) -> None:
        """Put the finished directory in its place; an old one goes only now."""
        if self.final.exists():
            old = self.final.parent / f".{self.final.name}.old"
            if old.exists():
                shutil.rmtree(old)
            self.final.rename(old)
            self.temporary.rename(self.final)
            shutil.rmtree(old)
        else:
            self.temporary.rename(self.final)

    def discard(self) -> None:
        """Remove the temporary directory."""
        shutil.rmtree(self.temporary, ignore_errors=True)


def write_satellite(
    path: Path,
    strips: Iterable[tuple[int, UInt8]],
    scene: Scene,
    *,
    side_px: int,
    gsd_m: float,
    compression: str,
) -> None:
    """A tiled GeoTIFF in the town's UTM zone, from (first row, pixels) strips in any order."""
    reference = scene.georeference
    north_m = reference.northing_m + scene.size_m
    profile = {
        "driver": "GTiff",
        "width": side_px,
        "height": side_px,
        "count": 3,
        "dtype": "uint8",
        "crs": f"EPSG:{reference.epsg}",
        "transform": Affine(gsd_m, 0.0, reference.easting_m, 0.0, -gsd_m, north_m),
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        **_COMPRESSION[compression],
    }
    with rasterio.open(path, "w", **profile) as target:
        target.update_tags(SOURCE="synthetic town", SEED=str(scene.seed), STYLE=scene.style)
        for first_row, pixels in strips:
            window = rasterio.windows.Window(0, first_row, side_px, len(pixels))
            target.write(pixels.transpose(2, 0, 1), window=window)


def photo_row(photo: Photo, reference: Georeference) -> dict[str, str]:
    """The photo's line of `photos.csv`; headings and the sun's azimuth are true, not grid."""
    camera, light = photo.camera, photo.light
    camera_xy = camera.position[0], camera.position[1]
    lon, lat = to_lonlat(reference, *photo.truth_xy)
    camera_lon, camera_lat = to_lonlat(reference, *camera_xy)
    convergence_deg = float(grid_convergence_deg(reference, *camera_xy))
    is_perspective = isinstance(camera, Perspective)
    return {
        "file": photo.file,
        "view": "drone" if photo.kind is PhotoKind.DRONE else "ground",
        "projection": "perspective" if is_perspective else "equirectangular",
        "lat": f"{lat:.8f}",
        "lon": f"{lon:.8f}",
        "camera_lat": f"{camera_lat:.8f}",
        "camera_lon": f"{camera_lon:.8f}",
        "altitude_m": f"{photo.altitude_m:.2f}",
        "heading_deg": _azimuth(camera.heading_deg + convergence_deg),
        "pitch_deg": f"{camera.pitch_deg if isinstance(camera, Perspective) else 0.0:.3f}",
        "roll_deg": f"{camera.roll_deg if isinstance(camera, Perspective) else 0.0:.3f}",
        "hfov_deg": f"{camera.hfov_deg if isinstance(camera, Perspective) else 360.0:.3f}",
        "sun_azimuth_deg": _azimuth(light.sun_azimuth_deg + convergence_deg),
        "sun_elevation_deg": f"{light.sun_elevation_deg:.2f}",
        "cloud": f"{light.cloud:.2f}",
        "season": light.season,
        "fog_m": f"{light.fog_m:.0f}",
        "camera": photo.look.name,
    }


def _azimuth(degrees: float) -> str:
    """0 <= value < 360, also after rounding."""
    return f"{round(degrees % 360, 3) % 360:.3f}"


def write_photo_table(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    """`photos.csv`, one line per photo."""
    with path.open("w", newline="", encoding="utf-8") as target:
        table = csv.DictWriter(target, PHOTO_COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Readable JSON."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
