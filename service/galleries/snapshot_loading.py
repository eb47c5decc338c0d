"""Encoder and gallery that belong together: loaded, verified and tried before anyone sees them."""

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from crossfix.encoder import Encoder
from crossfix.encoder_manifest import MANIFEST_FILE as ENCODER_FILE
from crossfix.encoder_manifest import EncoderManifest
from crossfix.errors import (
    CrossfixError,
    EncoderCorrupt,
    EncoderGalleryMismatch,
    GalleryCorrupt,
    GalleryError,
)
from crossfix.estimate import CANDIDATES
from crossfix.gallery_versions import live_version
from crossfix.images import Photo
from crossfix.manifest import read_model
from crossfix.preprocess import prepare
from crossfix.view import QUERY_VIEWS
from service.galleries.opening import Candidate, find_candidate, open_candidate
from service.galleries.served import ServedGallery
from service.logs.log import EVENTS
from service.settings import Settings

CANARY_S = 30.0


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Encoder and gallery of one version; immutable, compared by identity.

    Attributes:
        loaded_at: Unix time.
        load_s: how long loading and verifying took, seconds; 0 where nobody measured it.
    """

    encoder: Encoder
    gallery: ServedGallery
    version: str
    loaded_at: float = field(default_factory=time.time)
    load_s: float = 0.0

    @property
    def coverage(self) -> dict[str, Any]:
        """Where the tiles are, as a GeoJSON MultiPolygon; see :mod:`service.galleries.coverage`."""
        return self.gallery.coverage

    @property
    def size_bytes(self) -> int:
        """Size of the gallery version's files, pictures included."""
        return sum(entry.size_bytes for entry in self.gallery.manifest.files.values())


def load_snapshot(settings: Settings) -> Snapshot:
    """Loads encoder and live gallery version and proves that they work together.

    Of a sharded gallery one shard is enough; the others are waited for while it serves.

    Raises:
        EncoderError: missing, corrupt, or not runnable on the device.
        GalleryError: missing, corrupt, or embedded by another encoder.
        MemoryShort: they do not fit.
    """
    started = time.monotonic()
    encoder = load_encoder(settings)
    version = live_version(settings.gallery)
    return load_version(settings, version, encoder, started=started, strict=False)


def load_encoder(settings: Settings) -> Encoder:
    """The encoder of the settings; errors as in :meth:`Encoder.load`."""
    return Encoder.load(
        settings.encoder,
        device=settings.device,
        threads=settings.encode_threads,
        precision=settings.precision,
    )


def load_version(
    settings: Settings,
    version: str,
    encoder: Encoder,
    *,
    started: float | None = None,
    strict: bool = True,
) -> Snapshot:
    """A gallery version beside an encoder that is already loaded, or beside the one now on disk.

    Where the version was embedded by another encoder than the given one, and the folder in the
    settings holds that one by now, it is loaded too.

    Args:
        started: `time.monotonic()` from when the loading is measured; default now.
        strict: a lost shard is an error.

    Raises:
        EncoderError, GalleryError, MemoryShort: as in :func:`load_snapshot`.
    """
    started = time.monotonic() if started is None else started
    candidate = find_candidate(settings, version)
    other = find_other_encoder(settings, candidate, encoder)
    candidate.require_memory(other)
    if other is not None:
        encoder = load_encoder(settings)
    gallery = open_candidate(settings, candidate, strict=strict)
    try:
        gallery.require_encoder(encoder)
        snapshot = Snapshot(encoder=encoder, gallery=gallery, version=version)
        run_canary(snapshot, strict=strict, timeout_s=max(CANARY_S, 10 * settings.shard_timeout_s))
        gallery.warm_up()
    except BaseException:
        gallery.close()
        raise
    _note_fallback(snapshot)
    return Snapshot(
        encoder=encoder,
        gallery=gallery,
        version=version,
        load_s=time.monotonic() - started,
    )


def find_other_encoder(
    settings: Settings, gallery: Candidate, encoder: Encoder
) -> EncoderManifest | None:
    """The encoder on disk that the gallery version needs instead; None when the given one fits.

    Raises:
        EncoderGalleryMismatch: neither is the one that embedded it; all are named.
    """
    if gallery.embedding_space_id == encoder.embedding_space_id:
        return None
    try:
        on_disk = read_model(settings.encoder / ENCODER_FILE, EncoderManifest, EncoderCorrupt)
    except (CrossfixError, OSError):
        on_disk = None
    if on_disk is not None and on_disk.embedding_space_id == gallery.embedding_space_id:
        return on_disk
    live, now = encoder.manifest, ""
    if on_disk is not None and on_disk.embedding_space_id != live.embedding_space_id:
        now = f", the one on disk {on_disk.name} (space {on_disk.embedding_space_id})"
    raise EncoderGalleryMismatch(
        f"{gallery.name} was embedded by {gallery.encoder_name} (space "
        f"{gallery.embedding_space_id}), the encoder is {live.name} (space "
        f"{live.embedding_space_id}){now}",
        hint="rebuild the gallery with this encoder, or put the encoder it was built with in place",
    )


def run_canary(snapshot: Snapshot, *, strict: bool = True, timeout_s: float = CANARY_S) -> None:
    """One query per view through the whole path: warms it up and proves it.

    Args:
        strict: all shards must answer.
        timeout_s: how long shards are waited for: a first search may read from disk.

    Raises:
        EncoderCorrupt: an embedding is not unit-norm.
        GalleryError: a shard did not answer, which says nothing about its files.
        ShardsLost: none answered.
        GalleryCorrupt: a search gives fewer tiles than it must, or scores that are no cosines.
    """
    noise = np.random.default_rng(0).integers(0, 256, (256, 512, 3), dtype=np.uint8)
    for view in QUERY_VIEWS:
        if view not in snapshot.encoder.manifest.views:
            continue
        prepared = prepare(Photo.of(noise), snapshot.encoder.view(view))
        embedding = snapshot.encoder.encode(prepared.tensor[None], view)
        if abs(float(np.linalg.norm(embedding)) - 1.0) > 1e-2:
            raise EncoderCorrupt(
                f"encoder {snapshot.encoder.manifest.name} gives {view} "
                "embeddings that are not unit-norm",
                hint="export it again",
            )
        found = snapshot.gallery.search(  # as many as photos are asked with
            embedding, CANDIDATES, timeout_s=timeout_s
        )
        reach = found.reach
        if strict and reach.shards_missing:
            raise GalleryError(
                f"{reach.shards_missing} of {reach.shards_asked} shards of gallery version "
                f"{snapshot.version} did not answer the canary query in {timeout_s:g} s",
                hint="look at their disks and nodes, and try again",
            )
        expected = 1 if reach.shards_missing else min(CANDIDATES, len(snapshot.gallery))
        is_enough = found.rows.shape[1] >= expected
        if not is_enough or not np.all(np.abs(found.scores) <= 1.01):
            raise GalleryCorrupt(
                f"gallery version {snapshot.version} fails its canary query",
                hint="build the gallery again",
            )
        snapshot.gallery.picture(int(found.rows[0, 0]))


def _note_fallback(snapshot: Snapshot) -> None:
    gallery = snapshot.gallery
    if gallery.index_fallback:
        fields = {
            "gallery_version": snapshot.version,
            "index_in_use": gallery.index_kind,
            "reason": gallery.index_fallback,
        }
        EVENTS.warning("index_fallback", extra={"fields": fields})
