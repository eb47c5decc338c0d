"""The build: sources to a live gallery version."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import crossfix
from crossfix.encoder import Encoder
from crossfix.errors import InvalidParameter, SourceError
from crossfix.gallery import version_directory
from crossfix.gallery_manifest import (
    MANIFEST_FILE,
    PICTURES_FILE,
    TILES_FILE,
    VECTORS_FILE,
    BoundsModel,
    GalleryManifest,
    IndexInfo,
    SourceInfo,
)
from crossfix.manifest import FileEntry, write_json_atomic
from crossfix.tile_table import TileTable
from index_builder.embedding import PICTURE_PX, EmbeddingStats, Progress, Work, embed_tiles
from index_builder.publish import (
    Step,
    disk_full_reported,
    ignore_step,
    locked,
    new_version_name,
    publish,
    require_space,
    staging,
)
from index_builder.recipe import GalleryRecipe
from index_builder.sources.opening import close_sources, open_sources
from index_builder.spool import Spool

_PICTURE_BYTES = 30_000  # a 256-pixel JPEG of quality 85 of busy imagery
_ROW_BYTES = 400
OVERSAMPLING = 2  # tiles are read this much finer than the encoder's input, which resizes itself


@dataclass(frozen=True)
class BuildRequest:
    """What to build.

    Attributes:
        keep: versions kept, the live one included.
        readers: threads that read and preprocess.
        threads: of the encoder on the CPU; 0 is all cores.
    """

    encoder_dir: Path
    recipe: GalleryRecipe
    out: Path
    keep: int = 3
    skip_unreadable: bool = False
    readers: int = 2
    threads: int = 0
    device: str = "auto"
    batch_size: int = 16

    def check(self) -> None:
        """Refuses impossible values before any work.

        Raises:
            InvalidParameter: naming the value.
        """
        for name in ("keep", "readers", "batch_size"):
            if getattr(self, name) < 1:
                raise InvalidParameter(
                    f"{name} {getattr(self, name)} is not a number of them", hint="give 1 or more"
                )


@dataclass(frozen=True)
class BuildReport:
    """What was built and made live.

    Attributes:
        planned_tiles: before empty and unreadable ones were left out.
        removed_versions: pruned old ones.
    """

    gallery: Path
    version: str
    directory: Path
    manifest: GalleryManifest
    planned_tiles: int
    stats: EmbeddingStats
    removed_versions: list[str]


def load_encoder(request: BuildRequest) -> Encoder:
    """The request's encoder, on its device."""
    threads = request.threads or os.cpu_count() or 1
    return Encoder.load(request.encoder_dir, device=request.device, threads=threads)


def build_gallery(
    request: BuildRequest,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    step: Step = ignore_step,
) -> BuildReport:
    """Builds a version and makes it live; until then nothing of the old one changes.

    Args:
        on_progress: told after every batch.
        step: told each of `publish.STEPS` as it is passed.

    Raises:
        EncoderError: the encoder cannot be used.
        SourceError: imagery cannot be read, or gives no tile.
        InvalidParameter: an impossible size, overlap or count.
        PublishError: locked by another build, not writable, or disk full.
    """
    request.check()
    encoder = load_encoder(request)
    work = plan_work(request, encoder)
    planned = sum(len(part.plans) for part in work)
    needed_bytes = estimate_bytes(planned, encoder.embedding_dim)
    try:
        with (
            locked(request.out),
            disk_full_reported(request.out, needed_bytes),
            staging(request.out) as directory,
        ):
            require_space(request.out, needed_bytes)
            manifest, stats = _write_files(directory, request, encoder, work, on_progress)
            removed = publish(
                request.out, directory, manifest.version, keep=request.keep, step=step
            )
    finally:
        close_sources([part.source for part in work])
    return BuildReport(
        gallery=request.out,
        version=manifest.version,
        directory=version_directory(request.out, manifest.version),
        manifest=manifest,
        planned_tiles=planned,
        stats=stats,
        removed_versions=removed,
    )


