"""An epoch's shards as actors of a Ray cluster: placed, asked, looked after."""

import hashlib
import threading
import time
import uuid
from collections.abc import Mapping
from typing import Any

import crossfix
from crossfix.errors import GalleryCorrupt, GalleryError
from crossfix.sharded_gallery_manifest import EpochManifest
from service.galleries.shards.callers import Calls, Told, Watcher
from service.galleries.shards.ray_actor import ShardActor, ShardOrder, ShardState, Trouble
from service.galleries.shards.ray_cluster import let_go, take_ray
from service.galleries.shards.shard import ShardFacts
from service.logs.log import EVENTS
from service.settings import Settings

NAMESPACE = "crossfix"
PROTOCOL = 2  # what actors are asked; front doors that speak another one share none
LOOK_S, LOST_LOOK_S = 5.0, 0.5
ANSWER_S = 2.0  # an actor answers `look` at once
PLACED_WITHIN_S = 60.0
HUNG_S = 60.0
OPENED_WITHIN_S, _OPEN_S_PER_TILE = 600.0, 0.001  # of the largest shard; some 10 MB/s of its files
LONGEST_PAUSE_S = 30.0
NOT_PLACED = "no node has taken it yet; is there room?"
_ROW_BYTES = 600  # an opened tile table
_PROCESS_BYTES = 300 << 20
_THREADS = 16


