"""What a build would cost, measured on a few of its own tiles; nothing is written or kept."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from crossfix.encoder import Encoder
from crossfix.gallery_manifest import IndexKind
from crossfix.onnx_session import CUDA
from index_builder.build import BuildRequest, estimate_bytes, load_encoder, no_tile_wanted
from index_builder.embedding.parts import Part, iterate_parts
from index_builder.embedding.preparation import tile_px_of
from index_builder.forecast_sampling import Sample, try_tiles
from index_builder.indexing.choosing import index_bytes, kinds_to_try
from index_builder.sources.opening import close_sources, open_sources
from index_builder.sources.source import TileSource

SAMPLED_PARTS = 4
_ROW_BYTES = 150  # of tiles.parquet
_JPEG_BYTES = 12_000  # of a tile's picture, where none could be tried
_QUEUE_BYTES = 64 << 20  # decoded tiles that wait for the encoder
_READER_BYTES = 60 << 20  # what a source holds for each reading thread
_RASTER_CACHE_BYTES = 256 << 20  # GDAL's, see `raster_handles`
_TILE_BYTES = 300  # columns of a tile while the version is put together
_LISTED_SIZES = 32


@dataclass
class SourceForecast:
    """Tiles of one source and one tile size (or of all its own sizes).

    Attributes:
        sizes_m: different sides, at most some tens.
        area_km2: covered ground, overlaps of a regular grid counted once.
    """

    name: str
    kind: str
    sizes_m: list[float] = field(default_factory=list)
    tiles: int = 0
    area_km2: float = 0.0


@dataclass(frozen=True)
class Forecast:
    """Size and time of a build.

    Attributes:
        tiles: at most; those more than half empty are found when they are read.
        area_km2: of all sources, each at the size that covers most.
        memory_bytes: of the building process.
        gallery_bytes: of the finished version, its index included.
        peak_bytes: disk space while building.
        seconds: on this machine, from a sample; reading and encoding share its cores.
        read_s, encode_s: of one tile on one core.
        index_kinds: the kinds that will be tried, in this order.
    """

    rows: list[SourceForecast]
    tiles: int
    area_km2: float
    memory_bytes: int
    gallery_bytes: int
    peak_bytes: int
    seconds: float
    sampled_tiles: int
    read_s: float
    encode_s: float
    index_kinds: list[IndexKind]


def forecast_build(request: BuildRequest) -> Forecast:
    """Plans the build and times a few tiles of it.

    Raises:
        CrossfixError: as `build_gallery`, before anything is written.
    """
    request.check()
    encoder = load_encoder(request)
    sources = open_sources(request.recipe.sources, tile_px=tile_px_of(encoder))
    try:
        rows, kept = _survey(sources, request)
        if not rows:
            raise no_tile_wanted()
        samples = list(try_tiles(encoder, sources, kept, skip=request.skip_unreadable))
    finally:
        close_sources(sources)
    return _forecast(request, encoder, rows, samples)


def _survey(
    sources: Sequence[TileSource], request: BuildRequest
) -> tuple[list[SourceForecast], list[Part]]:
    """Counts, and some parts drawn by chance (Vitter's reservoir), the same at every call."""
    infos = [source.describe() for source in sources]
    rows: dict[tuple[int, float | None], SourceForecast] = {}
    kept: list[Part] = []
    rng = np.random.default_rng(0)
    for part in iterate_parts(sources, request.recipe):
        info, own = infos[part.source], _has_own_sizes(sources[part.source], request)
        key = (part.source, None if own else part.plans[0].size_m)
        row = rows.setdefault(key, SourceForecast(info.name, info.kind))
        _count(row, part, overlap=0.0 if own else request.recipe.overlap)
        if len(kept) < SAMPLED_PARTS:
            kept.append(part)
        elif (place := int(rng.integers(part.number + 1))) < SAMPLED_PARTS:
            kept[place] = part
    return list(rows.values()), kept


def _has_own_sizes(source: TileSource, request: BuildRequest) -> bool:
    return source.has_own_sizes or not request.recipe.tile_sizes_m


def _count(row: SourceForecast, part: Part, *, overlap: float) -> None:
    sizes = np.array([plan.size_m for plan in part.plans])
    row.tiles += len(sizes)
    row.area_km2 += float(((sizes * (1 - overlap)) ** 2).sum()) / 1e6
    if len(row.sizes_m) < _LISTED_SIZES:
        row.sizes_m = sorted({*row.sizes_m, *np.unique(sizes.round(3)).tolist()})


def _forecast(
    request: BuildRequest, encoder: Encoder, rows: list[SourceForecast], samples: list[Sample]
) -> Forecast:
    tiles, dim = sum(row.tiles for row in rows), encoder.embedding_dim
    jpegs = [one.jpeg_bytes for one in samples if one.jpeg_bytes is not None] or [_JPEG_BYTES]
    parts_bytes = int(tiles * (2 * dim + _ROW_BYTES + np.mean(jpegs)))
    kinds = kinds_to_try(request.recipe.index, tiles, dim)
    needs_file = kinds[0] in ("ivf_pq_fastscan", "ivf_rabitq")
    search_bytes = index_bytes(kinds[0], tiles, dim) if needs_file else 0
    read_s = float(np.mean([one.read_s for one in samples] or [0.0]))
    encode_s = float(np.mean([one.encode_s for one in samples] or [0.0]))
    return Forecast(
        rows=rows,
        tiles=tiles,
        area_km2=sum(
            max(row.area_km2 for row in rows if row.name == name)
            for name in {row.name for row in rows}
        ),
        memory_bytes=_memory_now() + _working_bytes(request, rows) + tiles * _TILE_BYTES
        + search_bytes,
        gallery_bytes=parts_bytes + search_bytes,
        peak_bytes=max(
            _copies(request) * parts_bytes + search_bytes,
            estimate_bytes(tiles, dim, shards=request.shards) // 4,
        ),
        seconds=tiles * _seconds_of_a_tile(request, encoder, read_s, encode_s),
        sampled_tiles=len(samples),
        read_s=read_s,
        encode_s=encode_s,
        index_kinds=kinds,
    )  # fmt: skip


def _copies(request: BuildRequest) -> int:
    """Of every tile at the peak: in its part, put together, and in its shard if there are any."""
    return 2 if request.shards == 1 else 3


def _working_bytes(request: BuildRequest, rows: list[SourceForecast]) -> int:
    """What does not grow with the number of tiles."""
    rasters = any(row.kind in ("raster", "mosaic") for row in rows)
    cached = _RASTER_CACHE_BYTES if rasters else 0
    return _QUEUE_BYTES + request.readers * _READER_BYTES + cached


def _seconds_of_a_tile(
    request: BuildRequest, encoder: Encoder, read_s: float, encode_s: float
) -> float:
    """Readers and encoder work at once; on the CPU they share the cores."""
    cores = os.cpu_count() or 1
    if encoder.provider == CUDA:
        return max(read_s / min(request.readers, cores), encode_s)
    lanes = min(request.threads or cores, cores)
    return max((read_s + encode_s) / cores, read_s / request.readers, encode_s / lanes)


def _memory_now() -> int:
    """Of this process, with the encoder loaded."""
    try:
        resident = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return resident * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):  # not Linux
        return 500_000_000
