"""The live snapshot, and what replaces it: a watcher, a signal, a finished rebuild, a person."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from traceback import clear_frames
from typing import Any, TypeVar

from crossfix.errors import CrossfixError
from crossfix.gallery import version_directory
from crossfix.gallery_versions import live_version
from crossfix.sharded_gallery_manifest import epoch_path, is_sharded, read_epoch, shard_root
from service.errors import NotReady
from service.galleries.daemon_thread import run_in_daemon
from service.galleries.file_states import FileStates, file_states
from service.galleries.hanging_calls import call_within
from service.galleries.snapshot_activation import explain, switch_on_disk
from service.galleries.snapshot_loading import Snapshot, load_snapshot, load_version, run_canary
from service.logs.log import EVENTS
from service.settings import Settings

__all__ = ["Snapshot", "SnapshotHolder", "load_snapshot", "run_canary"]

LONGEST_BACKOFF_S = 600.0
_LOOK_WITHIN_S = 10.0
ResultT = TypeVar("ResultT")


@dataclass
class _Failure:
    """A version that was refused.

    Attributes:
        files: how they were then.
        seen: how they were when last looked at.
    """

    version: str
    count: int
    retry_at: float
    files: FileStates
    seen: FileStates


class SnapshotHolder:
    """The one live snapshot, replaced by one assignment; loads happen one at a time.

    Args:
        on_change: called with the new snapshot after every replacement.
        on_result: called with the result of every reload: `ok` or the error's code, and a
            sentence for the log. `ok` also where a version was refused and CURRENT.json names
            the live one again. A person's wish that fails is only logged: nothing was refused
            that CURRENT.json names.
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
        self._turn = asyncio.Lock()
        self._switches: set[asyncio.Task[Snapshot]] = set()

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
        async with self._turn:
            self.replace(await self._in_thread(load_snapshot, self._settings))

    async def watch(self) -> None:
        """Looks for new versions for ever; never raises, never leaves the old one for a bad one."""
        while True:
            await asyncio.sleep(self._settings.reload_interval_s)
            await self.reload_if_new()

    async def reload_if_new(self, *, at_once: bool = False) -> bool:
        """Swaps to the version CURRENT.json names, if it is another; whether it did.

        Never raises: a version that cannot be used is told to `on_result`, and the old one goes on.

        Args:
            at_once: try a refused version again now, however short ago that was.
        """
        async with self._turn:
            return self._live is not None and await self._reload(self._live, at_once=at_once)

    async def _reload(self, live: Snapshot, *, at_once: bool) -> bool:
        wanted = "?"
        try:
            wanted = await self._in_thread(live_version, self._settings.gallery)
            if wanted == live.version:
                self._forgive(live)
                return False
            if not at_once and await self._must_wait(wanted):
                return False
            fresh = await self._in_thread(load_version, self._settings, wanted, live.encoder)
        except Exception as problem:
            await self._note_failure(wanted, problem, at_once=at_once)
            # Its frames may hold it, and it holds this one: until the garbage collector came by,
            # a failure would keep the gallery that was live, and its shards.
            clear_frames(problem.__traceback__)
            return False
        self._swap(live, fresh)
        return True

    async def activate(self, version: str | None) -> Snapshot:
        """Makes a version live on disk and here, once it is verified; returns it.

        Goes on to its end even when the caller is cancelled.

        Args:
            version: None for the newest one older than the live one on disk.

        Raises:
            NotReady: nothing is loaded yet.
            VersionNotFound: there is no such version.
            VersionUnusable: it cannot be served, or `CURRENT.json` not be written.
            JobRunning: another program is writing the gallery.
        """
        task = asyncio.get_running_loop().create_task(self._activate(version))
        self._switches.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    async def _activate(self, version: str | None) -> Snapshot:
        async with self._turn:
            live = self.current()
            try:
                fresh = await self._in_thread(switch_on_disk, self._settings, live, version)
            except Exception as problem:
                _log_refused_wish(version, problem)
                clear_frames(problem.__traceback__)
                answer = explain(problem, version)
                if answer is problem:
                    raise
                raise answer from problem
            self._swap(live, fresh)
            return fresh

    def _forget(self, task: asyncio.Task[Snapshot]) -> None:
        self._switches.discard(task)
        if not task.cancelled():
            task.exception()  # its caller may have left

    def _forgive(self, live: Snapshot) -> None:
        """What was refused is not wanted any more."""
        if self._failure is not None:
            self._failure = None
            self._on_result("ok", f"gallery version {live.version}, which is live, is wanted again")

    def _swap(self, live: Snapshot, fresh: Snapshot) -> None:
        self._failure = None
        self.replace(fresh)
        self._on_result("ok", f"gallery version {fresh.version} replaced {live.version}")

    async def _must_wait(self, version: str) -> bool:
        """Whether a refused version's pause is not over and nothing has happened to its files.

        Files that changed and then stayed the same between two looks were copied to the end.
        """
        failure = self._failure
        if failure is None or failure.version != version or self._clock() >= failure.retry_at:
            return False
        files = await self._in_thread(_look_at, self._settings, version)
        mended = files not in (failure.files, ()) and files == failure.seen
        failure.seen = files
        return not mended

    async def _note_failure(self, version: str, problem: Exception, *, at_once: bool) -> None:
        """Doubles the pause before this same version is tried again; logs each attempt once."""
        failure = self._failure if self._failure and self._failure.version == version else None
        if version == "?" and not at_once and failure and self._clock() < failure.retry_at:
            return
        count = failure.count + 1 if failure else 1
        pause_s = min(self._settings.reload_interval_s * 2 ** min(count, 20), LONGEST_BACKOFF_S)
        files = await self._in_thread(_look_at, self._settings, version)
        self._failure = _Failure(version, count, self._clock() + pause_s, files, files)
        self._on_result(
            _code_of(problem),
            f"gallery version {version} was refused, the old one still serves: {problem}",
        )

    async def _in_thread(self, run: Callable[..., ResultT], *arguments: Any) -> ResultT:  # noqa: ANN401
        # Its own thread: a load of minutes must not take one from the request pools.
        return await run_in_daemon(partial(run, *arguments), name="reload")

    def close(self) -> None:
        """Drops what is being loaded, for which the process does not wait, and lets go of shards.

        The latter may take seconds where they are on a cluster.
        """
        for task in self._switches:
            task.cancel()
        if self._live is not None:
            self._live.gallery.close()


def _code_of(problem: Exception) -> str:
    return problem.code if isinstance(problem, CrossfixError) else "internal_error"


def _log_refused_wish(version: str | None, problem: Exception) -> None:
    fields = {
        "gallery_version": version or "before the live one",
        "result": _code_of(problem),
        "reason": str(problem),
    }
    EVENTS.warning("activation_refused", extra={"fields": fields})


def _look_at(settings: Settings, version: str) -> FileStates:
    """(name, size, time of change) of the files that a refused version is made of.

    None where a disk hangs.
    """
    folders = [*_folders_of(settings.gallery, version), settings.encoder]
    paths = [*folders, epoch_path(settings.gallery, version)]
    try:
        return call_within(("look", *paths), partial(file_states, paths), timeout_s=_LOOK_WITHIN_S)
    except TimeoutError:
        return ()


def _folders_of(root: Path, version: str) -> list[Path]:
    """Of a version, or of every shard's in an epoch."""
    if not is_sharded(root):
        return [version_directory(root, version)]
    try:
        shards = read_epoch(root, version).shards
    except (CrossfixError, OSError):
        return []
    return [version_directory(shard_root(root, shard), shard.version) for shard in shards]
