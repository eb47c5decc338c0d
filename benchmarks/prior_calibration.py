"""Is confidence honest when a geographic prior is given? It was calibrated without any.

As `benchmarks.unseen_towns`, but every photo is asked inside discs of several radii whose centres
are drawn so that the truth lies anywhere in the disc with equal probability; and once more in the
gallery of another town, where the prior is wrong and an honest answer refuses. Rows per view and
radius go to `results/prior_calibration.csv`.
"""

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.record import ROOT, append_row
from benchmarks.unseen_towns import build, embed
from crossfix.encoder import Encoder
from crossfix.estimate import CANDIDATES
from crossfix.gallery import Gallery
from crossfix.geodesy import LonLat, distance_m
from crossfix.metrics import expected_calibration_error
from crossfix.prior import Disc
from demo.answer import TruePhoto, read_photos
from service.galleries.snapshot_loading import Snapshot
from service.localizer import estimate_place

METRES_PER_DEG = 111_320.0


@dataclass(frozen=True)
class Asked:
    """One photo in one disc; `right`: the true place lies within the stated radius."""

    tiles: int
    confidence: float
    refused: bool
    right: bool


def main() -> int:
    """Measures all towns given."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.prior_calibration", description=__doc__
    )
    parser.add_argument("towns", type=Path, nargs="+", help="rendered town folders, two or more")
    parser.add_argument("--encoder", type=Path, default=ROOT / "encoders" / "demo")
    parser.add_argument("--tile-size-m", type=float, default=96.0)
    parser.add_argument("--radius-m", type=float, nargs="+", default=[1000.0, 500.0, 250.0, 150.0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-record", action="store_true", help="print only")
    options = parser.parse_args()
    encoder = Encoder.load(options.encoder, device="cpu", threads=2)
    photos = {town: read_photos(town) for town in options.towns}
    embeddings = {town: embed(encoder, of_town) for town, of_town in photos.items()}
    galleries = {town: build(options.encoder, town, options.tile_size_m) for town in options.towns}
    for kind in ("panorama", "drone"):
        for radius_m in options.radius_m:
            rng = np.random.default_rng(options.seed)
            inside: list[Asked] = []
            outside: list[Asked] = []
            for number, town in enumerate(options.towns):
                other = options.towns[(number + 1) % len(options.towns)]
                for true_town, asked in ((town, inside), (other, outside)):
                    of_kind = [i for i, one in enumerate(photos[true_town]) if one.kind == kind]
                    asked += ask(
                        Snapshot(encoder=encoder, gallery=galleries[town], version=""),
                        [photos[true_town][i] for i in of_kind],
                        embeddings[true_town][of_kind],
                        radius_m=radius_m,
                        rng=rng,
                        is_true=true_town is town,
                    )
            row = summarise(kind, radius_m, inside, outside)
            print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
            if not options.no_record:
                append_row("prior_calibration", row)
    return 0


def ask(
    snapshot: Snapshot,
    photos: Sequence[TruePhoto],
    embeddings: NDArray[np.float32],
    *,
    radius_m: float,
    rng: np.random.Generator,
    is_true: bool,
) -> list[Asked]:
    """Every photo in a disc that holds its place, or, of another town, any place of this one."""
    answers = []
    for photo, embedding, disc in zip(
        photos, embeddings, _discs(snapshot.gallery, photos, radius_m, rng, is_true), strict=True
    ):
        found = snapshot.gallery.search(embedding[None], CANDIDATES, prior=disc)
        place = estimate_place(snapshot, found, photo.view)
        if place is None:
            raise SystemExit(f"the encoder is not calibrated for {photo.view} photos")
        off_m = float(distance_m(place.lon, place.lat, photo.lon, photo.lat))
        answers.append(
            Asked(found.rows.shape[1], place.confidence, place.refused, off_m <= place.radius_m)
        )
    return answers


def _discs(
    gallery: Gallery,
    photos: Sequence[TruePhoto],
    radius_m: float,
    rng: np.random.Generator,
    is_true: bool,
) -> Iterator[Disc]:
    tiles = gallery.tiles
    for photo in photos:
        anywhere = int(rng.integers(len(gallery)))
        lon = photo.lon if is_true else float(tiles.lon[anywhere])
        lat = photo.lat if is_true else float(tiles.lat[anywhere])
        angle, off_m = rng.uniform(0, 2 * math.pi), radius_m * math.sqrt(rng.uniform())
        north_m, east_m = off_m * math.cos(angle), off_m * math.sin(angle)
        yield Disc(
            centre=LonLat(
                lon=lon + east_m / METRES_PER_DEG / math.cos(math.radians(lat)),
                lat=lat + north_m / METRES_PER_DEG,
            ),
            radius_m=1.01 * radius_m,  # a degree is not everywhere as long as here
        )


def summarise(
    kind: str, radius_m: float, inside: Sequence[Asked], outside: Sequence[Asked]
) -> dict[str, object]:
    """One row."""
    answered = [one for one in inside if not one.refused]
    confidence = [one.confidence for one in inside]
    right = [one.right for one in inside]
    return {
        "kind": kind,
        "radius_m": radius_m,
        "queries": len(inside),
        "candidates": round(float(np.mean([one.tiles for one in inside])), 1),
        "mean_confidence": round(float(np.mean(confidence)), 3),
        "within_radius": round(float(np.mean(right)), 3),
        "calibration_error": round(expected_calibration_error(confidence, right), 3),
        "answered": round(len(answered) / len(inside), 3),
        "confidence_answered": _mean([one.confidence for one in answered]),
        "answered_within_radius": _mean([one.right for one in answered]),
        "refused_where_prior_is_wrong": round(float(np.mean([one.refused for one in outside])), 3),
    }


def _mean(values: Sequence[float]) -> float | str:
    return round(float(np.mean(values)), 3) if values else ""


if __name__ == "__main__":
    sys.exit(main())
