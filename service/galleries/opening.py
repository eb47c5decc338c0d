"""From a version's name to an opened gallery: of one piece, in shards here, or in shards on Ray."""

from concurrent.futures import wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from crossfix.encoder_manifest import EncoderManifest
from crossfix.errors import GalleryCorrupt, GalleryNotFound
from crossfix.gallery import Gallery, version_directory
from crossfix.gallery_manifest import MANIFEST_FILE, GalleryManifest
from crossfix.manifest import read_model
from crossfix.sharded_gallery_manifest import EpochManifest, is_sharded, read_epoch, shard_root
from service.galleries.hanging_calls import begin_once
from service.galleries.one_piece import OnePiece
from service.galleries.served import ServedGallery
from service.galleries.shards.callers import ShardCaller
from service.galleries.shards.local_shards import LocalShards
from service.galleries.shards.ray_shards import RayShards
from service.galleries.shards.sharded import ShardedServed
from service.galleries.snapshot_memory import (
    encoder_bytes,
    find_free_bytes,
    gallery_bytes,
    require_bytes,
)
from service.settings import Settings

_LOOK_WITHIN_S = 10.0


@dataclass(frozen=True)
class Candidate:
    """A gallery version or epoch that shall be opened.

    Attributes:
        name: for messages.
        opened_bytes: of this process's memory.
        epoch: None for a version of one piece.
    """

    version: str
    name: str
    embedding_space_id: str
    encoder_name: str
    opened_bytes: int
    epoch: EpochManifest | None = None

    def require_memory(self, encoder: EncoderManifest | None) -> None:
        """Refuses what would push the live version out of memory, or end the process.

        What is served stays loaded beside the new one until the swap, and is counted already.

        Args:
            encoder: that will be loaded, too; None when the live one stays.

        Raises:
            MemoryShort: naming needed and free bytes.
        """
        needed = self.opened_bytes + (encoder_bytes(encoder) if encoder else 0)
        require_bytes(self.name, needed, free_bytes=find_free_bytes())


def find_candidate(settings: Settings, version: str) -> Candidate:
    """Looks at a version's or epoch's manifest, which costs next to nothing.

    Raises:
        GalleryNotFound: no such version, or its manifest has not been copied yet; or the engine
            is for sharded galleries only.
        GalleryCorrupt: a file is missing or has another size.
    """
    root = settings.gallery
    if is_sharded(root):
        epoch = read_epoch(root, version)
        return Candidate(
            version=version,
            name=f"gallery epoch {version}",
            embedding_space_id=epoch.embedding_space_id,
            encoder_name=epoch.encoder_name,
            opened_bytes=_shard_bytes(root, epoch) if settings.engine == "local" else 0,
            epoch=epoch,
        )
    if settings.engine != "local":
        raise GalleryNotFound(
            f"engine {settings.engine} serves sharded galleries, and {root} is of one piece",
            hint="build it with `python -m index_builder build --shards N`, or --engine local",
        )
    manifest = read_version(root, version)
    return Candidate(
        version=version,
        name=f"gallery version {version}",
        embedding_space_id=manifest.embedding_space_id,
        encoder_name=manifest.encoder_name,
        opened_bytes=gallery_bytes(manifest),
    )


def open_candidate(settings: Settings, candidate: Candidate, *, strict: bool) -> ServedGallery:
    """Opens and verifies it.

    Args:
        strict: a lost shard is an error.

    Raises:
        GalleryError: it cannot be opened.
        ClusterUnavailable, InvalidParameter: there is no Ray.
    """
    root = settings.gallery
    try:
        if candidate.epoch is None:
            return OnePiece(Gallery.open(root, version=candidate.version))
        caller: ShardCaller
        if settings.engine == "ray":
            caller = RayShards(settings, candidate.epoch, strict=strict)
        else:
            caller = LocalShards(
                root, candidate.epoch, strict=strict, timeout_s=settings.shard_timeout_s
            )
    except (OSError, ValueError) as problem:
        raise GalleryCorrupt(
            f"{candidate.name} in {root} cannot be opened", hint="build the gallery again"
        ) from problem
    return ShardedServed(candidate.epoch, caller)


def read_version(root: Path, version: str) -> GalleryManifest:
    """A version's manifest; its files are there in their sizes, which costs next to nothing.

    Raises:
        GalleryNotFound: no such version, or its manifest has not been copied yet.
        GalleryCorrupt: a file is missing or has another size.
    """
    directory = version_directory(root, version)
    try:
        manifest = read_model(directory / MANIFEST_FILE, GalleryManifest, GalleryCorrupt)
    except OSError as problem:
        raise GalleryNotFound(
            f"there is no gallery version at {directory}",
            hint="check the path, or build the gallery",
        ) from problem
    for name, entry in manifest.files.items():
        try:
            size = (directory / name).stat().st_size
        except OSError:
            size = -1
        if size != entry.size_bytes:
            found = "is missing" if size < 0 else f"has {size} bytes instead of {entry.size_bytes}"
            raise GalleryCorrupt(
                f"{name} in {directory} {found}", hint="it was cut short; copy or build it again"
            )
    return manifest


def _shard_bytes(root: Path, epoch: EpochManifest) -> int:
    """Of all shards that can be looked at; the others will be lost."""
    folders = [version_directory(shard_root(root, shard), shard.version) for shard in epoch.shards]
    looks = [begin_once(("manifest", one), partial(_read_shard, one)) for one in folders]
    done, _hanging = wait(looks, _LOOK_WITHIN_S)
    manifests = [look.result() for look in done]
    return sum(gallery_bytes(one) for one in manifests if one is not None)


def _read_shard(folder: Path) -> GalleryManifest | None:
    try:
        return read_model(folder / MANIFEST_FILE, GalleryManifest, GalleryCorrupt)
    except (OSError, GalleryCorrupt):
        return None
