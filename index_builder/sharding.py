"""Publishing an assembled version as a sharded gallery: whole or not at all, like any other."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from crossfix.gallery import version_directory
from crossfix.gallery_journal import conclude
from crossfix.gallery_manifest import MANIFEST_FILE, RECIPE_FILE, TILES_FILE, GalleryManifest
from crossfix.manifest import FileEntry, fsync_directory, sha256_file, write_json_atomic
from crossfix.sharded_gallery_epochs import make_epoch_live
from crossfix.sharded_gallery_manifest import SHARDS_DIRECTORY, EpochManifest, ShardEntry
from index_builder.assembly.bounds import find_bounds
from index_builder.assembly.content import hash_content
from index_builder.indexing.build_index import build_index
from index_builder.publish import BUILDING_PREFIX, Step, ignore_step, new_version_name, publish
from index_builder.recipe import IndexRequest
from index_builder.sharding_epochs import prune_epochs, require_kind, write_epoch
from index_builder.sharding_split import ShardCut, plan_cuts, read_codes, write_cut

# The instants a sharded publication passes after its shards' own, which are told as
# "<number>/<step of publish.STEPS>"; until `epoch_live` the old epoch is what readers get.
SHARDED_STEPS = ("shards_published", "epoch_written", "epoch_live", "epochs_pruned")

_BOX = ("west", "south", "east", "north")


@dataclass(frozen=True)
class PublishedEpoch:
    """What is live now.

    Attributes:
        removed_epochs: pruned old ones.
    """

    manifest: EpochManifest
    removed_epochs: list[str]


def publish_sharded(
    root: Path,
    assembled: Path,
    whole: GalleryManifest,
    *,
    shards: int,
    index: IndexRequest,
    threads: int,
    keep: int = 3,
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
        step: told each shard's steps and `SHARDED_STEPS` as they are passed.

    Raises:
        InvalidParameter: so many shards cannot be made.
        PublishError: a gallery of one piece is there.
        GalleryCorrupt: what was written does not read back.
        OSError: the file system refused; the old epoch is still live.
    """
    require_kind(root, sharded=True)
    cuts = plan_cuts(read_codes(assembled), shards)
    entries = []
    for cut in cuts:
        directory = f"{SHARDS_DIRECTORY}/{cut.number:03d}"
        with _building(root / directory) as built:
            manifest = _write_shard(assembled, built, whole, cut, root / directory, index, threads)
            publish(
                root / directory,
                built,
                manifest.version,
                keep=sys.maxsize,  # older epochs name older versions
                step=_of_shard(step, cut.number),
            )
        entries.append(_entry(root, directory, manifest, cut))
    fsync_directory(root / SHARDS_DIRECTORY)
    step("shards_published")
    epoch = _epoch_manifest(whole, entries)
    write_epoch(root, epoch)
    step("epoch_written")
    make_epoch_live(root, epoch.epoch)
    step("epoch_live")
    conclude(root)
    removed = prune_epochs(root, keep=keep)
    step("epochs_pruned")
    return PublishedEpoch(epoch, removed)


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


def _write_shard(
    assembled: Path,
    built: Path,
    whole: GalleryManifest,
    cut: ShardCut,
    shard_root: Path,
    index: IndexRequest,
    threads: int,
) -> GalleryManifest:
    write_cut(assembled, cut, built, dim=whole.embedding_dim)
    if (assembled / RECIPE_FILE).is_file():
        shutil.copyfile(assembled / RECIPE_FILE, built / RECIPE_FILE)
    info = build_index(built, cut.tile_count, whole.embedding_dim, index, threads=threads)
    boxes = pq.read_table(built / TILES_FILE, columns=[*_BOX, "size_m"])
    content_hash = hash_content(built)
    manifest = whole.model_copy(
        update={
            "version": new_version_name(shard_root, content_hash),
            "tile_count": cut.tile_count,
            "index": info,
            "bounds": find_bounds(*(boxes.column(name).to_numpy() for name in _BOX)),
            "tile_sizes_m": np.unique(boxes.column("size_m").to_numpy().round(3)).tolist(),
            "files": {path.name: FileEntry.of(path) for path in sorted(built.iterdir())},
            "content_hash": content_hash,
        }
    )
    write_json_atomic(built / MANIFEST_FILE, manifest.model_dump(mode="json"))
    return manifest


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
