"""Is confidence honest when a shard of the gallery is lost?

Each rendered town's gallery is built in shards; every photo is asked of all of them, then with each
shard lost in turn, without a prior and inside discs that hold the true place anywhere with equal
probability. As when confidence was calibrated, as many photos of another town are asked, which no
answer is right for. Rows per kind of photo and radius, for whole and for partial answers, go to
`results/partial_answers.csv`.
"""

import argparse
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.record import ROOT, append_row
from benchmarks.unseen_towns import embed
from crossfix.encoder import Encoder
from crossfix.errors import PriorOutsideGallery
from crossfix.estimate import CANDIDATES
from crossfix.geodesy import LocalFrame, LonLat, distance_m
from crossfix.metrics import expected_calibration_error
from crossfix.prior import Disc, Prior
from crossfix.sharded_gallery import ShardedGallery
from crossfix.sharded_gallery_manifest import read_epoch
from demo.answer import TruePhoto, read_photos
from service.errors import ShardsLost
from service.galleries.shards.callers import Calls, Told
from service.galleries.shards.shard import OpenShard, ShardFacts
from service.galleries.shards.sharded import ShardedServed
from service.galleries.snapshot_loading import Snapshot
from service.localizer import estimate_place

Float32 = NDArray[np.float32]
KINDS = ("panorama", "drone")
OVERLAP = 0.5
RECTANGLES = 50
BINS = 5


@dataclass(frozen=True)
class Asked:
    """One answer.

    Attributes:
        lost: which shard was; None for none.
        share: of the tiles that had to be looked at, as the service took it.
        in_full: the same share, were all tiles of the lost shard taken to lie in the prior.
        right: the true place lies within the stated radius.
    """

    lost: int | None
    is_partial: bool
    share: float
    in_full: float
    confidence: float
    refused: bool
    right: bool


class LosingShards:
    """A `ShardCaller` of shards in this thread, one of which does not answer.

    Attributes:
        lost: set by the benchmark.
        facts: of all, also of the lost one: it was open once.
    """

    def __init__(self, root: Path) -> None:
        with ShardedGallery.open(root, strict=True) as gallery:
            self._shards = {
                number: OpenShard(shard, rectangles=RECTANGLES)
                for number, shard in gallery.shards.items()
            }
        self.facts: Mapping[int, ShardFacts] = {
            number: shard.facts for number, shard in self._shards.items()
        }
        self.lost: dict[int, str] = {}

    def ask(self, method: str, calls: Calls, *, timeout_s: float | None = None) -> Told:  # noqa: ARG002
        """One after the other."""
        answers = {
            number: getattr(self._shards[number], method)(*arguments)
            for number, arguments in calls.items()
            if number not in self.lost
        }
        return Told(answers, {n: why for n, why in self.lost.items() if n in calls})

    def close(self) -> None:
        """Nothing to do."""


@dataclass(frozen=True)
class Town:
    """A town's photos and its gallery in shards."""

    photos: list[TruePhoto]
    embeddings: Float32
    snapshot: Snapshot
    gallery: ShardedServed
    shards: LosingShards


def main() -> int:
    """Measures all towns given."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.partial_answers", description=__doc__
    )
    parser.add_argument("towns", type=Path, nargs="+", help="rendered town folders, two or more")
    parser.add_argument("--encoder", type=Path, default=ROOT / "encoders" / "demo")
    parser.add_argument("--tile-size-m", type=float, default=96.0)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--radius-m", type=float, nargs="+", default=[300.0, 150.0, 80.0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-record", action="store_true", help="print only")
    options = parser.parse_args()
    encoder = Encoder.load(options.encoder, device="cpu", threads=2)
    with tempfile.TemporaryDirectory() as scratch:
        towns = [
            open_town(encoder, town, Path(scratch) / f"{number}", options)
            for number, town in enumerate(options.towns)
        ]
        for kind in KINDS:
            for radius_m in (None, *options.radius_m):
                rng = np.random.default_rng(options.seed)
                asked = list(ask_all(towns, kind, radius_m, rng))
                for row in summarise(asked):
                    row = {"kind": kind, "radius_m": radius_m or "", "shards": options.shards} | row
                    print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
                    if not options.no_record:
                        append_row("partial_answers", row)
        for one in towns:
            one.gallery.close()
    return 0


def open_town(encoder: Encoder, folder: Path, root: Path, options: argparse.Namespace) -> Town:
    """Builds the town's gallery in shards, as a user does, and opens it as the service does."""
    words = {"--encoder": options.encoder, "--source": folder / "satellite.tif", "--out": root,
             "--tile-size-m": options.tile_size_m, "--overlap": OVERLAP,
             "--shards": options.shards}  # fmt: skip
    flags = [str(word) for pair in words.items() for word in pair]
    command = [sys.executable, "-m", "index_builder", "build", *flags]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    epoch = read_epoch(root)
    shards = LosingShards(root)
    gallery = ShardedServed(epoch, shards)
    photos = [one for one in read_photos(folder) if one.kind in KINDS]
    snapshot = Snapshot(encoder, gallery, version=epoch.epoch)
    return Town(photos, embed(encoder, photos), snapshot, gallery, shards)


