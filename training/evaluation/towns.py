"""How well photos of a town find their tile among all half-overlapping tiles of that town."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossfix.estimate import CANDIDATES, Candidates, weighted_position
from crossfix.geodesy import distance_m
from crossfix.metrics import POSITIVE_RADIUS_SHARE, ranks_of_first_positive, retrieval_report
from crossfix.view import ViewName
from training.datasets.photo_cache import ViewPhotos
from training.datasets.satellite_image import cut_tiles
from training.datasets.towns import Town
from training.embedding import Embed
from training.recipe import Recipe

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

PLAIN_TEMPERATURE = 0.05  # of the weighted estimate before a calibration exists


@dataclass(frozen=True)
class TownGallery:
    """A town's tiles: centres in degrees and image pixels, side, embeddings (N, D)."""

    lon: Float64
    lat: Float64
    xy_px: Float64
    size_m: float
    resolution_m: float
    embeddings: Float32


@dataclass(frozen=True)
class Scored:
    """Photos of one view against one town's gallery.

    Attributes:
        scores: (Q, N) cosine similarities.
        positives: (Q, N) tiles whose centre is within 0.35 sides of the truth; none for photos
            of other towns.
        lon, lat: (Q,) truth, degrees.
        kind: (Q,) kind of photo.
    """

    town: str
    view: ViewName
    gallery: TownGallery
    scores: Float32
    positives: Bool
    lon: Float64
    lat: Float64
    kind: NDArray[np.str_]

    def select(self, chosen: Bool) -> "Scored":
        """The same with some queries only."""
        return Scored(
            self.town, self.view, self.gallery, self.scores[chosen], self.positives[chosen],
            self.lon[chosen], self.lat[chosen], self.kind[chosen],
        )  # fmt: skip


def build_gallery(town: Town, recipe: Recipe, embed: Embed) -> TownGallery:
    """Cuts and embeds a town's tiles as the index builder would: half overlap, north up."""
    image, side_m = town.satellite, recipe.towns.tile_size_m
    centres = image.grid(side_m)
    sides = np.full(len(centres), side_m / image.resolution_m)
    tiles = cut_tiles(
        image, centres, side_px=sides, out_px=recipe.data.tile_px,
        resampling=recipe.data.interpolation,
    )  # fmt: skip
    lon, lat = image.lonlat_of(centres)
    return TownGallery(
        lon=lon, lat=lat, xy_px=centres, size_m=side_m, resolution_m=image.resolution_m,
        embeddings=embed(tiles, recipe.views()["satellite"]),
    )  # fmt: skip


def score_towns(
    towns: Sequence[Town], photos: Mapping[ViewName, ViewPhotos], recipe: Recipe, embed: Embed
) -> Iterator[Scored]:
    """Scores every photo against its own town's gallery; one `Scored` per town and view."""
    galleries = [build_gallery(town, recipe, embed) for town in towns]
    for view_photos in photos.values():
        embeddings = embed(view_photos.pixels, view_photos.spec)
        for number, town in enumerate(towns):
            chosen = view_photos.town == number
            if chosen.any():
                yield score_photos(
                    view_photos, chosen, embeddings, galleries[number], town.name, number
                )


def score_photos(
    photos: ViewPhotos, chosen: Bool, embeddings: Float32, gallery: TownGallery, name: str,
    number: int,
) -> Scored:  # fmt: skip
    """Scores chosen photos against the gallery of town `number`, theirs or another one's."""
    apart_px = np.linalg.norm(photos.xy_px[chosen][:, None] - gallery.xy_px[None], axis=2)
    near = apart_px * gallery.resolution_m <= POSITIVE_RADIUS_SHARE * gallery.size_m
    return Scored(
        town=name,
        view=photos.spec.view,
        gallery=gallery,
        scores=embeddings[chosen] @ gallery.embeddings.T,
        positives=near & (photos.town[chosen] == number)[:, None],
        lon=photos.lon[chosen],
        lat=photos.lat[chosen],
        kind=photos.kind[chosen],
    )


def top_candidates(scored: Scored, query: int, count: int = CANDIDATES) -> Candidates:
    """The best tiles of one query, best first."""
    scores = scored.scores[query].astype(np.float64)
    order = np.argsort(-scores, kind="stable")[:count]
    gallery = scored.gallery
    return Candidates(
        scores=scores[order],
        lon=gallery.lon[order],
        lat=gallery.lat[order],
        size_m=np.full(len(order), gallery.size_m),
    )


def position_errors_m(
    scored: Scored, temperatures: Mapping[ViewName, float] | None = None
) -> tuple[Float64, Float64]:
    """Distance of the best tile's centre and of the weighted estimate to the truth, (Q,) each."""
    temperature = (temperatures or {}).get(scored.view, PLAIN_TEMPERATURE)
    best = scored.scores.argmax(axis=1)
    centre = distance_m(scored.gallery.lon[best], scored.gallery.lat[best], scored.lon, scored.lat)
    places = [
        weighted_position(top_candidates(scored, i), temperature) for i in range(len(scored.lon))
    ]
    lon, lat = np.array(places, np.float64).reshape(-1, 2).T
    return centre, distance_m(lon, lat, scored.lon, scored.lat)


def evaluation_rows(
    scored: Sequence[Scored], *, weights: str, temperatures: Mapping[ViewName, float] | None = None
) -> list[dict[str, Any]]:
    """Table rows per town and pooled, per view, all photos and each kind.

    Args:
        weights: `trained` or `random`; a random encoder must come out near chance.
    """
    rows = []
    measured = [(one, *position_errors_m(one, temperatures)) for one in scored]
    for view in dict.fromkeys(one.view for one in scored):
        of_view = [entry for entry in measured if entry[0].view == view]
        kinds = sorted({str(kind) for one, _, _ in of_view for kind in one.kind})
        for kind in [*kinds, *(["all"] if len(kinds) > 1 else [])]:
            groups = {one.town: [(one, a, b)] for one, a, b in of_view}
            if len(groups) > 1:
                groups["pooled"] = of_view
            for town, entries in groups.items():
                row = _row(entries, kind)
                if row:
                    rows.append({"town": town, "view": view, "kind": kind, "weights": weights}
                                | row)  # fmt: skip
    return rows


def _row(entries: Sequence[tuple[Scored, Float64, Float64]], kind: str) -> dict[str, float]:
    ranks, centre, weighted, sizes, positives = [], [], [], [], []
    for one, centre_m, weighted_m in entries:
        chosen = np.ones(len(one.kind), np.bool_) if kind == "all" else one.kind == kind
        part = one.select(chosen)
        ranks.append(ranks_of_first_positive(part.scores, part.positives))
        centre.append(centre_m[chosen])
        weighted.append(weighted_m[chosen])
        sizes.append(np.full(chosen.sum(), part.scores.shape[1]))
        positives.append(part.positives.sum(axis=1))
    all_ranks = np.concatenate(ranks)
    if not len(all_ranks):
        return {}
    report = retrieval_report(
        all_ranks,
        gallery_size=round(float(np.concatenate(sizes).mean())),
        positives_per_query=float(np.concatenate(positives).mean()),
    )
    report["median_error_m"] = float(np.median(np.concatenate(centre)))
    report["median_estimate_error_m"] = float(np.median(np.concatenate(weighted)))
    return report
