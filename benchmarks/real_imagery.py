"""Real drone photos on real orthophotos: the running service beside two classical baselines.

For each `<imagery>/*_ortho` folder a gallery is built from `reference/ortho_ref.tif` with
`index_builder build`. Three ways find the photos of `queries.csv` in it: the service (photos are
posted to `/localize`), SIFT matching and colour histograms over the gallery's own pictures. All
are scored against `lat, lon` (the ground point under the image centre); the files' EXIF GPS is
never read. One row per folder and method goes to `results/real_imagery.csv`.
"""

import argparse
import csv
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx
import numpy as np
from numpy.typing import NDArray

from benchmarks.baselines import score_colour_histograms, score_sift
from benchmarks.gallery_build import build_gallery
from benchmarks.record import ROOT, append_row
from crossfix.gallery import Gallery
from crossfix.geodesy import distance_m
from crossfix.metrics import POSITIVE_RADIUS_SHARE, ranks_of_first_positive
from demo.service_process import free_port, running_service

Float64 = NDArray[np.float64]

TILE_SIZE_M = {
    "brighton_beach_drone_ortho": 40.0,
    "caliterra_drone_ortho": 48.0,
    "seneca_uav_ortho": 80.0,
}  # the sides the sets' own reference tiles have
K = 5
BASELINES: dict[str, Callable[[Sequence[bytes], Sequence[bytes]], Float64]] = {
    "SIFT": score_sift,
    "colour histogram": score_colour_histograms,
}


def main() -> int:
    """Runs every data set found; exit code 1 when there is none."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_imagery", description=__doc__)
    parser.add_argument("--imagery", type=Path, default=ROOT.parent / "shared" / "imagery")
    parser.add_argument("--encoder", type=Path, default=ROOT / "encoders" / "demo")
    parser.add_argument("--no-record", action="store_true", help="print only")
    arguments = parser.parse_args()
    folders = [
        arguments.imagery / name for name in TILE_SIZE_M if (arguments.imagery / name).is_dir()
    ]
    if not folders:
        print(f"no real imagery in {arguments.imagery}", file=sys.stderr)
        return 1
    for folder in folders:
        for row in measure(folder, arguments.encoder):
            print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
            if not arguments.no_record:
                append_row("real_imagery", row)
    return 0


def measure(folder: Path, encoder: Path) -> Iterator[dict[str, object]]:
    """Builds one data set's gallery and asks all methods; a row of results for each."""
    size_m = TILE_SIZE_M[folder.name]
    with (folder / "queries.csv").open(newline="", encoding="utf-8") as handle:
        queries = list(csv.DictReader(handle))
    photos = [(folder / "queries" / query["file"]).read_bytes() for query in queries]
    truth = np.array([[float(query["lon"]), float(query["lat"])] for query in queries])
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "gallery"
        build_gallery(encoder, folder / "reference" / "ortho_ref.tif", size_m, root)
        gallery = Gallery.open(root)
        away_m = distance_m(
            gallery.tiles.lon[None], gallery.tiles.lat[None], truth[:, :1], truth[:, 1:]
        )
        right = away_m <= POSITIVE_RADIUS_SHARE * size_m
        head = {
            "data": folder.name,
            "queries": len(queries),
            "tiles": len(gallery),
            "tile_size_m": size_m,
            "queries_without_tile": int((~right.any(axis=1)).sum()),
            "chance_at_1": round(float(right.mean()), 3),
            "chance_at_5": round(float(1 - ((1 - right.mean(axis=1)) ** K).mean()), 3),
        }
        service = _ask_service(encoder, root, Path(scratch), photos, truth)
        yield {**head, "method": "crossfix demo encoder", **_score_answers(*service, size_m)}
        pictures = [gallery.picture(row) for row in range(len(gallery))]
        for name, score in BASELINES.items():
            yield {**head, "method": name, **_score_ranking(score(photos, pictures), right, away_m)}


def _ask_service(
    encoder: Path, gallery: Path, scratch: Path, photos: Sequence[bytes], truth: Float64
) -> tuple[Float64, NDArray[np.bool_]]:
    """(Q, K + 1) metres off for the K best tiles and the estimate, and (Q,) whether refused."""
    log = scratch / "service.log"
    with running_service(encoder, gallery, port=free_port(8100), log=log) as url:
        answers = [
            _ask(url, photo, place) for photo, place in zip(photos, truth.tolist(), strict=True)
        ]
    return np.array([off_m for off_m, _ in answers]), np.array([refused for _, refused in answers])


def _ask(url: str, photo: bytes, place: list[float]) -> tuple[Float64, bool]:
    response = httpx.post(
        f"{url}/localize",
        params={"view": "drone", "k": K},
        content=photo,
        headers={"Content-Type": "image/jpeg"},
        timeout=60,
    )
    response.raise_for_status()
    body = response.json()
    found = [*body["matches"], body["estimate"]]
    lon, lat = [one["lon"] for one in found], [one["lat"] for one in found]
    return distance_m(lon, lat, *place), bool(body["estimate"]["refused"])


def _score_answers(off_m: Float64, refused: NDArray[np.bool_], size_m: float) -> dict[str, object]:
    hit = off_m[:, :K] <= POSITIVE_RADIUS_SHARE * size_m
    answered = off_m[~refused, K]
    return {
        "recall_at_1": round(float(hit[:, 0].mean()), 3),
        "recall_at_5": round(float(hit.any(axis=1).mean()), 3),
        "median_top1_m": round(float(np.median(off_m[:, 0])), 1),
        "median_estimate_m": round(float(np.median(off_m[:, K])), 1),
        "refused": round(float(refused.mean()), 3),
        "median_answered_m": round(float(np.median(answered)), 1) if len(answered) else "",
    }


def _score_ranking(scores: Float64, right: NDArray[np.bool_], away_m: Float64) -> dict[str, object]:
    """Ties count against the method; its place is the best tile's centre, it never refuses."""
    ranks = ranks_of_first_positive(scores, right)
    best = scores.argmax(axis=1)
    return {
        "recall_at_1": round(float((ranks < 1).mean()), 3),
        "recall_at_5": round(float((ranks < K).mean()), 3),
        "median_top1_m": round(float(np.median(away_m[np.arange(len(best)), best])), 1),
        "median_estimate_m": "",
        "refused": "",
        "median_answered_m": "",
    }


if __name__ == "__main__":
    sys.exit(main())
