"""Publishing an assembled version as a sharded gallery: whole or not at all, like any other."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from crossfix.gallery import version_directory
from crossfix.gallery_journal import conclude
from crossfix.gallery_manifest import MANIFEST_FILE, GalleryManifest
from crossfix.gallery_versions import make_live
from crossfix.manifest import fsync_directory, sha256_file
from crossfix.sharded_gallery_manifest import (
    SHARDS_DIRECTORY,
    EpochManifest,
    ShardEntry,
    shard_root,
)
from index_builder.publish import BUILDING_PREFIX, Step, ignore_step, publish
from index_builder.recipe import IndexRequest
from index_builder.sharding_epochs import prune_epochs, require_kind, write_epoch
from index_builder.sharding_shard import ShardMaker
from index_builder.sharding_split import ShardCut, keep_cuts, plan_cuts, read_codes

# The instants a sharded publication passes after its shards' own, which are told as
# "<number>/<step of publish.STEPS>"; until `epoch_live` the old epoch is what readers get.
SHARDED_STEPS = ("shards_published", "epoch_written", "epoch_live", "epochs_pruned")


@dataclass(frozen=True)
class PublishedEpoch:
    """What is live now.

    Attributes:
        removed_epochs: pruned old ones.
        kept_shards: how many shards have the same tiles as before, and share their files.
    """

    manifest: EpochManifest
    removed_epochs: list[str]
    kept_shards: int = 0


def publish_sharded(
    root: Path,
    assembled: Path,
    whole: GalleryManifest,
    *,
    shards: int,
    index: IndexRequest,
    threads: int,
    keep: int = 3,
    old: EpochManifest | None = None,
    step: Step = ignore_step,
) -> PublishedEpoch:
    """Cuts an assembled version into shards, publishes each, and switches epochs at the end.

    Called with `root` locked. A kill at any instant leaves the old epoch live and whole.

    Args:
        assembled: holds `vectors.f16`, `tiles.parquet` and `pictures.parquet` in Morton order,
            and whatever else every shard shall hold (`recipe.json`); its `index.faiss` is not
            used.
        whole: what its manifest would say were it published in one piece.
        keep: epochs that stay, the live one included.
        old: an epoch that is there, and whole. Its cuts are kept while they are good enough (see
            `keep_cuts`), and shards whose tiles have not changed are taken over.
        step: told each shard's steps and `SHARDED_STEPS` as they are passed.

    Raises:
        InvalidParameter: so many shards cannot be made.
        PublishError: a gallery of one piece is there.
        GalleryCorrupt: what was written does not read back.
        OSError: the file system refused; the old epoch is still live.
    """
    require_kind(root, sharded=True)
    maker = ShardMaker(assembled, whole, index, threads)
    entries, kept = [], 0
    for cut in _choose_cuts(assembled, shards, old):
        entry, is_kept = _publish_shard(root, maker, cut, _find_old(root, cut, old), step)
        entries.append(entry)
        kept += is_kept
    fsync_directory(root / SHARDS_DIRECTORY)
    step("shards_published")
    epoch = _epoch_manifest(whole, entries)
    write_epoch(root, epoch)
    step("epoch_written")
    make_live(root, epoch.epoch)
    step("epoch_live")
    conclude(root)
    removed = prune_epochs(root, keep=keep)
    step("epochs_pruned")
    return PublishedEpoch(epoch, removed, kept)


def _publish_shard(
    root: Path, maker: ShardMaker, cut: ShardCut, old: Path | None, step: Step
) -> tuple[ShardEntry, bool]:
    """A new version of one shard; and whether its tiles are those of the older version."""
    directory = f"{SHARDS_DIRECTORY}/{cut.number:03d}"
    with _building(root / directory) as built:
        taken = None if old is None else maker.take_over(old, cut, built, root / directory)
        manifest = taken or maker.write(cut, built, root / directory)
        publish(
            root / directory,
            built,
            manifest.version,
            keep=sys.maxsize,  # older epochs name older versions
            step=_of_shard(step, cut.number),
        )
    return _entry(root, directory, manifest, cut), taken is not None


def _choose_cuts(assembled: Path, shards: int, old: EpochManifest | None) -> list[ShardCut]:
    codes = read_codes(assembled)
    kept = None
    if old is not None and len(old.shards) == shards:
        kept = keep_cuts(codes, [shard.morton_low for shard in old.shards])
    return kept or plan_cuts(codes, shards)


def _find_old(root: Path, cut: ShardCut, old: EpochManifest | None) -> Path | None:
    """Where the older epoch has the shard in charge of the same places."""
    for shard in () if old is None else old.shards:
        if (shard.morton_low, shard.morton_high) == (cut.morton_low, cut.morton_high):
            return version_directory(shard_root(root, shard), shard.version)
    return None


def _of_shard(step: Step, number: int) -> Step:
    return lambda name: step(f"{number:03d}/{name}")


@contextmanager
def _building(shard_root: Path) -> Iterator[Path]:
    """A directory to write a shard in; what a killed builder left there goes first."""
    shard_root.mkdir(parents=True, exist_ok=True)
    for stale in shard_root.glob(f"{BUILDING_PREFIX}*"):
        shutil.rmtree(stale, ignore_errors=True)
    directory = Path(tempfile.mkdtemp(prefix=BUILDING_PREFIX, dir=shard_root))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _entry(root: Path, directory: str, manifest: GalleryManifest, cut: ShardCut) -> ShardEntry:
    published = version_directory(root / directory, manifest.version)
    return ShardEntry(
        directory=directory,
        version=manifest.version,
        morton_low=cut.morton_low,
        morton_high=cut.morton_high,
        tile_count=cut.tile_count,
        bounds=manifest.bounds,
        content_hash=manifest.content_hash,
        manifest_sha256=sha256_file(published / MANIFEST_FILE),
    )


def _epoch_manifest(whole: GalleryManifest, entries: list[ShardEntry]) -> EpochManifest:
    # Milliseconds: epochs are told apart and ordered by their names.
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    stamp = now.removesuffix("+00:00").translate(str.maketrans("", "", "-:."))
    name = f"{stamp}Z-{whole.content_hash[:10]}"
    return EpochManifest(
        epoch=name,
        embedding_space_id=whole.embedding_space_id,
        encoder_name=whole.encoder_name,
        embedding_dim=whole.embedding_dim,
        tile_count=whole.tile_count,
        shards=tuple(entries),
        content_hash=whole.content_hash,
        created=whole.created,
        builder_revision=whole.builder_revision,
    )
