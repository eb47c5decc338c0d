"""How fast galleries are built: tiles/s, how busy the encoder is kept, and the memory it takes.

    python -m benchmarks.gallery_throughput --encoder encoders/demo --source a.tif --tile-size-m 96
    python -m benchmarks.gallery_throughput --encoder encoders/demo --made-up 100000

Builds into a folder that is removed afterwards; a row goes to `results/gallery_throughput.csv`.
`encoder_busy_share` is the time that the encoder's threads spent computing, over their number times
the wall time of embedding. Reading and preprocessing use the same cores.
"""

import argparse
import math
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio

from benchmarks.record import append_row
from index_builder.build import BuildReport, BuildRequest, build_gallery, load_encoder
from index_builder.recipe import GalleryRecipe
from index_builder.sources.spec import SourceSpec

MADE_UP_OVERLAP = 0.95
MADE_UP_RESOLUTION_M = 0.5


def main() -> int:
    """Builds once, prints and records."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gallery_throughput", description=__doc__
    )
    parser.add_argument("--encoder", type=Path, required=True)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--source", help="a raster, or whatever `index_builder` reads")
    what.add_argument("--made-up", type=int, metavar="TILES", help="a raster of noise instead")
    parser.add_argument("--tile-size-m", type=float, default=48.0)
    parser.add_argument("--overlap", type=float, default=0.5)
    parser.add_argument("--readers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--no-record", action="store_true", help="print only")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        row = measure(arguments, Path(scratch))
    for name, value in row.items():
        print(f"{name:24} {value}")
    if not arguments.no_record:
        print(append_row("gallery_throughput", row))
    return 0


def measure(arguments: argparse.Namespace, scratch: Path) -> dict[str, object]:
    """One build's figures."""
    source, overlap = arguments.source, arguments.overlap
    if arguments.made_up:
        source, overlap = scratch / "noise.tif", MADE_UP_OVERLAP
        write_noise(source, arguments.made_up, arguments.tile_size_m, overlap)
    request = BuildRequest(
        encoder_dir=arguments.encoder,
        recipe=GalleryRecipe(
            sources=(SourceSpec(location=str(source)),),
            tile_sizes_m=(arguments.tile_size_m,),
            overlap=overlap,
        ),
        out=scratch / "gallery",
        readers=arguments.readers,
        threads=arguments.threads,
        device=arguments.device,
        batch_size=arguments.batch_size,
    )
    encoder = load_encoder(request)
    before_mb = memory_mb("VmRSS")
    moments = {"start": time.monotonic()}
    report = build_gallery(request, step=lambda name: moments.update({name: time.monotonic()}))
    peak_mb = memory_mb("VmHWM")
    return {
        "source": "noise" if arguments.made_up else Path(arguments.source).name,
        "encoder": report.manifest.encoder_name,
        "provider": encoder.provider,
        "threads": arguments.threads or os.cpu_count(),
        "readers": arguments.readers,
        **figures(report, moments),
        "memory_before_mb": round(before_mb),
        "memory_peak_mb": round(peak_mb),
    }


def figures(report: BuildReport, moments: dict[str, float]) -> dict[str, object]:
    """What a report tells, and seconds between moments."""
    stats = report.stats
    size_mb = sum(entry.size_bytes for entry in report.manifest.files.values()) / 1e6
    return {
        "tiles": stats.tiles,
        "tiles_per_s": round(stats.tiles_per_s, 1),
        "encoder_busy_share": round(stats.encoder_busy_share, 3),
        "embedding_s": round(stats.seconds, 2),
        "assembling_s": round(moments["assembled"] - moments["embedded"], 2),
        "indexing_s": round(moments["indexed"] - moments["assembled"], 2),
        "publishing_s": round(moments["pruned"] - moments["indexed"], 2),
        "total_s": round(moments["pruned"] - moments["start"], 2),
        "gallery_mb": round(size_mb, 1),
    }


def memory_mb(field: str) -> float:
    """`VmRSS` (now) or `VmHWM` (peak) of this process."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise ValueError(f"/proc/self/status has no {field}")


def write_noise(path: Path, tiles: int, tile_size_m: float, overlap: float) -> None:
    """A raster that makes about so many tiles."""
    stride_px = tile_size_m * (1 - overlap) / MADE_UP_RESOLUTION_M
    side = math.ceil(math.sqrt(tiles) * stride_px + tile_size_m / MADE_UP_RESOLUTION_M)
    coarse = np.random.default_rng(0).integers(1, 255, (3, side // 4 + 1, side // 4 + 1), np.uint8)
    pixels = coarse.repeat(4, axis=1).repeat(4, axis=2)[:, :side, :side]
    place = rasterio.Affine(MADE_UP_RESOLUTION_M, 0, 500_000, 0, -MADE_UP_RESOLUTION_M, 5_000_000)
    with rasterio.open(
        path, "w", driver="GTiff", width=side, height=side, count=3, dtype="uint8",
        crs="EPSG:32632", transform=place, tiled=True,
    ) as raster:  # fmt: skip
        raster.write(pixels)


if __name__ == "__main__":
    sys.exit(main())
