"""Opening an epoch's shards in this process, also from a disk that hangs."""

import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from crossfix.errors import GalleryCorrupt, GalleryError
from crossfix.gallery import Gallery, version_directory
from crossfix.sharded_gallery import open_shard, shards_lost
from crossfix.sharded_gallery_manifest import EpochManifest, shard_root
from service.galleries.hanging_calls import begin_once
from service.galleries.shards import patience
from service.galleries.shards.callers import rectangles_of_a_shard
from service.galleries.shards.shard import OpenShard
from service.logs.log import EVENTS

Found = OpenShard | GalleryError


@dataclass(frozen=True)
class Opened:
    """What became of all shards; those of `waiting` may still open."""

    found: dict[int, Found]
    waiting: dict[int, Future[Found]]


@dataclass(frozen=True)
class Opener:
    """Opens the shards of an epoch."""

    root: Path
    epoch: EpochManifest

    def folder(self, number: int) -> Path:
        """Where a shard's files are."""
        entry = self.epoch.shards[number]
        return version_directory(shard_root(self.root, entry), entry.version)

    def begin(self, number: int) -> Future[Found]:
        """Opens and verifies a shard in a thread of its own, or joins one that still does."""
        key = ("open", self.folder(number), self.epoch.shards[number].manifest_sha256)
        return begin_once(key, partial(self._open, number))

    def open_all(self, *, strict: bool) -> Opened:
        """All shards at once; waits for each as long as may be, and no longer.

        Args:
            strict: a lost shard is an error. Otherwise the last ones are waited for no longer than
                a minute after one that opened.

        Raises:
            GalleryCorrupt: with `strict` one shard, otherwise all of them, is not the epoch's.
            GalleryError: with `strict` one shard, otherwise all of them, cannot be opened in time.
        """
        began = {number: self.begin(number) for number in range(len(self.epoch.shards))}
        waited_s = self._wait(set(began.values()), strict=strict)
        found = {number: one.result() for number, one in began.items() if one.done()}
        waiting = {number: one for number, one in began.items() if number not in found}
        for number in waiting:
            found[number] = GalleryError(
                f"{self.folder(number)} was not open after {waited_s:.0f} s; does its disk hang?"
            )
        self._require_enough(found, strict=strict)
        return Opened(found, waiting)

    def _wait(self, waiting: set[Future[Found]], *, strict: bool) -> float:
        """Returns after how many seconds nothing more was waited for."""
        longest_s, some_open, is_told = patience.longest_opening_s(self.epoch), False, False
        began = changed = time.monotonic()
        while waiting:
            patience_s = patience.STRAGGLER_S if some_open and not strict else longest_s
            left_s = changed + patience_s - time.monotonic()
            done, waiting = wait(
                waiting, max(0.0, min(left_s, patience.STRAGGLER_S)), FIRST_COMPLETED
            )
            if done:
                some_open |= any(isinstance(one.result(), OpenShard) for one in done)
                changed = time.monotonic()
            elif time.monotonic() >= changed + patience_s:
                break
            elif not is_told:
                is_told = True
                fields = {"epoch": self.epoch.epoch, "shards": len(waiting)}
                EVENTS.warning("shards_open_slowly", extra={"fields": fields})
        return time.monotonic() - began

    def _require_enough(self, found: dict[int, Found], *, strict: bool) -> None:
        lost = {number: one for number, one in found.items() if isinstance(one, GalleryError)}
        if lost and (strict or len(lost) == len(found)):
            corrupt = (one for one in lost.values() if isinstance(one, GalleryCorrupt))
            problem = shards_lost({number: str(one) for number, one in lost.items()}, len(found))
            raise next(corrupt, problem)

    def _open(self, number: int) -> Found:
        """The shard, or why it is lost; raises nothing."""
        entry = self.epoch.shards[number]
        try:
            found = open_shard(self.root, self.epoch, entry, verify=True)
            if isinstance(found, Gallery):
                rectangles = rectangles_of_a_shard(len(self.epoch.shards))
                return OpenShard(found, rectangles=rectangles)
        except GalleryError as problem:
            return problem
        except Exception as problem:  # a shard that opens but cannot be searched is lost, too
            return GalleryError(f"{self.folder(number)} cannot be opened: {problem}")
        return GalleryError(found)
