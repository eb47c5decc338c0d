"""Is confidence honest when a geographic prior is given? It was calibrated without any.

As `benchmarks.unseen_towns`, but every photo is asked inside discs of several radii whose centres
are drawn so that the truth lies anywhere in the disc with equal probability. Then with priors that
are wrong, where an honest answer would refuse: a disc elsewhere in the right town, and one in
another town. Rows per view and radius go to `results/prior_calibration.csv`.
"""

import argparse
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.record import ROOT, append_row
from benchmarks.unseen_towns import build, embed
from crossfix.encoder import Encoder
from crossfix.estimate import CANDIDATES
from crossfix.geodesy import LonLat, distance_m
from crossfix.metrics import expected_calibration_error
from crossfix.prior import Disc
from crossfix.tile_table import TileTable
from demo.answer import TruePhoto, read_photos
from service.galleries.one_piece import OnePiece
from service.galleries.snapshot_loading import Snapshot
from service.localizer import estimate_place

METRES_PER_DEG = 111_320.0
Truth = Literal["inside", "wrong_place", "other_town"]
TRUTHS: tuple[Truth, ...] = ("inside", "wrong_place", "other_town")


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
    parser.add_argument("--radius-m", type=float, nargs="+", default=[500.0, 250.0, 150.0, 80.0])
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
            asked: dict[Truth, list[Asked]] = {truth: [] for truth in TRUTHS}
            for number, town in enumerate(options.towns):
                other = options.towns[(number + 1) % len(options.towns)]
                for truth in TRUTHS:
                    origin = other if truth == "other_town" else town
                    of_kind = [i for i, one in enumerate(photos[origin]) if one.kind == kind]
                    asked[truth] += ask(
                        Snapshot(encoder, OnePiece(galleries[town]), version=""),
                        [photos[origin][i] for i in of_kind],
                        embeddings[origin][of_kind],
                        radius_m=radius_m,
                        rng=rng,
                        truth=truth,
                    )
            row = summarise(kind, radius_m, asked)
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
    truth: Truth,
) -> list[Asked]:
    """Every photo in a disc that holds its place, or that does not."""
    answers, gallery = [], snapshot.gallery
    assert isinstance(gallery, OnePiece)
    for photo, embedding, disc in zip(
        photos, embeddings, _discs(gallery.tiles, photos, radius_m, rng, truth), strict=True
    ):
        found = gallery.search(embedding[None], CANDIDATES, prior=disc)
        place = estimate_place(snapshot, found, photo.view)
        if place is None:
            raise SystemExit(f"the encoder is not calibrated for {photo.view} photos")
        off_m = float(distance_m(place.lon, place.lat, photo.lon, photo.lat))
        answers.append(
            Asked(found.rows.shape[1], place.confidence, place.refused, off_m <= place.radius_m)
        )
    return answers


def _discs(
    tiles: TileTable,
    photos: Sequence[TruePhoto],
    radius_m: float,
    rng: np.random.Generator,
    truth: Truth,
) -> Iterator[Disc]:
    for photo in photos:
        lon, lat = photo.lon, photo.lat
        if truth != "inside":
            apart_m = distance_m(tiles.lon, tiles.lat, lon, lat)
            wrong = int(
                rng.choice(np.flatnonzero(apart_m > min(apart_m.max() - 1, 2.5 * radius_m)))
            )
            lon, lat = float(tiles.lon[wrong]), float(tiles.lat[wrong])
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
    kind: str, radius_m: float, asked: Mapping[Truth, Sequence[Asked]]
) -> dict[str, object]:
    """One row."""
    inside = asked["inside"]
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
        **{
            f"refused_{truth}": round(float(np.mean([one.refused for one in asked[truth]])), 3)
            for truth in TRUTHS[1:]
        },
    }


def _mean(values: Sequence[float]) -> float | str:
    return round(float(np.mean(values)), 3) if values else ""


if __name__ == "__main__":
    sys.exit(main())
