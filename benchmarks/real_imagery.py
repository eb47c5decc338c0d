"""Real drone photos against real orthophotos, through the running service.

For each `<imagery>/*_ortho` folder: a gallery is built from `reference/ortho_ref.tif` with
`index_builder build`, the photos of `queries.csv` are posted to `/localize`, and the answers are
scored against `lat, lon` (the ground point under the image centre). The files' EXIF GPS is never
read. One row per folder goes to `results/real_imagery.csv`.
"""

import argparse
import csv
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import httpx
import numpy as np
from numpy.typing import NDArray

from benchmarks.gallery_build import OVERLAP, build_gallery
from benchmarks.record import ROOT, append_row
from crossfix.geodesy import distance_m
from crossfix.metrics import POSITIVE_RADIUS_SHARE
from demo.service_process import free_port, running_service

TILE_SIZE_M = {
    "brighton_beach_drone_ortho": 40.0,
    "caliterra_drone_ortho": 48.0,
    "seneca_uav_ortho": 80.0,
}  # the sides the sets' own reference tiles have
K = 5


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
        row = measure(folder, arguments.encoder)
        print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
        if not arguments.no_record:
            append_row("real_imagery", row)
    return 0


def measure(folder: Path, encoder: Path) -> dict[str, object]:
    """Builds, serves and asks for one data set; the row of results."""
    size_m = TILE_SIZE_M[folder.name]
    with tempfile.TemporaryDirectory() as scratch:
        gallery = Path(scratch) / "gallery"
        build_gallery(encoder, folder / "reference" / "ortho_ref.tif", size_m, gallery)
        with running_service(
            encoder, gallery, port=free_port(8100), log=Path(scratch) / "service.log"
        ) as url:
            tiles = int(httpx.get(f"{url}/gallery").json()["tiles"])
            with (folder / "queries.csv").open(newline="", encoding="utf-8") as handle:
                answers = [_ask(url, folder, query) for query in csv.DictReader(handle)]
    return {
        "data": folder.name,
        "queries": len(answers),
        "tiles": tiles,
        "tile_size_m": size_m,
        **_score(answers, size_m, tiles),
    }


def _ask(url: str, folder: Path, query: dict[str, str]) -> tuple[NDArray[np.float64], bool]:
    """Metres off for the K best tiles and, last, the estimate; and whether it was refused."""
    data = (folder / "queries" / query["file"]).read_bytes()
    response = httpx.post(
        f"{url}/localize",
        params={"view": "drone", "k": K},
        content=data,
        headers={"Content-Type": "image/jpeg"},
        timeout=60,
    )
    response.raise_for_status()
    body = response.json()
    places = [*body["matches"], body["estimate"]]
    off_m = distance_m(
        [place["lon"] for place in places],
        [place["lat"] for place in places],
        float(query["lon"]),
        float(query["lat"]),
    )
    return off_m, bool(body["estimate"]["refused"])


def _score(
    answers: Sequence[tuple[NDArray[np.float64], bool]], size_m: float, tiles: int
) -> dict[str, object]:
    off_m = np.array([answer[0] for answer in answers])
    refused = np.array([answer[1] for answer in answers])
    hit = off_m[:, :K] <= POSITIVE_RADIUS_SHARE * size_m
    answered = off_m[~refused, K]
    # A disc of 0.35 sides holds 0.385 side^2; half-overlapping tiles lie 4 to a side^2.
    positives = np.pi * POSITIVE_RADIUS_SHARE**2 / (1 - OVERLAP) ** 2
    return {
        "recall_at_1": round(float(hit[:, 0].mean()), 3),
        "recall_at_5": round(float(hit.any(axis=1).mean()), 3),
        "chance_at_1": round(positives / tiles, 3),
        "chance_at_5": round(1 - (1 - positives / tiles) ** K, 3),
        "median_top1_m": round(float(np.median(off_m[:, 0])), 1),
        "median_estimate_m": round(float(np.median(off_m[:, K])), 1),
        "refused": round(float(refused.mean()), 3),
        "median_answered_m": round(float(np.median(answered)), 1) if len(answered) else "",
    }


if __name__ == "__main__":
    sys.exit(main())
