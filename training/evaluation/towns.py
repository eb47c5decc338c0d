"""How well photos of a town find their tile among all half-overlapping tiles of that town."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossfix.estimate import CANDIDATES, Candidates
from crossfix.metrics import POSITIVE_RADIUS_SHARE
from crossfix.view import ViewName
from training.datasets.photo_cache import ViewPhotos
from training.datasets.satellite_image import cut_tiles
from training.datasets.towns import Town
from training.embedding import Embed
from training.recipe import Recipe

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]


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
