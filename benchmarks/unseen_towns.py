"""The encoder on rendered towns it was never trained or calibrated on, through the artifacts.

Each town's gallery is built with `index_builder build`; every photo goes decode -> encode ->
search -> estimate as in the service. As many photos of the other towns are asked too: they are
not in the gallery, and an honest answer refuses them. Rows per kind of photo, pooled over the
towns, go to `results/unseen_towns.csv`.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.gallery_build import build_gallery
from benchmarks.record import ROOT, append_row
from crossfix.encoder import Encoder
from crossfix.estimate import CANDIDATES, Candidates, LocationEstimate, estimate
from crossfix.gallery import Gallery
from crossfix.geodesy import distance_m
from crossfix.images import decode
from crossfix.metrics import (
    POSITIVE_RADIUS_SHARE,
    expected_calibration_error,
    ranks_of_first_positive,
    retrieval_report,
)
from crossfix.preprocess import prepare
from demo.answer import TruePhoto, read_photos


@dataclass(frozen=True)
class Asked:
    """One photo asked of one town's gallery; `rank` and errors only where it is of that town."""

    kind: str
    inside: bool
    rank: int
    top1_m: float
    estimate_m: float
    positives: int
    tiles: int
    answer: LocationEstimate


def main() -> int:
    """Measures all towns given and records one row per kind of photo."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.unseen_towns", description=__doc__)
    parser.add_argument("towns", type=Path, nargs="+", help="rendered town folders, two or more")
    parser.add_argument("--encoder", type=Path, default=ROOT / "encoders" / "demo")
    parser.add_argument("--tile-size-m", type=float, default=96.0)
    parser.add_argument("--no-record", action="store_true", help="print only")
    arguments = parser.parse_args()
    encoder = Encoder.load(arguments.encoder, device="cpu", threads=2)
    photos = {town: read_photos(town) for town in arguments.towns}
    embeddings = {town: embed(encoder, of_town) for town, of_town in photos.items()}
    asked: list[Asked] = []
    for number, town in enumerate(arguments.towns):
        gallery = build(arguments.encoder, town, arguments.tile_size_m)
        asked += ask(encoder, gallery, photos[town], embeddings[town], inside=True)
        other = arguments.towns[(number + 1) % len(arguments.towns)]
        asked += ask(encoder, gallery, photos[other], embeddings[other], inside=False)
    for kind in ("panorama", "street", "drone"):
        row = summarise(kind, len(photos), [one for one in asked if one.kind == kind])
        print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
        if not arguments.no_record:
            append_row("unseen_towns", row)
    return 0


def embed(encoder: Encoder, photos: Sequence[TruePhoto]) -> NDArray[np.float32]:
    """(N, D) embeddings of photos, each preprocessed with its compass heading if on the ground."""
    rows = []
    for photo in photos:
        known = photo.view == "ground"
        tensor = prepare(
            decode(photo.path.read_bytes()),
            encoder.view(photo.view),
            heading_deg=photo.heading_deg if known else None,
            hfov_deg=photo.hfov_deg if known else None,
        ).tensor
        rows.append(encoder.encode(tensor[None], photo.view)[0])
    return np.array(rows, np.float32)


def build(encoder: Path, town: Path, tile_size_m: float) -> Gallery:
    """The town's gallery, held in memory."""
    with tempfile.TemporaryDirectory() as scratch:
        build_gallery(encoder, town / "satellite.tif", tile_size_m, Path(scratch))
        return Gallery.open(Path(scratch))


def ask(
    encoder: Encoder,
    gallery: Gallery,
    photos: Sequence[TruePhoto],
    embeddings: NDArray[np.float32],
    *,
    inside: bool,
) -> list[Asked]:
    """Every photo's rank, errors and estimate in this gallery."""
    tiles = gallery.tiles
    lon, lat = np.array([(photo.lon, photo.lat) for photo in photos]).T
    apart_m = distance_m(lon[:, None], lat[:, None], tiles.lon[None], tiles.lat[None])
    positives = (apart_m <= POSITIVE_RADIUS_SHARE * tiles.size_m[None]) & inside
    scores = embeddings @ gallery.vectors.astype(np.float32).T
    ranks = ranks_of_first_positive(scores, positives)
    found = gallery.search(embeddings, CANDIDATES)
    answers = []
    for i, photo in enumerate(photos):
        rows = found.rows[i]
        answer = estimate(
            Candidates(
                found.scores[i].astype(np.float64),
                tiles.lon[rows],
                tiles.lat[rows],
                tiles.size_m[rows],
            ),
            encoder.manifest.calibration[photo.view],
        )
        off_m = float(distance_m(answer.lon, answer.lat, photo.lon, photo.lat))
        answers.append(
            Asked(
                photo.kind,
                inside,
                int(ranks[i]),
                float(apart_m[i, rows[0]]),
                off_m,
                int(positives[i].sum()),
                len(gallery),
                answer,
            )
        )
    return answers


def summarise(kind: str, towns: int, asked: Sequence[Asked]) -> dict[str, object]:
    """One row: retrieval and metres inside, calibration and refusals inside and outside."""
    inside = [one for one in asked if one.inside]
    outside = [one for one in asked if not one.inside]
    report = retrieval_report(
        [one.rank for one in inside],
        gallery_size=round(np.mean([one.tiles for one in inside])),
        positives_per_query=float(np.mean([one.positives for one in inside])),
    )
    right = [one.inside and one.estimate_m <= one.answer.radius_m for one in asked]
    answered = [one for one in inside if not one.answer.refused]
    correct = [one.estimate_m <= one.answer.radius_m for one in answered]
    return {
        "kind": kind,
        "towns": towns,
        "queries": len(inside),
        "tiles": int(report["gallery"]),
        **{f"recall_at_{k}": round(report[f"recall_at_{k}"], 3) for k in (1, 5, 10)},
        "chance_at_1": round(report["chance_at_1"], 4),
        "median_top1_m": round(float(np.median([one.top1_m for one in inside])), 1),
        "median_estimate_m": round(float(np.median([one.estimate_m for one in inside])), 1),
        "answered": round(len(answered) / len(inside), 3),
        "answered_within_radius": round(float(np.mean(correct)), 3) if correct else "",
        "median_answered_m": round(float(np.median([one.estimate_m for one in answered])), 1)
        if answered
        else "",
        "calibration_error": round(
            expected_calibration_error([one.answer.confidence for one in asked], right), 3
        ),
        "refused_outside": round(float(np.mean([one.answer.refused for one in outside])), 3),
    }


if __name__ == "__main__":
    sys.exit(main())
