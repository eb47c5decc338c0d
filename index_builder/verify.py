"""Checking a published gallery: bytes, rows, vectors, order, index, and a sample embedded again."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crossfix.encoder import Encoder
from crossfix.gallery import Gallery
from crossfix.gallery_manifest import PICTURES_FILE, TILES_FILE
from crossfix.geodesy import morton_code
from crossfix.tile_table import TileTable
from index_builder.assembly.content import ContentHash, hash_content
from index_builder.verify_sample import broken, check_sample

MAX_NORM_ERROR = 1e-2
INDEX_SAMPLES = 64
MIN_FOUND_SHARE = 0.8  # recall of approximate kinds is measured when they are built
_SCORE_SLACK = 1e-2
_HASHED_SINCE = 2  # format whose columns the content hash is of


@dataclass(frozen=True)
class VerifyReport:
    """What was checked.

    Attributes:
        sample_cosine: median cosine of stored vectors to those of tiles embedded again, or None
            without an encoder.
        sample_reread: how many tiles were read again from their sources and compared to the last
            pixel; where 0, the sample is of the stored pictures.
        notes: why a source could not be read again.
    """

    version: str
    tiles: int
    sources: int
    bytes: int
    max_norm_error: float
    sample_cosine: float | None
    sample_reread: int = 0
    notes: tuple[str, ...] = ()


def verify_gallery(
    root: Path,
    *,
    version: str | None = None,
    encoder: Encoder | None = None,
    whole: ContentHash | None = None,
) -> VerifyReport:
    """Checks every promise of a gallery version.

    Args:
        whole: takes in the tiles and vectors of a shard; see `hash_content`.

    Raises:
        GalleryNotFound: nothing there.
        GalleryCorrupt: the first promise that does not hold.
        EncoderGalleryMismatch: the encoder is another than the gallery's.
    """
    gallery = Gallery.open(root, version=version, verify=True)
    norm_error = _check_norms(gallery)
    _check_rows(gallery)
    _check_places(gallery)
    _check_index(gallery)
    sample = None if encoder is None else check_sample(gallery, encoder)
    _check_content(gallery, whole)  # last: what is wrong is said by the others more exactly
    return VerifyReport(
        version=gallery.manifest.version,
        tiles=len(gallery),
        sources=len(gallery.manifest.sources),
        bytes=sum(entry.size_bytes for entry in gallery.manifest.files.values()),
        max_norm_error=norm_error,
        sample_cosine=None if sample is None else sample.cosine,
        sample_reread=0 if sample is None else sample.reread,
        notes=() if sample is None else sample.notes,
    )


def _check_norms(gallery: Gallery) -> float:
    worst = 0.0
    for start in range(0, len(gallery), 65536):
        norms = np.linalg.norm(gallery.vectors[start : start + 65536].astype(np.float32), axis=1)
        errors = np.nan_to_num(np.abs(norms - 1), nan=np.inf)
        worst = max(worst, float(errors.max()))
        if worst > MAX_NORM_ERROR:
            row = start + int(errors.argmax())
            raise broken(
                gallery,
                f"the vector of tile {gallery.tiles.ids[row]} has norm "
                f"{norms[row - start]:.4f} instead of 1",
            )
    return worst


def _check_rows(gallery: Gallery) -> None:
    ids = pq.read_table(gallery.directory / TILES_FILE, columns=["tile_id"]).column(0)
    if pc.count_distinct(ids).as_py() != len(ids):
        raise broken(gallery, "two tiles have the same id")
    pictures = pq.read_table(gallery.directory / PICTURES_FILE, columns=["tile_id"]).column(0)
    if not pictures.equals(ids):
        raise broken(gallery, "the pictures are not those of the tiles, row by row")
    found = pq.read_table(gallery.directory / TILES_FILE, columns=["source"]).column(0)
    unnamed = set(found.unique().to_pylist()) - {one.name for one in gallery.manifest.sources}
    if unnamed:
        raise broken(
            gallery, f"tiles come from {sorted(unnamed)}, which the manifest does not name"
        )


def _check_index(gallery: Gallery) -> None:
    """Opening has compared its count with the rows; here, that it finds what it was given."""
    rows = np.unique(np.linspace(0, len(gallery) - 1, INDEX_SAMPLES).astype(int))
    vectors = gallery.vectors[rows].astype(np.float32)
    best = gallery.search(vectors, 1).scores[:, 0]
    found = float(np.mean(best >= (vectors**2).sum(axis=1) - _SCORE_SLACK))
    if found < MIN_FOUND_SHARE:
        raise broken(
            gallery, f"its index finds only {found:.0%} of the vectors it was made of by themselves"
        )


def _check_places(gallery: Gallery) -> None:
    tiles: TileTable = gallery.tiles
    codes = morton_code(tiles.lon, tiles.lat)
    if np.any(codes[1:] < codes[:-1]):
        raise broken(gallery, "rows are not in Morton order of their centres")
    inside_lon = (tiles.lon - tiles.west) % 360 <= (tiles.east - tiles.west) % 360
    if not (inside_lon & (tiles.south <= tiles.lat) & (tiles.lat <= tiles.north)).all():
        raise broken(gallery, "a tile's centre lies outside its bounds")
    box = gallery.manifest.bounds
    span = (box.east - box.west) % 360 or 360.0
    within = ((tiles.lon - box.west) % 360 <= span) & (tiles.lat >= box.south)
    if not (within & (tiles.lat <= box.north)).all():
        raise broken(gallery, "a tile lies outside the manifest's bounds")
    if not (np.isfinite(tiles.size_m).all() and (tiles.size_m > 0).all()):
        raise broken(gallery, "a tile has no size")


def _check_content(gallery: Gallery, whole: ContentHash | None) -> None:
    if gallery.manifest.format_version < _HASHED_SINCE:
        return  # its hash is of other columns
    if hash_content(gallery.directory, whole=whole) != gallery.manifest.content_hash:
        raise broken(gallery, "its tiles and vectors do not have the content hash of its manifest")