class RayShards:
    """A `ShardCaller`. Actors are named, so that front doors of one cluster share them.

    A shard that fails a call is asked no more until it has answered the watcher: requests do not
    wait for what is known to be lost. Ray itself restarts an actor whose process or node died, on
    another node if need be; actors that ended otherwise are made anew.

    Attributes:
        facts, lost: see `ShardCaller`.

    Args:
        strict: waits until every shard is open, or raises. Otherwise it waits for the others no
            longer than a minute after the last one that opened.

    Raises:
        ClusterUnavailable: no cluster.
        GalleryCorrupt: a shard that could not be opened is not the one the epoch names.
        GalleryError: no shard could be opened; with `strict`, one could not.
    """

    def __init__(self, settings: Settings, epoch: EpochManifest, *, strict: bool) -> None:
        self._settings, self._epoch = settings, epoch
        self._root = settings.gallery.absolute()
        self._ray = take_ray(settings.ray_address)
        self._lease = f"{uuid.uuid4().hex}:{epoch.epoch}"
        numbers = range(len(epoch.shards))
        self.lost: dict[int, str] = dict.fromkeys(numbers, NOT_PLACED)
        self.facts: dict[int, ShardFacts] = {}
        self._lock = threading.Lock()
        self._is_open = self._is_closed = False
        self._keepers: dict[int, _Keeper] = {}
        try:
            self._keepers = {number: _Keeper(self._make, number) for number in numbers}
            self._wait_for_all(strict=strict)
        except BaseException:
            self._release()
            raise
        self._is_open = True
        self._watcher = Watcher(self.look_after, name="ray-shards")

    @property
    def states(self) -> dict[int, ShardState]:
        """How each shard that was ever heard of last was."""
        known = {number: keeper.state for number, keeper in self._keepers.items()}
        return {number: state for number, state in known.items() if state is not None}

    def ask(self, method: str, calls: Calls, *, timeout_s: float | None = None) -> Told:
        """All calls go out before the first answer is waited for; no threads."""
        patience_s = timeout_s or self._settings.shard_timeout_s
        lost = self.lost
        failures = {number: lost[number] for number in calls if number in lost}
        asked: dict[Any, int] = {}
        for number, arguments in calls.items():
            if number not in failures:
                try:
                    asked[self._keepers[number].actor.call.remote(method, arguments)] = number
                except Exception as problem:
                    failures[number] = self._note_lost(number, problem)
        answers: dict[int, Any] = {}
        ready, late = self._answers_to(asked, patience_s)
        for reference in ready:
            number = asked[reference]
            try:
                answer = self._ray.get(reference)
            except Exception as problem:
                failures[number] = self._note_lost(number, problem)
                continue
            if isinstance(answer, Trouble):
                failures[number] = answer.why
                self._watcher.wake()
            else:
                answers[number] = answer
        for reference in late:
            failures[asked[reference]] = f"no answer within {patience_s:g} s"
            if timeout_s is None:
                self._note_lost(asked[reference], TimeoutError(failures[asked[reference]]))
            else:
                self._watcher.wake()
        return Told(answers, failures)

    def look_after(self) -> float:
        """Asks all shards how they are; returns after how many seconds to do so again."""
        asked = {}
        for number, keeper in self._keepers.items():
            if (reference := keeper.ask(self._lease)) is not None:
                asked[reference] = number
        ready, late = self._answers_to(asked, ANSWER_S)
        for reference in late:
            keeper = self._keepers[asked[reference]]
            keeper.note_silence(self._ray)
            self._set_lost(
                asked[reference], NOT_PLACED if keeper.state is None else "its node does not answer"
            )
        for reference in ready:
            number = asked[reference]
            try:
                self._note_state(number, self._ray.get(reference))
            except Exception as problem:
                self._keepers[number].note_failure(self._ray, problem)
                self._set_lost(number, _sentence(problem))
        return LOST_LOOK_S if self.lost else LOOK_S

    def close(self) -> None:
        """Gives the leases back; the actors end unless another front door holds one."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        self._watcher.close(patience_s=ANSWER_S + 1)
        self._release()

    def _release(self) -> None:
        told = [keeper.release(self._lease) for keeper in self._keepers.values()]
        if asked := [reference for reference in told if reference is not None]:
            self._ray.wait(asked, num_returns=len(asked), timeout=ANSWER_S)
        let_go()

    def _answers_to(
        self, asked: Mapping[Any, int], patience_s: float
    ) -> tuple[list[Any], list[Any]]:
        if not asked:
            return [], []
        ready, late = self._ray.wait(list(asked), num_returns=len(asked), timeout=patience_s)
        return list(ready), list(late)

    def _make(self, number: int) -> Any:  # noqa: ANN401 - an actor's handle
        """The shard's actor, found by its name or made, somewhere where there is room."""
        entry = self._epoch.shards[number]
        shared = bool(self._settings.ray_address)
        # An actor opens again from its own root: a copy of the gallery needs actors of its own.
        place = hashlib.sha256(str(self._root).encode()).hexdigest()[:12]
        return (
            self._ray.remote(ShardActor)
            .options(
                name=f"shard-{PROTOCOL}-{crossfix.__version__}-{entry.manifest_sha256}-{place}",
                namespace=NAMESPACE,
                get_if_exists=True,
                lifetime="detached",
                num_cpus=self._settings.shard_cpus if shared else 0,
                memory=_PROCESS_BYTES + _ROW_BYTES * entry.tile_count if shared else None,
                max_restarts=-1,
                max_concurrency=_THREADS,
                scheduling_strategy="SPREAD",
            )
            .remote(ShardOrder(self._root, self._epoch, number, crossfix.__version__))
        )

    def _wait_for_all(self, *, strict: bool) -> None:
        """Until every shard is open or given up; then raises where that is not enough to serve."""
        most = max(shard.tile_count for shard in self._epoch.shards)
        longest_s = OPENED_WITHIN_S + _OPEN_S_PER_TILE * most
        began = changed_at = time.monotonic()
        are_open = 0
        while True:
            self.look_after()
            if strict:
                self._require_no_corrupt()
            now = time.monotonic()
            if len(self.facts) > are_open:
                are_open, changed_at = len(self.facts), now
            is_coming = any(one.is_coming(now, began) for one in self._keepers.values())
            patience_s = PLACED_WITHIN_S if are_open and not strict else longest_s
            if not is_coming or now - changed_at > patience_s:
                break
            time.sleep(LOST_LOOK_S / 5)
        lost, total = self.lost, len(self._keepers)
        if lost and (strict or len(lost) == total):
            self._require_no_corrupt()
            number, why = min(lost.items())
            raise GalleryError(
                f"{len(lost)} of {total} shards of epoch {self._epoch.epoch} could not be opened; "
                f"shard {number}: {why}",
                hint="`ray status` shows whether the cluster has room; every node needs the "
                "gallery under the same path",
            )
        for number, why in sorted(lost.items()):
            _tell_lost(number, why)

    def _require_no_corrupt(self) -> None:
        for number, state in self.states.items():
            if state.is_corrupt:
                raise GalleryCorrupt(
                    f"shard {number} on {state.node}: {state.problem}",
                    hint="all nodes must see the epoch's own shards, with one version of this code",
                )

    def _note_state(self, number: int, state: ShardState) -> None:
        keeper = self._keepers[number]
        keeper.note_state(state)
        if state.state != "ready":
            self._set_lost(number, state.problem or "it is being opened")
            return
        if number not in self.facts:
            facts = self._ray.get(keeper.actor.facts.remote(), timeout=10 * ANSWER_S)
            if not isinstance(facts, ShardFacts):
                return
            self.facts = self.facts | {number: facts}
        with self._lock:
            if number in self.lost:
                self.lost = {other: why for other, why in self.lost.items() if other != number}
                fields = {"shard": number, "node": state.node, "pid": state.pid}
                EVENTS.info(
                    "shard_back" if self._is_open else "shard_open", extra={"fields": fields}
                )

    def _note_lost(self, number: int, problem: Exception) -> str:
        why = _sentence(problem)
        self._set_lost(number, why)
        self._watcher.wake()
        return why

    def _set_lost(self, number: int, why: str) -> None:
        with self._lock:
            known = number in self.lost
            self.lost = {**self.lost, number: why}
        if not known:
            _tell_lost(number, why)


