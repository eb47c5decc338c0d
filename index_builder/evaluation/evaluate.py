"""How well photos with known places are found in a gallery."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossfix.encoder import Encoder
from crossfix.errors import ImageError, InvalidParameter, SourceError
from crossfix.estimate import CANDIDATES, Candidates, estimate
from crossfix.gallery import Gallery
from crossfix.geodesy import distance_m
from crossfix.images import decode
from crossfix.metrics import (
    POSITIVE_RADIUS_SHARE,
    ranks_of_first_positive,
    recall_at_k,
    retrieval_report,
)
from crossfix.preprocess import prepare
from crossfix.sharded_gallery import ShardedGallery
from crossfix.view import ViewName
from index_builder.evaluation.exact_ranks import exact_ranks, right_rows
from index_builder.evaluation.queries import Query, read_queries
from index_builder.evaluation.searched import Searched

__all__ = ["Query", "evaluate_gallery", "read_queries"]

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

KS = (1, 5, 10)
_CHUNK = 64  # queries at a time: one pass over the vectors, some megabytes of scores


@dataclass(frozen=True)
class _Found:
    """One query against the whole gallery; metres to the truth."""

    view: ViewName
    served_rank: int
    exact_rank: int
    positives: int
    top_m: float
    estimate_m: float | None
    refused: bool


def evaluate_gallery(
    encoder: Encoder,
    gallery: Gallery | ShardedGallery,
    queries: Sequence[Query],
    *,
    ks: Sequence[int] = KS,
) -> dict[str, Any]:
    """R@K, metres and refusals, over all queries and per view, as plain JSON values.

    A tile is right when its centre is within 0.35 of its side of the truth. Queries whose place
    no tile is right for count as wrong, and their number is given. `recall_at_K` is over what the
    gallery's own index finds, as the service does; `exact_recall_at_K` over the true ranks among
    all tiles, which differ where the index is approximate. Memory does not grow with the queries.

    Args:
        gallery: a sharded one with all its shards, opened `strict`.

    Raises:
        SourceError: a photo cannot be read.
        InvalidParameter: a K below 1.
        EncoderGalleryMismatch: gallery and encoder do not belong together.
    """
    for k in ks:
        if k < 1:
            raise InvalidParameter(f"k {k} is no number of places", hint="give 1 or more")
    gallery.require_encoder(encoder)
    wanted = sorted(set(ks))
    searched = Searched.of(gallery)
    found = [
        one
        for chunk in _chunks(queries)
        for one in _find(encoder, searched, chunk, most=wanted[-1])
    ]
    views = sorted({one.view for one in found})
    return {
        "gallery_version": searched.version,
        "encoder": encoder.manifest.name,
        "index": searched.index_kind,
        "positive_radius_share": POSITIVE_RADIUS_SHARE,
        "all": _summarise(found, len(searched), wanted),
        "views": {
            view: _summarise([one for one in found if one.view == view], len(searched), wanted)
            for view in views
        },
    }


def _chunks(queries: Sequence[Query]) -> Iterator[list[Query]]:
    left = iter(queries)
    while chunk := list(islice(left, _CHUNK)):
        yield chunk


def _find(
    encoder: Encoder, gallery: Searched, queries: list[Query], *, most: int
) -> Iterator[_Found]:
    embeddings = np.concatenate([_embed(encoder, query) for query in queries])
    right = [right_rows(gallery, query.place.lon, query.place.lat) for query in queries]
    served = gallery.search(embeddings, max(most, CANDIDATES))
    exact = exact_ranks(embeddings, gallery.vectors, right)
    for i, query in enumerate(queries):
        there = served.rows[i] >= 0  # an approximate index may find fewer than it was asked for
        rows, scores = served.rows[i][there], served.scores[i][there]
        best = rows[0]
        top_m = distance_m(gallery.lon[best], gallery.lat[best], query.place.lon, query.place.lat)
        estimate_m, refused = _estimate(encoder, gallery, query, rows, scores)
        yield _Found(
            view=query.view,
            served_rank=_served_rank(rows, scores, right[i], len(gallery)),
            exact_rank=int(exact[i]),
            positives=len(right[i]),
            top_m=float(top_m),
            estimate_m=estimate_m,
            refused=refused,
        )


def _served_rank(rows: Int64, scores: Float32, right: Int64, missed: int) -> int:
    """Among the tiles that were found; a right tile that was not is missed."""
    is_right = np.isin(rows, right)
    if not is_right.any():
        return missed
    return int(ranks_of_first_positive(scores[None], is_right[None])[0])


def _embed(encoder: Encoder, query: Query) -> Float32:
    view = encoder.view(query.view)
    try:
        photo = decode(query.path.read_bytes(), target_px=view.decode_px)
    except (OSError, ImageError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else str(problem)
        raise SourceError(
            f"query photo {query.path} cannot be read: {reason}",
            hint="check the table's file column, or give --images",
        ) from problem
    prepared = prepare(photo, view, heading_deg=query.heading_deg, hfov_deg=query.hfov_deg)
    return encoder.encode(prepared.tensor[None], query.view)


def _estimate(
    encoder: Encoder, gallery: Searched, query: Query, rows: Int64, scores: Float32
) -> tuple[float | None, bool]:
    """(metres off, refused); no estimate where the encoder has no calibration for the view."""
    calibration = encoder.manifest.calibration.get(query.view)
    if calibration is None:
        return None, False
    best = rows[:CANDIDATES]
    place = estimate(
        Candidates(
            scores=scores[:CANDIDATES].astype(np.float64),
            lon=gallery.lon[best],
            lat=gallery.lat[best],
            size_m=gallery.size_m[best],
        ),
        calibration,
    )
    off_m = distance_m(place.lon, place.lat, query.place.lon, query.place.lat)
    return float(off_m), place.refused


def _summarise(found: list[_Found], gallery_size: int, ks: Sequence[int]) -> dict[str, Any]:
    positives = float(np.mean([one.positives for one in found]))
    served = [one.served_rank for one in found]
    report: dict[str, Any] = retrieval_report(
        served, gallery_size=gallery_size, positives_per_query=positives, ks=ks
    )
    exact = [one.exact_rank for one in found]
    report |= {f"exact_recall_at_{k}": recall_at_k(exact, k) for k in ks}
    report["queries_without_tile"] = sum(one.positives == 0 for one in found)
    report["refused"] = sum(one.refused for one in found)
    for name, metres in (
        ("top1", [one.top_m for one in found]),
        ("estimate", [one.estimate_m for one in found if one.estimate_m is not None]),
    ):
        report[f"{name}_median_m"] = float(np.median(metres)) if metres else None
        report[f"{name}_p90_m"] = float(np.percentile(metres, 90)) if metres else None
    return report
