"""How well photos with known places are found in a gallery."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossfix.encoder import Encoder
from crossfix.errors import ImageError, SourceError
from crossfix.estimate import Candidates, estimate
from crossfix.gallery import Gallery
from crossfix.geodesy import LonLat, distance_m
from crossfix.images import decode
from crossfix.metrics import POSITIVE_RADIUS_SHARE, ranks_of_first_positive, retrieval_report
from crossfix.preprocess import prepare
from crossfix.view import QUERY_VIEWS, ViewName
from index_builder.sources.table_source import Row, find_images, read_number, read_place, read_table

Float32 = NDArray[np.float32]

CANDIDATES = 50  # as many as the service estimates from


@dataclass(frozen=True)
class Query:
    """A photo and where it was taken (the ground point under a drone photo's centre)."""

    path: Path
    place: LonLat
    view: ViewName
    heading_deg: float | None
    hfov_deg: float | None


@dataclass(frozen=True)
class _Found:
    """One query against the whole gallery; metres to the truth."""

    view: ViewName
    rank: int
    positives: int
    top_m: float
    estimate_m: float | None
    refused: bool


def read_queries(table: Path, images: Path | None, default_view: str) -> list[Query]:
    """Reads a query table; files count from `images`, else as in `find_images`.

    Raises:
        SourceError: unreadable table, or a row without place or known view.
    """
    rows = read_table(table, ("file", "lat", "lon"))
    folder = find_images(table, rows) if images is None else images
    return [
        _read_query(row, f"table {table}, line {line}", folder, default_view)
        for line, row in enumerate(rows, start=2)
    ]


def _read_query(row: Row, where: str, images: Path, default_view: str) -> Query:
    name = row.get("view") or default_view
    views = [view for view in QUERY_VIEWS if view == name]
    if not views:
        raise SourceError(f"{where}: view is {name!r}", hint=f"use one of {QUERY_VIEWS}")
    angles = {
        column: read_number(row, column, where) if row.get(column) else None
        for column in ("heading_deg", "hfov_deg")
    }
    return Query(path=images / row["file"], place=read_place(row, where), view=views[0], **angles)


def evaluate_gallery(encoder: Encoder, gallery: Gallery, queries: list[Query]) -> dict[str, Any]:
    """R@1/5/10, metres and refusals, over all queries and per view, as plain JSON values.

    A tile is right when its centre is within 0.35 of its side of the truth. Queries whose place
    no tile is right for count as wrong, and their number is given.

    Raises:
        SourceError: a photo cannot be read.
        EncoderGalleryMismatch: gallery and encoder do not belong together.
    """
    gallery.require_encoder(encoder)
    found = list(_find_all(encoder, gallery, queries))
    views = sorted({one.view for one in found})
    return {
        "gallery_version": gallery.manifest.version,
        "encoder": encoder.manifest.name,
        "positive_radius_share": POSITIVE_RADIUS_SHARE,
        "all": _summarise(found, len(gallery)),
        "views": {
            view: _summarise([one for one in found if one.view == view], len(gallery))
            for view in views
        },
    }


def _find_all(encoder: Encoder, gallery: Gallery, queries: list[Query]) -> Iterator[_Found]:
    for query in queries:
        yield _find(encoder, gallery, query)


def _find(encoder: Encoder, gallery: Gallery, query: Query) -> _Found:
    embedding = _embed(encoder, query)
    tiles = gallery.tiles
    away_m = distance_m(tiles.lon, tiles.lat, query.place.lon, query.place.lat)
    right = away_m <= POSITIVE_RADIUS_SHARE * tiles.size_m
    # Every score, from the index the service uses, so that ties and rounding are its own.
    result = gallery.search(embedding, len(gallery))
    rows, scores = result.rows[0], result.scores[0]
    rank = int(ranks_of_first_positive(scores[None], right[rows][None])[0])
    estimate_m, refused = _estimate(encoder, gallery, query, rows, scores)
    return _Found(query.view, rank, int(right.sum()), float(away_m[rows[0]]), estimate_m, refused)


def _embed(encoder: Encoder, query: Query) -> Float32:
    view = encoder.view(query.view)
    try:
        photo = decode(query.path.read_bytes(), target_px=view.decode_px)
    except (OSError, ImageError) as problem:
        raise SourceError(
            f"query photo {query.path} cannot be read: {problem}",
            hint="check the table's file column, or give --images",
        ) from problem
    prepared = prepare(photo, view, heading_deg=query.heading_deg, hfov_deg=query.hfov_deg)
    return encoder.encode(prepared.tensor[None], query.view)


def _estimate(
    encoder: Encoder,
    gallery: Gallery,
    query: Query,
    rows: NDArray[np.int64],
    scores: Float32,
) -> tuple[float | None, bool]:
    """(metres off, refused); no estimate where the encoder has no calibration for the view."""
    calibration = encoder.manifest.calibration.get(query.view)
    if calibration is None:
        return None, False
    best, tiles = rows[:CANDIDATES], gallery.tiles
    place = estimate(
        Candidates(
            scores=scores[:CANDIDATES].astype(np.float64),
            lon=tiles.lon[best],
            lat=tiles.lat[best],
            size_m=tiles.size_m[best],
        ),
        calibration,
    )
    off_m = distance_m(place.lon, place.lat, query.place.lon, query.place.lat)
    return float(off_m), place.refused


def _summarise(found: list[_Found], gallery_size: int) -> dict[str, Any]:
    positives = float(np.mean([one.positives for one in found]))
    report: dict[str, Any] = retrieval_report(
        [one.rank for one in found], gallery_size=gallery_size, positives_per_query=positives
    )
    report["queries_without_tile"] = sum(one.positives == 0 for one in found)
    report["refused"] = sum(one.refused for one in found)
    for name, metres in (
        ("top1", [one.top_m for one in found]),
        ("estimate", [one.estimate_m for one in found if one.estimate_m is not None]),
    ):
        report[f"{name}_median_m"] = float(np.median(metres)) if metres else None
        report[f"{name}_p90_m"] = float(np.percentile(metres, 90)) if metres else None
    return report