def _write_files(
    directory: Path,
    request: BuildRequest,
    encoder: Encoder,
    work: Sequence[Work],
    on_progress: Callable[[Progress], None] | None,
) -> tuple[GalleryManifest, EmbeddingStats]:
    """Everything a version consists of, in the staging directory."""
    spool = Spool(directory, encoder.embedding_dim)
    try:
        stats = embed_tiles(
            encoder,
            work,
            spool,
            threads=request.readers,
            batch_size=request.batch_size,
            skip_unreadable=request.skip_unreadable,
            on_progress=on_progress,
        )
        _require_tiles(stats, sum(len(part.plans) for part in work))
        table, content_hash = spool.write_version()
    finally:
        spool.close()
    version = new_version_name(request.out, content_hash)
    infos = [part.source.describe() for part in work]
    manifest = _describe(directory, version, content_hash, table, encoder, request, infos)
    write_json_atomic(directory / MANIFEST_FILE, manifest.model_dump(mode="json"))
    return manifest, stats


def plan_work(request: BuildRequest, encoder: Encoder) -> list[Work]:
    """Opens the sources and plans their tiles.

    Raises:
        SourceError: a source cannot be read or planned.
    """
    view = encoder.view("satellite")
    tile_px = max(PICTURE_PX, OVERSAMPLING * max(view.height_px, view.width_px))
    recipe = request.recipe
    sources = open_sources(recipe.sources, tile_px=tile_px)
    try:
        return [
            Work(source, source.describe().name, list(source.plan(size_m, recipe.overlap)))
            for source in sources
            for size_m in (recipe.tile_sizes_m or (None,))
        ]
    except BaseException:
        close_sources(sources)
        raise


def estimate_bytes(tiles: int, embedding_dim: int) -> int:
    """Disk space a build of so many tiles takes at its peak, spool files included."""
    return 2 * tiles * (2 * embedding_dim + _PICTURE_BYTES) + tiles * _ROW_BYTES + 1_000_000


def _require_tiles(stats: EmbeddingStats, planned: int) -> None:
    if not stats.tiles:
        raise SourceError(
            f"none of {planned} planned tiles holds an image ({stats.empty_tiles} more than half "
            f"empty, {len(stats.unreadable)} unreadable)",
            hint="use smaller tiles, or check the imagery's nodata value",
        )


def _describe(
    directory: Path,
    version: str,
    content_hash: str,
    table: TileTable,
    encoder: Encoder,
    request: BuildRequest,
    infos: list[SourceInfo],
) -> GalleryManifest:
    return GalleryManifest(
        version=version,
        embedding_space_id=encoder.embedding_space_id,
        encoder_name=encoder.manifest.name,
        tile_count=len(table),
        embedding_dim=encoder.embedding_dim,
        index=IndexInfo(kind="exact_f16", parameters={}, measured_recall_at_10=1.0),
        bounds=find_bounds(table),
        tile_sizes_m=[float(size) for size in np.unique(table.size_m.round(3))],
        overlap=request.recipe.overlap,
        sources=infos,
        files={
            name: FileEntry.of(directory / name)
            for name in (VECTORS_FILE, TILES_FILE, PICTURES_FILE)
        },
        content_hash=content_hash,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        builder_revision=crossfix.__version__,
    )


def find_bounds(table: TileTable) -> BoundsModel:
    """The box around all tiles; across the antimeridian where that is the shorter way round."""
    west, east = float(table.west.min()), float(table.east.max())
    if east - west > 180 or np.any(table.west > table.east):
        shifted_west, shifted_east = table.west % 360, table.east % 360
        if np.ptp(np.concatenate([shifted_west, shifted_east])) < 180:
            west = float(table.west[shifted_west.argmin()])
            east = float(table.east[shifted_east.argmax()])
        elif np.any(table.west > table.east):
            west, east = -180.0, 180.0
    south, north = float(table.south.min()), float(table.north.max())
    return BoundsModel(west=west, south=south, east=east, north=north)
