"""The small files of a sharded gallery: one epoch names one version of every shard.

<root>/CURRENT_EPOCH.json       {"epoch": "..."}; the only file that is ever replaced
<root>/epochs/<epoch>.json      EpochManifest
<root>/shards/<nnn>/            each an ordinary gallery
"""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from crossfix.errors import GalleryCorrupt, GalleryNotFound
from crossfix.gallery_manifest import CURRENT_FILE, BoundsModel
from crossfix.manifest import StrictModel, read_model

EPOCH_FORMAT_VERSION = 1
CURRENT_EPOCH_FILE = "CURRENT_EPOCH.json"
EPOCHS_DIRECTORY = "epochs"
SHARDS_DIRECTORY = "shards"
MORTON_END = 1 << 64  # one past the last code

_NAME = r"^[A-Za-z0-9._-]+$"


class CurrentEpoch(StrictModel):
    """Which epoch is live."""

    epoch: str = Field(min_length=1, pattern=_NAME)


class ShardEntry(StrictModel):
    """One shard of an epoch.

    Attributes:
        directory: of the shard's gallery; relative ones count from the sharded gallery's root.
        version: of that gallery; its own live version does not matter.
        morton_low, morton_high: the codes it is in charge of, `morton_high` excluded.
        manifest_sha256: of the version's `manifest.json`, which holds the hash of every file.
    """

    directory: str = Field(min_length=1)
    version: str = Field(pattern=_NAME)
    morton_low: int = Field(ge=0, lt=MORTON_END)
    morton_high: int = Field(gt=0, le=MORTON_END)
    tile_count: int = Field(gt=0)
    bounds: BoundsModel
    content_hash: str
    manifest_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class EpochManifest(StrictModel):
    """Everything the readers of a sharded gallery need to know.

    Attributes:
        shards: in Morton order; together they are in charge of every code, none of two shards.
        content_hash: of the same tiles as one gallery: sharding changes no content.
        created: UTC, ISO 8601.
    """

    format_version: int = Field(
        default=EPOCH_FORMAT_VERSION, ge=EPOCH_FORMAT_VERSION, le=EPOCH_FORMAT_VERSION
    )
    epoch: str = Field(pattern=_NAME)
    embedding_space_id: str
    encoder_name: str
    embedding_dim: int = Field(gt=0)
    tile_count: int = Field(gt=0)
    shards: tuple[ShardEntry, ...] = Field(min_length=1)
    content_hash: str
    created: str
    builder_revision: str

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.tile_count != sum(shard.tile_count for shard in self.shards):
            raise ValueError("the shards do not hold as many tiles as the epoch")
        starts = [shard.morton_low for shard in self.shards]
        ends = [shard.morton_high for shard in self.shards]
        if starts != [0, *ends[:-1]] or ends[-1] != MORTON_END or starts != sorted(set(starts)):
            raise ValueError("the shards' Morton ranges leave a gap or overlap")
        return self


def is_sharded(root: Path) -> bool:
    """Whether a sharded gallery is here, of whatever state."""
    return (root / CURRENT_EPOCH_FILE).is_file()


def current_epoch(root: Path) -> str:
    """The live epoch's name.

    Raises:
        GalleryNotFound: nothing sharded is there.
        GalleryCorrupt: `CURRENT_EPOCH.json` is not valid.
    """
    path = root / CURRENT_EPOCH_FILE
    if path.is_file():
        return read_model(path, CurrentEpoch, GalleryCorrupt).epoch
    if (root / CURRENT_FILE).is_file():
        raise GalleryNotFound(
            f"{root} is a gallery of one piece, not a sharded one", hint="open it with Gallery.open"
        )
    raise GalleryNotFound(
        f"there is no sharded gallery at {root} ({CURRENT_EPOCH_FILE} is missing)",
        hint="build one with `python -m index_builder build --shards N`",
    )


def epoch_path(root: Path, epoch: str) -> Path:
    """Where an epoch's manifest is."""
    return root / EPOCHS_DIRECTORY / f"{epoch}.json"


def read_epoch(root: Path, epoch: str | None = None) -> EpochManifest:
    """Reads the live (or a named) epoch's manifest.

    Raises:
        GalleryNotFound: no sharded gallery or no such epoch there.
        GalleryCorrupt: the manifest is not valid, or is another epoch's.
    """
    name = epoch or current_epoch(root)
    path = epoch_path(root, name)
    if not path.is_file():
        raise GalleryNotFound(f"{root} has no epoch {name!r}", hint="check its folder `epochs`")
    manifest = read_model(path, EpochManifest, GalleryCorrupt)
    if manifest.epoch != name:
        raise GalleryCorrupt(
            f"{path} describes the epoch {manifest.epoch!r}", hint="build the gallery again"
        )
    return manifest


def shard_root(root: Path, shard: ShardEntry) -> Path:
    """The directory of the shard's gallery."""
    return root / shard.directory  # an absolute directory replaces the root
