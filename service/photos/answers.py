"""From a localization to what is sent: the JSON answer and Server-Timing."""

from crossfix.gallery_manifest import BoundsModel
from crossfix.geodesy import distance_m
from service.galleries.addresses import picture_url
from service.galleries.served import Reach
from service.photos.localization import Localization
from service.photos.schemas import (
    TAKEN_FOR_TRUE,
    Estimate,
    LocalizeAnswer,
    Match,
    StageTimes,
)
from service.schemas import AnsweringGallery, EncoderName

KEPT = "this service keeps the photos sent to it, with their answers"


def answer_of(
    found: Localization,
    *,
    request_id: str,
    root_path: str,
    total_s: float,
    with_prior: bool = False,
    kept: bool = False,
) -> LocalizeAnswer:
    """The JSON answer.

    Args:
        root_path: the prefix a proxy serves us under.
        with_prior: whether an area was given; the sender is told what that means.
        kept: whether the photo is stored; its sender is told.
    """
    manifest, reach = found.snapshot.encoder.manifest, found.reach
    warnings = list(found.warnings)
    if reach.shards_missing:
        warnings.append(_missing(reach, with_prior=with_prior))
    if found.estimate is None:
        warnings.append("the encoder is not calibrated for this view: no radius, no confidence")
    if with_prior:
        warnings.append(TAKEN_FOR_TRUE)
    if kept:
        warnings.append(KEPT)
    stages_ms = {stage: round(seconds * 1000, 3) for stage, seconds in found.stage_s.items()}
    return LocalizeAnswer(
        matches=_matches(found, root_path),
        estimate=_estimate(found),
        stage_ms=StageTimes(**stages_ms, total=round(total_s * 1000, 3)),
        encoder=EncoderName(name=manifest.name, embedding_space_id=manifest.embedding_space_id),
        gallery=AnsweringGallery(
            version=found.snapshot.version,
            tiles=len(found.snapshot.gallery),
            shards_total=reach.shards_total,
            shards_asked=reach.shards_asked,
            shards_answered=reach.shards_answered,
        ),
        warnings=warnings,
        request_id=request_id,
    )


def _missing(reach: Reach, *, with_prior: bool) -> str:
    """What everybody who reads the answer must know."""
    unseen = 100 * (1 - reach.tiles_share)
    share = "less than 0.01 %" if unseen < 0.01 else f"{unseen:.{0 if unseen >= 1 else 2}f} %"
    tiles = (
        f"about {share} of the tiles in the given area" if with_prior else f"{share} of its tiles"
    )
    return (
        f"partial answer: {reach.shards_missing} of {reach.shards_asked} parts of the gallery did "
        f"not answer, so {tiles} were not looked at; the confidence is lowered by as much"
    )


def _matches(found: Localization, root_path: str) -> list[Match]:
    tiles, rows = found.tiles, found.at
    apart_m = distance_m(tiles.lon[rows], tiles.lat[rows], tiles.lon[rows[0]], tiles.lat[rows[0]])
    return [
        Match(
            rank=position + 1,
            tile_id=tiles.ids[row],
            score=round(float(found.scores[position]), 6),
            lat=float(tiles.lat[row]),
            lon=float(tiles.lon[row]),
            bounds=BoundsModel(
                west=tiles.west[row],
                south=tiles.south[row],
                east=tiles.east[row],
                north=tiles.north[row],
            ),
            size_m=float(tiles.size_m[row]),
            date=tiles.date[row],
            attribution=tiles.attribution[row],
            licence=tiles.licence[row],
            picture_url=picture_url(tiles.ids[row], found.snapshot.version, root_path),
            distance_to_best_m=round(float(apart_m[position]), 2),
        )
        for position, row in enumerate(int(row) for row in rows)
    ]


def _estimate(found: Localization) -> Estimate:
    place = found.estimate
    if place is None:
        tiles, best = found.tiles, int(found.at[0])
        return Estimate(
            lat=float(tiles.lat[best]),
            lon=float(tiles.lon[best]),
            radius_m=None,
            confidence=None,
            refused=True,
            reason="the encoder is not calibrated for this view: this is only the best tile",
        )
    return Estimate(
        lat=place.lat,
        lon=place.lon,
        radius_m=round(place.radius_m, 2),
        confidence=round(place.confidence, 4),
        refused=place.refused,
        reason=place.reason,
    )


def server_timing(stages: StageTimes) -> str:
    """The Server-Timing header's value (W3C Server Timing; durations in milliseconds)."""
    return ", ".join(f"{name};dur={value:g}" for name, value in stages.model_dump().items())
