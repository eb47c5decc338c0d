"""A town's whole data set: satellite image, photos, table, description."""

import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from sample_world.farm import run_all
from sample_world.georeference import to_lonlat
from sample_world.photos import (
    Photo,
    PhotoKind,
    PhotoSettings,
    photo_rng,
    plan_photo,
    render_photo,
)
from sample_world.placement import Placement
from sample_world.satellite import SatelliteScene, plan_satellite, render_strip
from sample_world.scene import Scene
from sample_world.shader import Shader
from sample_world.writer import (
    OutputDirectory,
    photo_row,
    write_json,
    write_photo_table,
    write_satellite,
)

_log = logging.getLogger(__name__)
_FORMAT_VERSION = 1


@dataclass(frozen=True)
class DatasetPlan:
    """What to render.

    Attributes:
        photo_counts: how many of each kind.
        gsd_m: of the satellite image, metres to the pixel.
        satellite_compression: `jpeg` or `deflate`.
        workers: processes.
    """

    photo_counts: dict[PhotoKind, int]
    photos: PhotoSettings
    gsd_m: float = 0.5
    satellite_compression: str = "jpeg"
    workers: int = 2


def render_dataset(scene: Scene, plan: DatasetPlan, out: Path, *, overwrite: bool = False) -> None:
    """Render everything into `out`, which appears only when it is complete.

    Raises:
        DataError: `out` is in the way, or the town has no place to take photos from.
    """
    output = OutputDirectory.prepare(out, overwrite=overwrite)
    try:
        satellite = _render_satellite(scene, plan, output.temporary)
        rows = _render_photos(scene, plan, output.temporary)
        write_photo_table(output.temporary / "photos.csv", rows)
        write_json(output.temporary / "town.json", _describe(scene, plan, satellite))
        output.commit()
    except BaseException:
        output.discard()
        raise


def _render_satellite(scene: Scene, plan: DatasetPlan, directory: Path) -> SatelliteScene:
    started = time.monotonic()
    shader = Shader(scene, scene.satellite_cars)
    satellite = plan_satellite(scene, gsd_m=plan.gsd_m, top_z_m=shader.top_z_m)
    strips = satellite.strips
    pictures = run_all(
        lambda index: render_strip(shader, satellite, strips[index], plan.photos.supersample),
        range(len(strips)),
        workers=plan.workers,
        label="satellite",
    )
    side_px = satellite.camera.width_px
    write_satellite(
        directory / "satellite.tif",
        ((strip.start, pixels) for strip, pixels in zip(strips, pictures, strict=True)),
        scene,
        side_px=side_px,
        gsd_m=plan.gsd_m,
        compression=plan.satellite_compression,
    )
    _log_speed("satellite", (side_px * plan.photos.supersample) ** 2, started)
    return satellite


def _render_photos(scene: Scene, plan: DatasetPlan, directory: Path) -> list[dict[str, str]]:
    shader = Shader(scene, scene.photo_cars)
    placement = Placement(shader)

    def take(task: tuple[PhotoKind, int]) -> tuple[Photo, bytes]:
        rng = photo_rng(scene.seed, *task)
        photo = plan_photo(placement, *task, plan.photos, rng)
        return photo, render_photo(shader, photo, plan.photos, rng)

    rows = []
    for kind, count in plan.photo_counts.items():
        (directory / kind.folder).mkdir()
        started, rays = time.monotonic(), 0
        tasks = [(kind, index) for index in range(count)]
        for photo, jpeg in run_all(take, tasks, workers=plan.workers, label=kind.name.lower()):
            (directory / photo.file).write_bytes(jpeg)
            rows.append(photo_row(photo, scene.georeference))
            rays += photo.camera.width_px * photo.camera.height_px * plan.photos.supersample**2
        _log_speed(kind.name.lower(), rays, started)
    return rows


def _log_speed(what: str, rays: int, started: float) -> None:
    seconds = time.monotonic() - started
    _log.info("%s: %.1f s, %.0f thousand rays/s", what, seconds, rays / max(seconds, 1e-9) / 1e3)


def _describe(scene: Scene, plan: DatasetPlan, satellite: SatelliteScene) -> dict[str, object]:
    """`town.json`: what was rendered, where it is, and how the satellite saw it."""
    side = scene.size_m
    corners = [
        to_lonlat(scene.georeference, x, y)
        for x, y in ((0.0, 0.0), (side, 0.0), (side, side), (0.0, side))
    ]
    return {
        "format_version": _FORMAT_VERSION,
        "seed": scene.seed,
        "style": scene.style,
        "size_m": side,
        "georeference": asdict(scene.georeference),
        "corners_lon_lat": [[float(lon), float(lat)] for lon, lat in corners],
        "photo_counts": {kind.name.lower(): n for kind, n in plan.photo_counts.items()},
        "photo_settings": asdict(plan.photos),
        "satellite": {
            "file": "satellite.tif",
            "gsd_m": plan.gsd_m,
            "lean_east_north": list(satellite.camera.lean),
            "light": satellite.light.as_conditions(),
            "look": satellite.look.as_conditions(),
        },
    }
