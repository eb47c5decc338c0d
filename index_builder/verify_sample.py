"""A sample of a gallery's tiles, embedded once more and compared with what is stored."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

import crossfix
from crossfix.encoder import Encoder
from crossfix.errors import CrossfixError, GalleryCorrupt
from crossfix.gallery import Gallery
from crossfix.gallery_manifest import RECIPE_FILE
from crossfix.images import Photo, decode
from crossfix.manifest import read_model
from crossfix.preprocess import prepare
from index_builder.embedding.open_task import VIEW
from index_builder.embedding.parts import sizes_of
from index_builder.embedding.pictures import hash_pixels
from index_builder.embedding.preparation import tile_px_of
from index_builder.recipe import GalleryRecipe
from index_builder.sources.grid.area import Area
from index_builder.sources.opening import open_source
from index_builder.sources.source import TilePlan, TileSource, UInt8

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

MIN_PICTURE_COSINE = 0.6  # pictures are smaller and JPEG; another tile or model is far below
MIN_SOURCE_COSINE = 0.999  # other CPUs round differently
SAMPLE_TILES = 16
_NEAR_DEG = 1e-6


@dataclass(frozen=True)
class SampleReport:
    """What the sample showed.

    Attributes:
        cosine: median of stored vectors to those of the tiles read again from their sources; of
            the tiles' pictures where no source could be read.
        reread: how many tiles were read again from their sources.
        notes: which sources could not be read again, and why.
    """

    cosine: float
    reread: int
    notes: tuple[str, ...]


def check_sample(gallery: Gallery, encoder: Encoder) -> SampleReport:
    """Embeds some tiles again: from their sources where these are what they were.

    Raises:
        GalleryCorrupt: pixels or embeddings are not those that are stored.
        EncoderGalleryMismatch: the encoder is another than the gallery's.
    """
    gallery.require_encoder(encoder)
    rows = np.unique(np.linspace(0, len(gallery) - 1, SAMPLE_TILES).astype(int))
    reread: list[float] = []
    notes = []
    for name in sorted({gallery.tiles.source[int(row)] for row in rows}):
        of_source = [int(row) for row in rows if gallery.tiles.source[int(row)] == name]
        try:
            with _reopened(gallery, encoder, name) as (source, recipe):
                reread += _compare_with_source(gallery, encoder, source, recipe, of_source)
        except GalleryCorrupt:
            raise
        except CrossfixError as problem:
            notes.append(f"source {name}: {problem}")
    if reread:
        return SampleReport(float(np.median(reread)), len(reread), tuple(notes))
    return SampleReport(_compare_with_pictures(gallery, encoder, rows), 0, tuple(notes))


class _NotComparable(CrossfixError):
    """The source is not what it was; the sentence says why."""


@contextmanager
def _reopened(
    gallery: Gallery, encoder: Encoder, name: str
) -> Iterator[tuple[TileSource, GalleryRecipe]]:
    path = gallery.directory / RECIPE_FILE
    if not path.is_file():
        raise _NotComparable("the gallery has no recipe")
    recipe = read_model(path, GalleryRecipe, GalleryCorrupt)
    specs = [spec for spec in recipe.sources if spec.name == name]
    recorded = [one.fingerprint for one in gallery.manifest.sources if one.name == name]
    if not specs or not recorded:
        raise _NotComparable("the recipe does not name it")
    if gallery.manifest.builder_revision != crossfix.__version__:
        raise _NotComparable(f"builder {gallery.manifest.builder_revision} read it")
    source = open_source(specs[0], name=name, tile_px=tile_px_of(encoder))
    try:
        if source.fingerprint() != recorded[0]:
            raise _NotComparable("it has changed since the gallery was built")
        yield source, recipe
    finally:
        source.close()


def _compare_with_source(
    gallery: Gallery,
    encoder: Encoder,
    source: TileSource,
    recipe: GalleryRecipe,
    rows: Sequence[int],
) -> list[float]:
    cosines = []
    for row, plan in _find_plans(gallery, source, recipe, rows):
        pixels = source.read(plan)
        if pixels is None or hash_pixels(pixels) != gallery.tiles.pixels_hash[row]:
            raise broken(
                gallery,
                f"tile {plan.tile_id} does not have the pixels that were embedded, although "
                "the files of its source are what they were",
            )
        cosine = float(_embed(encoder, [pixels])[0] @ gallery.vectors[row].astype(np.float64))
        if not cosine >= MIN_SOURCE_COSINE:
            raise broken(
                gallery,
                f"the stored vector of tile {plan.tile_id} does not fit its pixels (cosine "
                f"{cosine:.4f})",
            )
        cosines.append(cosine)
    return cosines


def _find_plans(
    gallery: Gallery, source: TileSource, recipe: GalleryRecipe, rows: Sequence[int]
) -> Iterator[tuple[int, TilePlan]]:
    """Plans the source again, around the sample where it can, until all are found."""
    wanted = {gallery.tiles.ids[row]: row for row in rows}
    around = _area_around(gallery, rows)
    for size_m in sizes_of(source, recipe):
        for plan in source.plan(size_m, recipe.overlap, around):
            row = wanted.pop(plan.tile_id, None)
            if row is not None:
                yield row, plan
            if not wanted:
                return
    raise broken(gallery, f"its source does not plan tile {next(iter(wanted))}")


def _area_around(gallery: Gallery, rows: Sequence[int]) -> Area:
    lon, lat = gallery.tiles.lon[rows], gallery.tiles.lat[rows]
    spots = shapely.box(lon - _NEAR_DEG, lat - _NEAR_DEG, lon + _NEAR_DEG, lat + _NEAR_DEG)
    return Area(shapely.union_all(spots))


def _compare_with_pictures(gallery: Gallery, encoder: Encoder, rows: Int64) -> float:
    embeddings = _embed(encoder, [decode(gallery.picture(int(row))).pixels for row in rows])
    cosines = (embeddings * gallery.vectors[rows].astype(np.float64)).sum(axis=1)
    median = float(np.median(cosines))
    if not median >= MIN_PICTURE_COSINE:
        raise broken(
            gallery,
            f"stored vectors do not fit their pictures (median cosine {median:.3f} over "
            f"{len(rows)} tiles)",
        )
    return median


def _embed(encoder: Encoder, images: Sequence[UInt8]) -> Float64:
    view = encoder.view(VIEW)
    tensors = [prepare(Photo.of(pixels), view).tensor for pixels in images]
    return np.concatenate([encoder.encode(tensor[None], VIEW) for tensor in tensors]).astype(
        np.float64
    )


def broken(gallery: Gallery, what: str) -> GalleryCorrupt:
    """The error that names the gallery and the promise that does not hold."""
    return GalleryCorrupt(
        f"gallery version {gallery.directory}: {what}", hint="build the gallery again"
    )
