"""What runs on a cluster's node: the process that holds one shard.

Several front doors may share it. Each renews a lease while it needs the shard; when nobody has one
any more the actor ends itself, so that no crash of a front door leaves memory taken for ever.
"""

import os
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import crossfix
from crossfix.errors import CrossfixError
from crossfix.gallery import version_directory
from crossfix.sharded_gallery import open_shard
from crossfix.sharded_gallery_manifest import EpochManifest, shard_root
from service.galleries.shards.callers import rectangles_of_a_shard
from service.galleries.shards.reopening import Reopening
from service.galleries.shards.shard import OpenShard

LEASE_S = 60.0
_TICK_S = 2.0
_LAST_WORDS_S = 0.5  # an answer on its way goes out first
State = Literal["opening", "ready", "failed"]


@dataclass(frozen=True)
class ShardOrder:
    """Which shard to open.

    Attributes:
        root: of the sharded gallery, as every node sees it.
        version: of the front door's code.
    """

    root: Path
    epoch: EpochManifest
    number: int
    version: str


@dataclass(frozen=True)
class ShardState:
    """How a shard's actor is.

    Attributes:
        problem: one sentence where it failed.
        is_corrupt: it holds another shard than the epoch names, or runs another version.
        node: host name of its machine.
        node_id: Ray's name of the node.
    """

    state: State
    problem: str
    is_corrupt: bool
    node: str
    node_id: str
    pid: int


@dataclass(frozen=True)
class Trouble:
    """An answer that is none: why, in one sentence."""

    why: str


class ShardActor:
    """A Ray actor's body. It answers at once, also while it still opens its shard.

    Failures are answers, too: an exception would come with Ray's trace instead of one sentence.
    """

    def __init__(self, order: ShardOrder) -> None:
        self._order = order
        self._shard: OpenShard | None = None
        self._state: State = "opening"
        self._problem, self._is_corrupt = "", False
        self._leases: dict[str, float] = {"": time.monotonic()}  # time for the first to come
        self._given_back: set[str] = set()
        self._lock, self._looking = threading.Lock(), threading.Lock()
        self._reopening: Reopening | None = None
        self._node_id = _node_id()
        threading.Thread(target=self._open, name="open", daemon=True).start()
        threading.Thread(target=self._end_when_unused, name="leases", daemon=True).start()

    def look(self, lease: str) -> ShardState:
        """How it is; renews the caller's lease, and opens again what could not be opened."""
        with self._lock:
            if lease not in self._given_back:  # calls of one caller may overtake each other
                self._leases[lease] = time.monotonic()
            self._leases.pop("", None)
        return ShardState(
            self._state,
            self._problem,
            self._is_corrupt,
            socket.gethostname(),
            self._node_id,
            os.getpid(),
        )

    def open_again(self) -> None:
        """Tries once more after a failure, when that may help; see `Reopening`."""
        if self._state != "failed" or not self._looking.acquire(blocking=False):
            return  # a disk that hangs may hold one thread, not all
        try:
            if self._reopening is None or not self._reopening.is_due():
                return
            with self._lock:
                if self._state != "failed":
                    return
                self._state, self._is_corrupt = "opening", False
        finally:
            self._looking.release()
        threading.Thread(target=self._open, name="open", daemon=True).start()

    def facts(self) -> object:
        """The shard's `ShardFacts`."""
        return self._shard.facts if self._shard else Trouble("it is not open yet")

    def call(self, method: str, arguments: tuple[Any, ...]) -> object:
        """What a method of `OpenShard` answers, or `Trouble`."""
        if self._shard is None:
            return Trouble(self._problem or "it is still being opened")
        try:
            return getattr(self._shard, method)(*arguments)
        except Exception as problem:
            return Trouble(f"{type(problem).__name__}: {problem}")

    def release(self, lease: str) -> None:
        """The caller needs the shard no more."""
        with self._lock:
            self._given_back.add(lease)
            self._leases.pop(lease, None)
            self._leases.pop("", None)

    def _open(self) -> None:
        is_corrupt = False
        try:
            found = self._find()
            if isinstance(found, OpenShard):
                self._shard, self._problem, self._state = found, "", "ready"
                return
            problem = found
        except Exception as caught:  # whatever it is must be told at the front door
            is_corrupt = isinstance(caught, CrossfixError)
            problem = f"{caught}" or type(caught).__name__
        self._is_corrupt, self._problem, self._state = is_corrupt, problem, "failed"
        self._note_failure()

    def _find(self) -> OpenShard | str:
        order = self._order
        if order.version != crossfix.__version__:
            raise CrossfixError(
                f"version {crossfix.__version__} of the code is installed there, not "
                f"{order.version}"
            )
        entry = order.epoch.shards[order.number]
        found = open_shard(order.root, order.epoch, entry, verify=True)
        if isinstance(found, str):
            return found
        return OpenShard(found, rectangles=rectangles_of_a_shard(len(order.epoch.shards)))

    def _note_failure(self) -> None:
        if self._reopening is not None:
            self._reopening.note_failure()
            return
        entry = self._order.epoch.shards[self._order.number]
        folder = version_directory(shard_root(self._order.root, entry), entry.version)
        self._reopening = Reopening(folder)

    def _end_when_unused(self) -> None:
        import ray

        own = ray.get_runtime_context().current_actor
        while True:
            time.sleep(_TICK_S)
            now = time.monotonic()
            with self._lock:
                for lease in [name for name, at in self._leases.items() if now - at > LEASE_S]:
                    del self._leases[lease]
                unused = not self._leases
            if unused:
                time.sleep(_LAST_WORDS_S)
                with self._lock:  # nobody can come in between
                    if not self._leases:
                        ray.kill(own, no_restart=True)


def _node_id() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())
