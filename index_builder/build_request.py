"""What a build is asked for, and what it answers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from crossfix.errors import InvalidParameter
from crossfix.gallery_manifest import GalleryManifest
from index_builder.assembly.changes import UpdateCounts
from index_builder.embedding.progress import EmbeddingStats
from index_builder.recipe import GalleryRecipe
from index_builder.sources.confinement import ANYWHERE, Confinement


@dataclass(frozen=True)
class BuildRequest:
    """What to build.

    Attributes:
        keep: versions kept, the live one included.
        readers: threads that read and preprocess.
        threads: of the encoder on the CPU; 0 is all cores.
        batch_size: tiles in every run of the encoder on a GPU.
        engine: `local` threads, or `ray` on the cluster at `ray_address` with at most `workers`.
        shards: more than one makes a sharded gallery.
        within: where all that is read must lie.
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
    engine: Literal["local", "ray"] = "local"
    ray_address: str = ""
    workers: int = 0
    shards: int = 1
    within: Confinement = ANYWHERE

    def check(self) -> None:
        """Refuses impossible values before any work.

        Raises:
            InvalidParameter: naming the value.
        """
        lowest = {"keep": 1, "readers": 1, "batch_size": 1, "shards": 1, "threads": 0, "workers": 0}
        for name, low in lowest.items():
            if getattr(self, name) < low:
                raise InvalidParameter(
                    f"{name} {getattr(self, name)} is not a number of them",
                    hint=f"give {low} or more",
                )


@dataclass(frozen=True)
class Base:
    """The live version an update starts from; its unchanged tiles are taken over.

    Attributes:
        manifest: of a sharded gallery what one manifest would say of the epoch.
        directories: of the version, or of its shards' versions in their order.
        reread: compare pixels even where a source's fingerprint says that nothing has changed.
        retiring: how many of the new recipe's retired regions, its last ones, are new.
    """

    manifest: GalleryManifest
    directories: tuple[Path, ...]
    reread: bool = False
    retiring: int = 0


@dataclass(frozen=True)
class BuildReport:
    """What was built and made live.

    Attributes:
        planned_tiles: before empty and unreadable ones were left out.
        removed_versions: pruned old ones.
        changes: against the version that was updated; None for a build.
        published: False where an update found nothing to change: the old version stays live.
        shards: 1 for a gallery of one piece.
        kept_shards: those that an update found unchanged; their files are shared with the older
            epoch.
    """

    gallery: Path
    version: str
    directory: Path
    manifest: GalleryManifest
    planned_tiles: int
    stats: EmbeddingStats
    removed_versions: list[str]
    changes: UpdateCounts | None = None
    published: bool = True
    shards: int = 1
    kept_shards: int = 0
