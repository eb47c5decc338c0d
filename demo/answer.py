"""One photo posted to `/localize`, and its answer held against the truth."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from crossfix.geodesy import distance_m
from crossfix.metrics import POSITIVE_RADIUS_SHARE


@dataclass(frozen=True)
class TruePhoto:
    """A rendered photo and where it was taken, from the town's `photos.csv`."""

    path: Path
    kind: str
    view: str
    lon: float
    lat: float
    heading_deg: float
    hfov_deg: float


@dataclass(frozen=True)
class Answer:
    """What the service said about a photo."""

    photo: TruePhoto
    body: dict[str, Any]

    def is_right(self, match: dict[str, Any]) -> bool:
        """Whether a match's tile centre lies within 0.35 of its side of the truth."""
        return self.error_m(match) <= POSITIVE_RADIUS_SHARE * float(match["size_m"])

    def error_m(self, place: dict[str, Any]) -> float:
        """Metres from the truth to anything with `lat` and `lon`."""
        return float(distance_m(self.photo.lon, self.photo.lat, place["lon"], place["lat"]))


def read_photos(town: Path) -> list[TruePhoto]:
    """All photos of a rendered town."""
    with (town / "photos.csv").open(newline="", encoding="utf-8") as handle:
        return [
            TruePhoto(
                path=town / row["file"],
                kind=kind_of(row),
                view=row["view"],
                lon=float(row["lon"]),
                lat=float(row["lat"]),
                heading_deg=float(row["heading_deg"]),
                hfov_deg=float(row["hfov_deg"]),
            )
            for row in csv.DictReader(handle)
        ]


def kind_of(row: dict[str, str]) -> str:
    """`panorama`, `street` or `drone`."""
    if row["view"] == "drone":
        return "drone"
    return "panorama" if row["projection"] == "equirectangular" else "street"


def ask(url: str, photo: TruePhoto, *, k: int) -> Answer:
    """Posts the photo's bytes; ground photos with their compass heading and field of view."""
    parameters: dict[str, str | int | float] = {"view": photo.view, "k": k}
    if photo.view == "ground":
        parameters |= {"heading_deg": photo.heading_deg, "hfov_deg": photo.hfov_deg}
    response = httpx.post(
        f"{url}/localize",
        params=parameters,
        content=photo.path.read_bytes(),
        headers={"Content-Type": "image/jpeg"},
        timeout=60,
    )
    response.raise_for_status()
    return Answer(photo=photo, body=response.json())


def describe(answer: Answer) -> str:
    """The answer as a person reads it."""
    body, estimate = answer.body, answer.body["estimate"]
    lines = [f"\n{answer.photo.kind}: {answer.photo.path.name}", "  rank  score   error     tile"]
    for match in body["matches"]:
        lines.append(
            f"  {match['rank']:>4}  {match['score']:.3f}  {answer.error_m(match):6.1f} m"
            f"  {match['tile_id']}{'  <- right' if answer.is_right(match) else ''}"
        )
    verdict = "too unsure to answer" if estimate["refused"] else "answered"
    lines.append(
        f"  estimate  lat {estimate['lat']:.6f}, lon {estimate['lon']:.6f}  "
        f"(truth {answer.photo.lat:.6f}, {answer.photo.lon:.6f})"
    )
    lines.append(
        f"            {answer.error_m(estimate):.1f} m off; {verdict}: within "
        f"{estimate['radius_m']:.0f} m with confidence {estimate['confidence']:.2f}"
    )
    stages = "  ".join(f"{name} {value:.1f}" for name, value in body["stage_ms"].items())
    lines.append(f"  stage_ms  {stages}")
    lines.extend(f"  warning   {text}" for text in body["warnings"])
    return "\n".join(lines)
