"""What one request sees: encoder and gallery that belong together, loaded, verified, swapped."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from crossfix.encoder import Encoder
from crossfix.errors import CrossfixError, EncoderCorrupt, GalleryCorrupt
from crossfix.estimate import CANDIDATES
from crossfix.gallery import Gallery, current_version
from crossfix.images import Photo
from crossfix.preprocess import prepare
from crossfix.view import QUERY_VIEWS
from service.errors import NotReady
from service.log import EVENTS
from service.settings import Settings

LONGEST_BACKOFF_S = 600.0


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Encoder and gallery of one version; immutable, compared by identity.

    Attributes:
        loaded_at: Unix time.
    """

    encoder: Encoder
    gallery: Gallery
    version: str
    loaded_at: float = field(default_factory=time.time)


def load_snapshot(settings: Settings) -> Snapshot:
    """Loads encoder and live gallery version and proves that they work together.

    Raises:
        EncoderError: missing, corrupt, or not runnable on the device.
        GalleryError: missing, corrupt, or embedded by another encoder.
    """
    encoder = Encoder.load(
        settings.encoder, device=settings.device, threads=settings.encode_threads
    )
    return load_gallery(settings.gallery, encoder)


def load_gallery(root: Path, encoder: Encoder) -> Snapshot:
    """The live gallery version beside an encoder that is already loaded; errors as above."""
    version = current_version(root)
    try:
        gallery = Gallery.open(root, version=version)
    except (OSError, ValueError) as problem:
        raise GalleryCorrupt(
            f"gallery version {version} in {root} cannot be opened", hint="build the gallery again"
        ) from problem
    gallery.require_encoder(encoder)
    snapshot = Snapshot(encoder=encoder, gallery=gallery, version=version)
    run_canary(snapshot)
    _note_fallback(snapshot)
    return snapshot


def _note_fallback(snapshot: Snapshot) -> None:
    gallery = snapshot.gallery
    if gallery.index_fallback:
        fields = {
            "gallery_version": snapshot.version,
            "index_in_use": gallery.index_kind,
            "reason": gallery.index_fallback,
        }
        EVENTS.warning("index_fallback", extra={"fields": fields})


def run_canary(snapshot: Snapshot) -> None:
    """One query per view through the whole path: warms it up and proves it.

    Raises:
        EncoderCorrupt: an embedding is not unit-norm.
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
        found = snapshot.gallery.search(embedding, CANDIDATES)  # as many as photos are asked with
        expected = min(CANDIDATES, len(snapshot.gallery))
        if found.rows.shape != (1, expected) or not np.all(np.abs(found.scores) <= 1.01):
            raise GalleryCorrupt(
                f"gallery version {snapshot.version} fails its canary query",
                hint="build the gallery again",
            )
    snapshot.gallery.picture(0)


@dataclass
class _Failure:
    version: str
    count: int
    retry_at: float


class SnapshotHolder:
    """The one live snapshot, replaced by one assignment; and the watcher that replaces it.

    Args:
        on_change: called with the new snapshot after every replacement.
        on_result: called with the result of every reload: `ok` or the error's code, and a
            sentence for the log.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        on_change: Callable[[Snapshot], None],
        on_result: Callable[[str, str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._on_change = on_change
        self._on_result = on_result
        self._clock = clock
        self._live: Snapshot | None = None
        self._failure: _Failure | None = None
        # Its own thread: a load of minutes must not take one from the request pools.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="reload")

    @property
    def live(self) -> Snapshot | None:
        """The snapshot in use, if any is loaded yet."""
        return self._live

    def current(self) -> Snapshot:
        """The snapshot in use; take it once per request.

        Raises:
            NotReady: none is loaded yet.
        """
        if self._live is None:
            raise NotReady("no gallery is loaded yet", hint="wait until /readyz answers 200")
        return self._live

    def replace(self, snapshot: Snapshot) -> None:
        """Makes a verified snapshot the live one."""
        self._live = snapshot
        self._on_change(snapshot)

    async def load_first(self) -> None:
        """Loads encoder and gallery; errors as in :func:`load_snapshot`."""
        loop = asyncio.get_running_loop()
        self.replace(await loop.run_in_executor(self._pool, load_snapshot, self._settings))

    async def watch(self) -> None:
        """Looks for new versions for ever; never raises, never leaves the old one for a bad one."""
        while True:
            await asyncio.sleep(self._settings.reload_interval_s)
            await self.reload_if_new()

    async def reload_if_new(self) -> bool:
        """Swaps to the version CURRENT.json names, if it is another; whether it did."""
        live, root = self.current(), self._settings.gallery
        loop, wanted = asyncio.get_running_loop(), "?"
        try:
            wanted = await loop.run_in_executor(self._pool, current_version, root)
            if wanted == live.version or self._must_wait(wanted):
                return False
            fresh = await loop.run_in_executor(self._pool, load_gallery, root, live.encoder)
        except Exception as problem:
            self._note_failure(wanted, problem)
            return False
        self._failure = None
        self.replace(fresh)
        self._on_result("ok", f"gallery version {fresh.version} replaced {live.version}")
        return True

    def _must_wait(self, version: str) -> bool:
        failure = self._failure
        return (
            failure is not None and failure.version == version and self._clock() < failure.retry_at
        )

    def _note_failure(self, version: str, problem: Exception) -> None:
        """Doubles the pause before this same version is tried again; logs each attempt once."""
        if version == "?" and self._must_wait(version):
            return
        known = self._failure is not None and self._failure.version == version
        count = self._failure.count + 1 if known and self._failure else 1
        pause_s = min(self._settings.reload_interval_s * 2 ** min(count, 20), LONGEST_BACKOFF_S)
        self._failure = _Failure(version, count, self._clock() + pause_s)
        code = problem.code if isinstance(problem, CrossfixError) else "internal_error"
        self._on_result(
            code, f"gallery version {version} was refused, the old one still serves: {problem}"
        )

    def close(self) -> None:
        """Ends the loading thread."""
        self._pool.shutdown(wait=False, cancel_futures=True)
