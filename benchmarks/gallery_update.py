"""What an update costs against the share of the area that has changed, beside a full rebuild.

    python -m benchmarks.gallery_update --encoder encoders/demo --tiles 4000

A raster of noise is built, a square of it is changed, the gallery updated, and the same built from
nothing; one row for each share goes to `results/gallery_update.csv`. `unread` is an update after
which no file's time had changed: the imagery is not even read.
"""

import argparse
import math
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio

from benchmarks.gallery_throughput import write_noise
from benchmarks.record import append_row
from index_builder.build import BuildReport, BuildRequest, build_gallery
from index_builder.recipe import GalleryRecipe
from index_builder.sources.spec import SourceSpec
from index_builder.update import UpdateRequest, update_gallery

OVERLAP = 0.5
SHARES = (None, 0.0, 0.01, 0.05, 0.2, 1.0)  # None: no file has changed


def main() -> int:
    """Measures every share, prints and records."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gallery_update", description=__doc__
    )
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--tiles", type=int, default=4000)
    parser.add_argument("--tile-size-m", type=float, default=48.0)
    parser.add_argument("--no-record", action="store_true", help="print only")
    arguments = parser.parse_args()
    for number, share in enumerate(SHARES):
        with tempfile.TemporaryDirectory() as scratch:
            row = measure(arguments, Path(scratch), share, seed=number)
        print("  ".join(f"{name} {value}" for name, value in row.items()))
        if not arguments.no_record:
            path = append_row("gallery_update", row)
    if not arguments.no_record:
        print(path)
    return 0


def measure(
    arguments: argparse.Namespace, scratch: Path, share: float | None, *, seed: int
) -> dict[str, object]:
    """Builds, changes, updates, and builds the same from nothing.

    Raises:
        ValueError: the update is not what the rebuild gives.
    """
    raster, gallery = scratch / "noise.tif", scratch / "gallery"
    write_noise(raster, arguments.tiles, arguments.tile_size_m, OVERLAP)
    request = BuildRequest(
        encoder_dir=arguments.encoder,
        recipe=GalleryRecipe(
            sources=(SourceSpec(location=str(raster)),),
            tile_sizes_m=(arguments.tile_size_m,),
            overlap=OVERLAP,
        ),
        out=gallery,
    )
    build_gallery(request)
    if share is not None:
        change_square(raster, share, seed)
    update, update_s = _time_update(arguments.encoder, gallery)
    shutil.rmtree(gallery)
    started = time.monotonic()
    rebuilt = build_gallery(request)
    rebuild_s = time.monotonic() - started
    if update.manifest.content_hash != rebuilt.manifest.content_hash or update.changes is None:
        raise ValueError("the update does not equal the rebuild")
    return {
        "changed_share": "unread" if share is None else share,
        "tiles": rebuilt.manifest.tile_count,
        "embedded": update.changes.embedded,
        "reused": update.changes.reused,
        "update_s": round(update_s, 2),
        "rebuild_s": round(rebuild_s, 2),
        "ratio": round(update_s / rebuild_s, 3),
    }


def _time_update(encoder: Path, gallery: Path) -> tuple[BuildReport, float]:
    started = time.monotonic()
    report = update_gallery(UpdateRequest(encoder_dir=encoder, gallery=gallery))
    return report, time.monotonic() - started


def change_square(raster: Path, share: float, seed: int) -> None:
    """New noise in a square of so much of the area; the file's time changes in any case."""
    with rasterio.open(raster, "r+") as file:
        side = round(file.width * math.sqrt(share))
        window = rasterio.windows.Window(0, 0, max(side, 1), max(side, 1))
        pixels = file.read(window=window)
        if side:
            pixels = np.random.default_rng(seed).integers(1, 255, pixels.shape, np.uint8)
        file.write(pixels, window=window)
    raster.touch()


if __name__ == "__main__":
    sys.exit(main())
