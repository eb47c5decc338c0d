"""What is asked about a photo, and what was found."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossfix.estimate import LocationEstimate
from crossfix.prior import Prior
from crossfix.tile_table import TileTable
from crossfix.view import ViewName
from service.galleries.served import Reach
from service.galleries.snapshot import Snapshot

Float32 = NDArray[np.float32]
Span = tuple[str, float, float]

STAGES = ("decode", "queue", "encode", "search", "estimate")


@dataclass(frozen=True)
class PhotoQuery:
    """One photo and what is known about it."""

    data: bytes
    view: ViewName
    k: int
    prior: Prior | None = None
    heading_deg: float | None = None
    hfov_deg: float | None = None


@dataclass(frozen=True)
class Localization:
    """Ranked gallery tiles and the estimate.

    Attributes:
        rows: (k',) of the gallery.
        tiles: a table that holds the ranked tiles, and perhaps more.
        at, scores: (k',) rows of `tiles` and their scores, best first.
        reach: which shards were asked, and which answered.
        estimate: None when the encoder has no calibration for the view.
        margin: the best score less the second's, whatever k is; None with one tile in reach.
        stage_s: seconds per stage of `STAGES`; preprocessing counts as encode.
        timeline: (name, start, end) of everything that happened, in order and without gaps, in
            seconds of `time.monotonic`: decode_queue, decode, prepare, encode_queue, encode,
            search_queue, search, estimate. On a CPU one worker does all of it, so there is only
            one wait: encode_queue, which comes first.
        photo_format: as Pillow names it.
        photo_px: pixels of the whole photo, however small it was decoded.
    """

    snapshot: Snapshot
    rows: NDArray[np.int64]
    tiles: TileTable
    at: NDArray[np.int64]
    scores: Float32
    margin: float | None
    estimate: LocationEstimate | None
    reach: Reach
    warnings: tuple[str, ...]
    stage_s: dict[str, float]
    timeline: tuple[Span, ...]
    photo_format: str
    photo_px: int
