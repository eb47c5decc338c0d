"""What a worker needs to know, wherever it runs."""

from dataclasses import dataclass
from pathlib import Path

from index_builder.sources.confinement import ANYWHERE, Confinement
from index_builder.sources.spec import SourceSpec


@dataclass(frozen=True)
class EmbeddingTask:
    """Everything that embedding needs besides the parts; picklable.

    Attributes:
        sources: the recipe's, in its order, named.
        tile_px: the largest side in pixels anyone needs of a tile.
        parts_directory: where part files go.
        device: `auto`, `cpu`, `cuda` or `cuda:<index>`.
        threads: tiles encoded at once on the CPU, one thread each; 0 is all cores.
        readers: threads that read and preprocess.
        batch_size: tiles in every run on a GPU; on the CPU every run takes one.
        skip_unreadable: leave out tiles that cannot be read, and list them.
        reuse_from: directories of an older version, one for each of its shards, whose unchanged
            tiles are taken over; none where there is nothing to take.
        reread: compare pixels even where a source's fingerprint says that nothing has changed.
        within: where all that is read must lie.
    """

    encoder_dir: Path
    sources: tuple[SourceSpec, ...]
    tile_px: int
    parts_directory: Path
    device: str
    threads: int
    readers: int
    batch_size: int
    skip_unreadable: bool
    reuse_from: tuple[Path, ...] = ()
    reread: bool = False
    within: Confinement = ANYWHERE
