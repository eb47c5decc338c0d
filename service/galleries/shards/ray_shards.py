"""An epoch's shards as actors of a Ray cluster: placed, asked, looked after."""

import functools
import hashlib
import threading
import time
import uuid
from collections.abc import Mapping
from typing import Any

import crossfix
from crossfix.errors import GalleryCorrupt, GalleryError
from crossfix.sharded_gallery_manifest import EpochManifest
from service.galleries.shards import patience
from service.galleries.shards.callers import Calls, Told, Watcher, tell_lost
from service.galleries.shards.ray_actor import ShardActor, ShardOrder, ShardState, Trouble
from service.galleries.shards.ray_cluster import let_go, take_ray
from service.galleries.shards.ray_keeper import LOST_LOOK_S, PLACED_WITHIN_S, Keeper, first_line
from service.galleries.shards.shard import ShardFacts
from service.logs.log import EVENTS
from service.settings import Settings

NAMESPACE = "crossfix"
PROTOCOL = 3  # what actors are asked; front doors that speak another one share none
LOOK_S = 5.0
ANSWER_S = 2.0  # an actor answers `look` at once
NOT_PLACED = "no node has taken it yet; is there room?"
_ROW_BYTES = 600  # an opened tile table
_PROCESS_BYTES = 300 << 20
_THREADS = 16


class RayShards:
    """A `ShardCaller`. Actors are named, so that front doors of one cluster share them.

    A shard that fails a call is asked no more until it has answered the watcher: requests do not
    wait for what is known to be lost. One that answers too late, or fails several searches in a
    row, must first succeed in a search for nothing in particular. Ray itself restarts an actor
    whose process or node died, on another node if need be; actors that ended otherwise are made
    anew.

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
        self._keepers: dict[int, Keeper] = {}
        try:
            for number in numbers:  # one by one: what is made before a failure is let go of
                self._keepers[number] = Keeper(self._make, number)
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
            else:
                answers[number] = answer
            self._note_answer(number, method, answer)
        for reference in late:
            number = asked[reference]
            failures[number] = f"no answer within {patience_s:g} s"
            if timeout_s is None:
                self._doubt(number, failures[number])
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
                self._set_lost(number, first_line(problem))
        self._probe_doubted()
        return LOST_LOOK_S if self.lost else LOOK_S

    def _probe_doubted(self) -> None:
        """One search for nothing in particular in each doubted shard whose pause is over."""
        asked = {}
        for number, keeper in self._keepers.items():
            if (reference := keeper.probe()) is not None:
                asked[reference] = number
        ready, late = self._answers_to(asked, self._settings.shard_timeout_s)
        for reference in ready:
            number = asked[reference]
            try:
                answer = self._ray.get(reference)
            except Exception as problem:
                answer = Trouble(first_line(problem))
            keeper = self._keepers[number]
            if isinstance(answer, Trouble):
                keeper.probation.note_trouble()
            else:
                keeper.is_doubted, keeper.failures_in_a_row = False, 0
                self._set_found(number)
        for reference in late:
            self._keepers[asked[reference]].probation.note_trouble()

    def close(self) -> None:
        """Gives the leases back; the actors end unless another front door holds one."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        self._watcher.close(patience_s=ANSWER_S + 1)
        self._release()

    def _release(self) -> None:
        """Gives all leases back, and ends actors that no node has taken.

        Those would wait for room for ever, and be counted by whatever adds nodes to the cluster.
        """
        try:
            told = [keeper.release(self._lease) for keeper in self._keepers.values()]
            if asked := [reference for reference in told if reference is not None]:
                self._ray.wait(asked, num_returns=len(asked), timeout=ANSWER_S)
            for keeper in self._keepers.values():
                keeper.end_if_never_heard(self._ray)
        finally:
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
            _actor_class(self._ray)
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
        longest_s = patience.longest_opening_s(self._epoch)
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
            tell_lost(number, why)

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
        if not keeper.is_doubted:
            self._set_found(number)

    def _set_found(self, number: int) -> None:
        state = self._keepers[number].state
        with self._lock:
            if state is None or number not in self.lost:
                return
            self.lost = {other: why for other, why in self.lost.items() if other != number}
        fields = {"shard": number, "node": state.node, "pid": state.pid}
        EVENTS.info("shard_back" if self._is_open else "shard_open", extra={"fields": fields})

    def _note_answer(self, number: int, method: str, answer: object) -> None:
        keeper = self._keepers[number]
        if not isinstance(answer, Trouble):
            if method == "search":
                keeper.failures_in_a_row = 0
            return
        if method == "search":
            keeper.failures_in_a_row += 1
        if keeper.failures_in_a_row >= patience.FAILURES_IN_A_ROW:
            self._doubt(number, answer.why)
        else:
            self._watcher.wake()

    def _doubt(self, number: int, why: str) -> None:
        """It is asked no more until it has been probed."""
        keeper = self._keepers[number]
        with self._lock:
            is_news, keeper.is_doubted = not keeper.is_doubted, True
        if is_news:
            keeper.probation.note_trouble()
        self._set_lost(number, why)
        self._watcher.wake()

    def _note_lost(self, number: int, problem: Exception) -> str:
        why = first_line(problem)
        self._set_lost(number, why)
        self._watcher.wake()
        return why

    def _set_lost(self, number: int, why: str) -> None:
        with self._lock:
            known = number in self.lost
            self.lost = {**self.lost, number: why}
        if not known:
            tell_lost(number, why)


@functools.lru_cache(maxsize=1)
def _actor_class(ray: Any) -> Any:  # noqa: ANN401 - see ray_cluster
    """One for the process: Ray keeps each that it is given, here and in the cluster."""
    return ray.remote(ShardActor)
