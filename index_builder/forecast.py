"""What a build would cost, measured on a few of its own tiles."""

import time
from dataclasses import dataclass

import numpy as np

from crossfix.encoder import Encoder
from crossfix.images import Photo
from crossfix.preprocess import prepare
from index_builder.build import BuildRequest, estimate_bytes, load_encoder, plan_work
from index_builder.embedding import Work, encode_picture
from index_builder.sources.opening import close_sources
from index_builder.sources.source import TilePlan

SAMPLE_TILES = 8


@dataclass(frozen=True)
class Forecast:
    """Size and time of a build.

    Attributes:
        area_km2: covered ground, overlaps counted once.
        peak_bytes: disk space while building.
        gallery_bytes: of the finished version.
        minutes: reading and encoding one after the other, so rather too many; from a sample.
    """

    tiles: int
    area_km2: float
    peak_bytes: int
    gallery_bytes: int
    minutes: float
    sampled_tiles: int


def forecast_build(request: BuildRequest) -> Forecast:
    """Plans the build and times `SAMPLE_TILES` tiles of it.

    Raises:
        CrossfixError: as `build_gallery`, before anything is written.
    """
    request.check()
    encoder = load_encoder(request)
    work = plan_work(request, encoder)
    try:
        plans = [(part, plan) for part in work for plan in part.plans]
        picks = np.unique(np.linspace(0, len(plans) - 1, SAMPLE_TILES).astype(int))
        timed = [_time_tile(encoder, *plans[pick]) for pick in picks]
    finally:
        close_sources([part.source for part in work])
    peak = estimate_bytes(len(plans), encoder.embedding_dim)
    stride = 1 - request.recipe.overlap
    area_m2 = sum(
        (plan.size_m * (stride if plan.resolution_m is not None else 1)) ** 2 for _, plan in plans
    )
    return Forecast(
        tiles=len(plans),
        area_km2=area_m2 / 1e6,
        peak_bytes=peak,
        gallery_bytes=peak // 2,
        minutes=float(np.median(timed)) * len(plans) / 60,
        sampled_tiles=len(picks),
    )


def _time_tile(encoder: Encoder, part: Work, plan: TilePlan) -> float:
    """Seconds for the tile alone; a strip's cost is shared by the tiles of its group."""
    started = time.monotonic()
    pixels = part.source.read(plan)
    group = sum(other.group == plan.group for other in part.plans) if plan.resolution_m else 1
    read_s = (time.monotonic() - started) / group
    if pixels is None:
        return read_s
    started = time.monotonic()
    tensor = prepare(Photo.of(pixels), encoder.view("satellite")).tensor
    encode_picture(pixels)
    encoder.encode(tensor[None], "satellite")
    return read_s + time.monotonic() - started