class _Keeper:
    """One shard's actor: its handle, how it last was, and when to try what again."""

    def __init__(self, make: Any, number: int) -> None:  # noqa: ANN401 - makes a Ray handle
        self._make, self._number = make, number
        self.actor: Any = make(number)
        self.state: ShardState | None = None
        self._heard_at: float | None = None
        self._failures = 0
        self._retry_at = 0.0
        self._gone = False

    def ask(self, lease: str) -> Any:  # noqa: ANN401 - a reference
        """Asks for its state; an actor that is gone for good is first made anew."""
        if self._gone:
            if time.monotonic() < self._retry_at:
                return None
            self.actor, self._gone = self._make(self._number), False
        return self.actor.look.remote(lease)

    def note_state(self, state: ShardState) -> None:
        """It answered; one that failed is told to try again, seldom."""
        now = time.monotonic()
        self.state, self._heard_at = state, now
        if state.state == "ready":
            self._failures = 0
        elif state.state == "failed" and now >= self._retry_at:
            if self._failures:
                self.actor.open_again.remote()
            self._back_off(now)

    def is_coming(self, now: float, began: float) -> bool:
        """Whether it may soon be open: it is being placed, or says that it opens.

        Args:
            began: when it was asked for.
        """
        if self.state is None or self._heard_at is None:
            return now - began <= PLACED_WITHIN_S
        return self.state.state == "opening" and now - self._heard_at <= PLACED_WITHIN_S

    def note_silence(self, ray: Any) -> None:  # noqa: ANN401 - see ray_cluster
        """It did not answer in time; one that hangs for long is restarted."""
        if self._heard_at is not None and time.monotonic() - self._heard_at > HUNG_S:
            self._heard_at = None
            ray.kill(self.actor, no_restart=False)

    def note_failure(self, ray: Any, problem: Exception) -> None:  # noqa: ANN401
        """Ray says that it is away, or ended for good."""
        if isinstance(problem, ray.exceptions.ActorUnavailableError):
            return  # Ray restarts it
        self._gone, self.state = True, None
        self._back_off(time.monotonic())

    def release(self, lease: str) -> Any:  # noqa: ANN401 - a reference
        """Gives the lease back; None where nobody is there to take it, and it runs out."""
        try:
            return None if self._gone else self.actor.release.remote(lease)
        except Exception:
            return None

    def _back_off(self, now: float) -> None:
        self._failures += 1
        self._retry_at = now + min(LOST_LOOK_S * 2 ** min(self._failures, 10), LONGEST_PAUSE_S)


def _tell_lost(number: int, why: str) -> None:
    EVENTS.error("shard_lost", extra={"fields": {"shard": number, "reason": why}})


def _sentence(problem: Exception) -> str:
    lines = str(problem).strip().splitlines() or [type(problem).__name__]
    return lines[0][:300]
