"""Checking a published gallery: bytes, rows, vectors, order, and what the encoder says today."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from crossfix.encoder import Encoder
from crossfix.errors import GalleryCorrupt
from crossfix.gallery import Gallery
from crossfix.gallery_manifest import PICTURES_FILE
from crossfix.geodesy import morton_code
from crossfix.images import decode
from crossfix.preprocess import prepare
from crossfix.tile_table import TileTable

MAX_NORM_ERROR = 1e-2
MIN_SAMPLE_COSINE = 0.6  # pictures are smaller and JPEG; another tile or model is far below
SAMPLE_TILES = 16


@dataclass(frozen=True)
class VerifyReport:
    """What was checked.

    Attributes:
        sample_cosine: median cosine of stored vectors to those of the tiles' pictures, or None
            without an encoder.
    """

    version: str
    tiles: int
    sources: int
    bytes: int
    max_norm_error: float
    sample_cosine: float | None


def verify_gallery(
    root: Path, *, version: str | None = None, encoder: Encoder | None = None
) -> VerifyReport:
    """Checks every promise of a gallery version.

    Raises:
        GalleryNotFound: nothing there.
        GalleryCorrupt: the first promise that does not hold.
        EncoderGalleryMismatch: the encoder is another than the gallery's.
    """
    gallery = Gallery.open(root, version=version, verify=True)
    norm_error = _check_norms(gallery)
    _check_rows(gallery)
    _check_places(gallery)
    return VerifyReport(
        version=gallery.manifest.version,
        tiles=len(gallery),
        sources=len(gallery.manifest.sources),
        bytes=sum(entry.size_bytes for entry in gallery.manifest.files.values()),
        max_norm_error=norm_error,
        sample_cosine=_check_sample(gallery, encoder) if encoder is not None else None,
    )


def _check_norms(gallery: Gallery) -> float:
    worst = 0.0
    for start in range(0, len(gallery), 65536):
        norms = np.linalg.norm(gallery.vectors[start : start + 65536].astype(np.float32), axis=1)
        errors = np.nan_to_num(np.abs(norms - 1), nan=np.inf)
        worst = max(worst, float(errors.max()))
        if worst > MAX_NORM_ERROR:
            row = start + int(errors.argmax())
            raise _broken(
                gallery,
                f"the vector of tile {gallery.tiles.ids[row]} has norm "
                f"{norms[row - start]:.4f} instead of 1",
            )
    return worst


def _check_rows(gallery: Gallery) -> None:
    tiles = gallery.tiles
    if len(set(tiles.ids)) != len(tiles):
        raise _broken(gallery, "two tiles have the same id")
    pictures = pq.ParquetFile(gallery.directory / PICTURES_FILE)
    if pictures.read(columns=["tile_id"]).column("tile_id").to_pylist() != tiles.ids:
        raise _broken(gallery, "the pictures are not those of the tiles, row by row")
    named = {source.name for source in gallery.manifest.sources}
    if not set(tiles.source) <= named:
        raise _broken(
            gallery,
            f"tiles come from {sorted(set(tiles.source) - named)}, which the "
            "manifest does not name",
        )


def _check_places(gallery: Gallery) -> None:
    tiles: TileTable = gallery.tiles
    codes = morton_code(tiles.lon, tiles.lat)
    if np.any(codes[1:] < codes[:-1]):
        raise _broken(gallery, "rows are not in Morton order of their centres")
    inside_lon = (tiles.lon - tiles.west) % 360 <= (tiles.east - tiles.west) % 360
    if not (inside_lon & (tiles.south <= tiles.lat) & (tiles.lat <= tiles.north)).all():
        raise _broken(gallery, "a tile's centre lies outside its bounds")
    box = gallery.manifest.bounds
    span = (box.east - box.west) % 360 or 360.0
    within = ((tiles.lon - box.west) % 360 <= span) & (tiles.lat >= box.south)
    if not (within & (tiles.lat <= box.north)).all():
        raise _broken(gallery, "a tile lies outside the manifest's bounds")
    if not (np.isfinite(tiles.size_m).all() and (tiles.size_m > 0).all()):
        raise _broken(gallery, "a tile has no size")


def _check_sample(gallery: Gallery, encoder: Encoder) -> float:
    gallery.require_encoder(encoder)
    view = encoder.view("satellite")
    rows = np.unique(np.linspace(0, len(gallery) - 1, SAMPLE_TILES).astype(int))
    tensors = [prepare(decode(gallery.picture(int(row))), view).tensor for row in rows]
    embeddings = encoder.encode(np.stack(tensors), "satellite")
    cosines = (embeddings * gallery.vectors[rows].astype(np.float32)).sum(axis=1)
    median = float(np.median(cosines))
    if not median >= MIN_SAMPLE_COSINE:
        raise _broken(
            gallery,
            f"stored vectors do not fit their pictures (median cosine "
            f"{median:.3f} over {len(rows)} tiles)",
        )
    return median


def _broken(gallery: Gallery, what: str) -> GalleryCorrupt:
    return GalleryCorrupt(
        f"gallery version {gallery.directory}: {what}", hint="build the gallery again"
    )
