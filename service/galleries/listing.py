"""All gallery versions on disk, told without loading them."""

import threading
from collections.abc import Sequence
from pathlib import Path

from crossfix.errors import CrossfixError, GalleryCorrupt
from crossfix.gallery import version_directory
from crossfix.gallery_manifest import MANIFEST_FILE, GalleryManifest, SourceInfo
from crossfix.gallery_versions import list_versions, live_version
from crossfix.manifest import read_model
from crossfix.sharded_gallery_manifest import is_sharded, read_epoch
from service.galleries.schemas import Credit, VersionInfo
from service.galleries.snapshot import Snapshot
from service.schemas import EncoderName

_ManifestState = tuple[int, int]


class VersionShelf:
    """A gallery's versions; manifests that have not changed are not read again. Thread-safe."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[str, tuple[_ManifestState, GalleryManifest]] = {}
        self._lock = threading.Lock()

    def on_disk(self) -> str | None:
        """The version that CURRENT.json names; None where it cannot be read."""
        try:
            return live_version(self._root)
        except (CrossfixError, OSError):
            return None

    def list(self, live: Snapshot) -> list[VersionInfo]:
        """Every version, newest first; empty where the folder cannot be read."""
        sharded = is_sharded(self._root)
        try:
            names = list_versions(self._root)
        except (CrossfixError, OSError):
            names = []
        if sharded:
            return [self._describe_epoch(name, live) for name in reversed(names)]
        with self._lock:
            known = {name: self._read(name) for name in names}
            self._known = {name: one for name, one in known.items() if one is not None}
        return [
            self._describe(name, one[1] if one else None, live)
            for name, one in sorted(known.items(), reverse=True)
        ]

    def _read(self, name: str) -> tuple[_ManifestState, GalleryManifest] | None:
        path = version_directory(self._root, name) / MANIFEST_FILE
        try:
            found = path.stat()
            state = (found.st_mtime_ns, found.st_size)
            kept = self._known.get(name)
            if kept is not None and kept[0] == state:
                return kept
            return state, read_model(path, GalleryManifest, GalleryCorrupt)
        except (CrossfixError, OSError):
            return None

    def _describe(self, name: str, manifest: GalleryManifest | None, live: Snapshot) -> VersionInfo:
        problem = self._problem(name, manifest, live)
        return VersionInfo(
            version=name,
            live=name == live.version,
            usable=not problem,
            problem=problem,
            created=manifest.created if manifest else None,
            tiles=manifest.tile_count if manifest else None,
            size_bytes=sum(one.size_bytes for one in manifest.files.values()) if manifest else None,
            encoder=EncoderName(
                name=manifest.encoder_name, embedding_space_id=manifest.embedding_space_id
            )
            if manifest
            else None,
        )

    def _describe_epoch(self, name: str, live: Snapshot) -> VersionInfo:
        """Shards may be on disks that only their nodes see: nothing is said of their files."""
        try:
            epoch = read_epoch(self._root, name)
        except (CrossfixError, OSError):
            epoch = None
        problem = "" if epoch else "its manifest cannot be read"
        if epoch and epoch.embedding_space_id != live.encoder.embedding_space_id:
            problem = _other_encoder(epoch.encoder_name)
        return VersionInfo(
            version=name,
            live=name == live.version,
            usable=not problem,
            problem=problem,
            created=epoch.created if epoch else None,
            tiles=epoch.tile_count if epoch else None,
            size_bytes=None,
            encoder=EncoderName(
                name=epoch.encoder_name, embedding_space_id=epoch.embedding_space_id
            )
            if epoch
            else None,
        )

    def _problem(self, name: str, manifest: GalleryManifest | None, live: Snapshot) -> str:
        if manifest is None:
            return "its manifest cannot be read"
        for file, entry in manifest.files.items():
            try:
                size = (version_directory(self._root, name) / file).stat().st_size
            except OSError:
                return f"{file} is missing"
            if size != entry.size_bytes:
                return f"{file} has {size} bytes instead of {entry.size_bytes}"
        if manifest.embedding_space_id != live.encoder.embedding_space_id:
            return _other_encoder(manifest.encoder_name)
        return ""


def _other_encoder(name: str) -> str:
    return f"it was embedded by another encoder, {name}"


def credits_of(sources: Sequence[SourceInfo]) -> list[Credit]:
    """One line for each distinct attribution, licence and date, in the sources' order."""
    lines: dict[tuple[str, str, str], list[str]] = {}
    for one in sources:
        lines.setdefault((one.attribution, one.licence, one.date), []).append(one.name)
    return [
        Credit(attribution=attribution, licence=licence, date=date, sources=names)
        for (attribution, licence, date), names in lines.items()
    ]
