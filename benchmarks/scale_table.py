"""What galleries of 10^5 to 10^9 tiles cost: the tables of docs/scale.md, computed.

`python -m benchmarks.scale_table` prints them; a test keeps the document equal. The constants were
measured with this code (how, is said beside each) unless a source is named.
"""

import math
from collections.abc import Callable, Sequence

from index_builder.embedding.parts import PART_TILES
from index_builder.indexing.choosing import EXACT_ROWS, index_bytes

SIZES = (10**5, 10**6, 10**7, 10**8, 10**9)
DIM = 1024  # ConvNeXt-B; the demo encoder has 256
SMALL_DIM = 256

# Files of galleries built from four real orthophotos (suburb, forest, city; 256 to 15,000 tiles),
# bytes divided by tiles: pictures 9,600 to 19,500, rows 47 to 65.
PICTURE_BYTES = 15_000
ROW_BYTES = 50
# Private memory of a process after opening a gallery of 800,000 tiles, vectors being mapped.
TABLE_MEMORY_BYTES = 550
# One core of an EPYC server of 2024 (AVX-512): reading, preprocessing for 384 px, hash, picture.
READING_MS = 11.0  # 5.1 to 17.2 on three orthophotos
DEMO_MS = 3.0  # a whole build with the demo encoder (64 px), for each tile: 2.7 to 5.0
# ConvNeXt-B at 384 px. CPU: int8, ONNX Runtime, one core of the same machine. GPU: timm's published
# inference table (mixed precision, large batches), RTX 4090; not measured with this code.
BASE_CPU_MS = 196.0
BASE_GPU_TILES_PER_S = 716.0
# A scan of fp16 vectors runs at the memory's speed: 30 GB/s for one core of that machine.
SCAN_BYTES_PER_S = 30e9

# One process of the same machine, on one SSD, pictures included.
SURVEY_TILES_PER_S = 40_000.0  # planning everything twice: once to count, once to do
ASSEMBLY_TILES_PER_S = 7_000.0
CUTTING_TILES_PER_S = 7_000.0  # into shards, each synced, verified and published

STRIDE_M = 50.0
SHARD_TILES = 16_000_000
KEYS_BYTES = 100  # of memory for each tile while a version is assembled


def gallery_bytes(tiles: int, dim: int = DIM) -> int:
    """Disk of a published version."""
    return tiles * (2 * dim + PICTURE_BYTES + ROW_BYTES) + codes_bytes(tiles, dim)


def codes_bytes(tiles: int, dim: int = DIM) -> int:
    """Memory of the index over all shards; none where search is exact."""
    shards = shard_count(tiles)
    if tiles // shards <= EXACT_ROWS:
        return 0
    return shards * index_bytes("ivf_rabitq", tiles // shards, dim)


def shard_count(tiles: int) -> int:
    """Shards of at most `SHARD_TILES`."""
    return math.ceil(tiles / SHARD_TILES)


def building_bytes(tiles: int, dim: int = DIM) -> int:
    """Disk at the peak of a build: part files, the assembled version, and shards if any."""
    copies = 2 if shard_count(tiles) == 1 else 3
    return copies * gallery_bytes(tiles, dim)


def serving_memory_bytes(tiles: int, dim: int = DIM) -> int:
    """Memory that must be there: tile tables and codes; vectors are read from disk as needed."""
    return tiles * TABLE_MEMORY_BYTES + codes_bytes(tiles, dim)


def hot_memory_bytes(tiles: int, dim: int = DIM) -> int:
    """The same with all vectors in the page cache, which exact search needs to be fast."""
    return serving_memory_bytes(tiles, dim) + 2 * dim * tiles


def size_table() -> str:
    """What a gallery takes on disk and in memory."""
    return _table(
        [
            ("tiles", _count),
            ("area at 50 m stride", lambda n: f"{_short(n * STRIDE_M**2 / 1e6)} km2"),
            ("vectors, 1024-d", lambda n: _bytes(2 * DIM * n)),
            ("vectors, 256-d", lambda n: _bytes(2 * SMALL_DIM * n)),
            ("pictures", lambda n: _bytes(PICTURE_BYTES * n)),
            ("tile rows", lambda n: _bytes(ROW_BYTES * n)),
            ("index codes", lambda n: _bytes(codes_bytes(n)) if codes_bytes(n) else "none, exact"),
            ("disk, all", lambda n: _bytes(gallery_bytes(n))),
            ("disk while building", lambda n: _bytes(building_bytes(n))),
            ("memory to serve", lambda n: _bytes(serving_memory_bytes(n))),
            ("with vectors cached", lambda n: _bytes(hot_memory_bytes(n))),
            ("shards", lambda n: str(shard_count(n))),
        ]
    )


def time_table() -> str:
    """What embedding, publishing and searching take."""
    gpu_s = 1 / BASE_GPU_TILES_PER_S
    base_s = (BASE_CPU_MS + READING_MS) / 1e3
    beside = math.ceil(BASE_GPU_TILES_PER_S * READING_MS / 1e3)
    return _table(
        [
            ("tiles", _count),
            ("demo encoder, 1 core", lambda n: _duration(n * DEMO_MS / 1e3)),
            ("ConvNeXt-B int8, 1 core", lambda n: _duration(n * base_s)),
            ("ConvNeXt-B int8, 256 cores", lambda n: _duration(n * base_s / 256)),
            ("ConvNeXt-B, 1 GPU", lambda n: _duration(n * gpu_s)),
            ("ConvNeXt-B, 16 GPUs", lambda n: _duration(n * gpu_s / 16)),
            ("cores beside each GPU", lambda _n: str(beside)),
            ("part files", lambda n: _count(math.ceil(n / PART_TILES))),
            ("planning, 1 process", lambda n: _duration(n / SURVEY_TILES_PER_S)),
            ("assembling, 1 process", lambda n: _duration(n / ASSEMBLY_TILES_PER_S)),
            ("memory to assemble", lambda n: _bytes(KEYS_BYTES * n)),
            (
                "cutting and publishing shards",
                lambda n: _duration(n / CUTTING_TILES_PER_S) if shard_count(n) > 1 else "none",
            ),
            ("exact scan, 1 core, 1 query", lambda n: _duration(2 * DIM * n / SCAN_BYTES_PER_S)),
        ]
    )


def main() -> int:
    """Prints both tables."""
    print(f"{size_table()}\n\n{time_table()}")
    return 0


def _table(rows: Sequence[tuple[str, Callable[[int], str]]]) -> str:
    lines = [[name, *(cell(tiles) for tiles in SIZES)] for name, cell in rows]
    lines.insert(1, ["---", *("---:" for _ in SIZES)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _count(value: int) -> str:
    return f"{value:,}"


def _bytes(value: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{_short(value)} {unit}"


def _duration(seconds: float) -> str:
    for unit, size, most in (("ms", 1e-3, 1.0), ("s", 1.0, 120), ("min", 60, 7200)):
        if seconds < most:
            return f"{_short(seconds / size)} {unit}"
    hours = seconds / 3600
    return f"{_short(hours)} h" if hours < 48 else f"{_short(hours / 24)} days"


def _short(value: float) -> str:
    """Two significant digits: more would be claimed, not known."""
    if value == 0:
        return "0"
    digits = max(0, 1 - math.floor(math.log10(abs(value))))
    rounded = round(value, 1 - math.floor(math.log10(abs(value))))
    return f"{rounded:,.{min(digits, 4)}f}"


if __name__ == "__main__":
    raise SystemExit(main())