def ask_all(
    towns: Sequence[Town], kind: str, radius_m: float | None, rng: np.random.Generator
) -> Iterator[Asked]:
    """Every photo of this kind, in its own town and in the next one's."""
    for number, town in enumerate(towns):
        for origin in (town, towns[(number + 1) % len(towns)]):
            for photo, embedding in zip(origin.photos, origin.embeddings, strict=True):
                if photo.kind == kind:
                    place = (photo.lon, photo.lat) if origin is town else _any_place(town, rng)
                    prior = radius_m and _disc(*place, radius_m, rng)
                    yield from ask(town, photo, embedding, prior or None, inside=origin is town)


def ask(
    town: Town, photo: TruePhoto, embedding: Float32, prior: Prior | None, *, inside: bool
) -> Iterator[Asked]:
    """One photo of all shards, then with each one lost that the prior touches."""
    for lost in (None, *range(town.gallery.shards_total)):
        town.shards.lost = {} if lost is None else {lost: "lost on purpose"}
        try:
            found = town.gallery.search(embedding[None], CANDIDATES, prior=prior)
        except (PriorOutsideGallery, ShardsLost):
            continue
        place = estimate_place(town.snapshot, found, photo.view)
        if place is None:
            raise SystemExit(f"the encoder is not calibrated for {photo.view} photos")
        off_m = float(distance_m(place.lon, place.lat, photo.lon, photo.lat))
        yield Asked(
            lost=lost,
            is_partial=found.reach.shards_missing > 0,
            share=found.reach.tiles_share,
            in_full=_in_full(town, lost, prior),
            confidence=place.confidence,
            refused=place.refused,
            right=inside and off_m <= place.radius_m,
        )
    town.shards.lost = {}


def summarise(asked: Sequence[Asked]) -> Iterator[dict[str, object]]:
    """A row of whole answers and one of partial ones.

    Answers of a prior that does not touch the lost shard are whole: they are only counted.
    """
    untouched = [one for one in asked if one.lost is not None and not one.is_partial]
    lost = [one for one in asked if one.lost is not None]
    for name, some in (
        ("whole", [one for one in asked if one.lost is None]),
        ("partial", [one for one in asked if one.is_partial]),
    ):
        stated = np.array([one.confidence for one in some])
        right = np.array([one.right for one in some])
        share, in_full = np.array([(one.share, one.in_full) for one in some]).T
        answered = np.array([not one.refused for one in some])
        yield {
            "answers": name,
            "queries": len(some),
            "untouched": round(len(untouched) / len(lost), 3) if name == "partial" else "",
            "tiles_share": round(float(share.mean()), 3),
            "mean_confidence": round(float(stated.mean()), 3),
            "within_radius": round(float(right.mean()), 3),
            "calibration_error": _error(stated, right),
            "error_if_not_lowered": _error(stated / share, right),
            "error_if_lost_in_full": _error(stated / share * in_full, right),
            "answered": round(float(answered.mean()), 3),
            "answered_within_radius": _mean(right[answered]),
            "reliability": _reliability(stated, right),
        }


def _disc(lon: float, lat: float, radius_m: float, rng: np.random.Generator) -> Disc:
    """Holds the place, anywhere in it with equal probability."""
    angle, off_m = rng.uniform(0, 2 * math.pi), radius_m * math.sqrt(rng.uniform())
    centre_lon, centre_lat = LocalFrame(LonLat(lon, lat)).to_lonlat(
        off_m * math.sin(angle), off_m * math.cos(angle)
    )
    return Disc(LonLat(float(centre_lon), float(centre_lat)), 1.001 * radius_m)


def _any_place(town: Town, rng: np.random.Generator) -> tuple[float, float]:
    bounds = town.gallery.manifest.bounds
    return rng.uniform(bounds.west, bounds.east), rng.uniform(bounds.south, bounds.north)


def _in_full(town: Town, lost: int | None, prior: Prior | None) -> float:
    if lost is None:
        return 1.0
    counts = [shard.tile_count for shard in town.gallery.epoch.shards]
    seen = [
        facts.sketch.count_inside(prior) if prior else counts[number]
        for number, facts in town.shards.facts.items()
        if number != lost
    ]
    return sum(seen) / (sum(seen) + counts[lost])


def _error(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    return round(expected_calibration_error(confidence, right), 3)


def _mean(values: NDArray[np.bool_]) -> float | str:
    return round(float(values.mean()), 3) if len(values) else ""


def _reliability(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> str:
    """Per fifth of the confidence: its mean, how many were right, and how many there are."""
    place = np.clip((confidence * BINS).astype(int), 0, BINS - 1)
    parts = []
    for number in range(BINS):
        chosen = place == number
        if chosen.any():
            told = f"{confidence[chosen].mean():.2f}:{right[chosen].mean():.2f}"
            parts.append(f"{told} of {chosen.sum()}")
    return "; ".join(parts)


if __name__ == "__main__":
    sys.exit(main())
