"""A Ray of this process, for the caller of actors: what it uses of it and no more."""

import itertools
from types import SimpleNamespace

from crossfix.sharded_gallery_manifest import read_epoch
from service.galleries.shards import patience, ray_keeper, ray_shards
from service.galleries.shards.ray_actor import ShardState
from service.galleries.shards.ray_shards import RayShards
from tests.sharded_world import SHARDS


class Unavailable(Exception):
    pass


class Died(Exception):
    pass


class Actor:
    """An actor that answers from this thread; `fate` is what calls raise or answer instead."""

    def __init__(self, order) -> None:
        self.order, self.leases, self.fate, self.restarts = order, set(), None, 0
        self.opened, self.told_to_open = itertools.count(1), 0
        for name in ("look", "call", "facts", "release", "open_again"):
            setattr(self, name, SimpleNamespace(remote=self._remote(name)))

    def _remote(self, name):
        def ask(*arguments):
            self.told_to_open += name == "open_again"
            if name == "release":
                self.leases.discard(arguments[0])
            return (self, name, arguments)

        return ask

    def answer(self, name, arguments):
        if isinstance(self.fate, Exception):
            raise self.fate
        if name == "look":
            self.leases.add(arguments[0])
            state, problem, final = self.fate or ("ready", "", False)
            return ShardState(state, problem, final, "host", "node", next(self.opened))
        if name == "facts":
            return self.order.facts
        return "done" if name == "open_again" else (self.order.number, *arguments)


class MadeUpRay:
    """What `RayShards` uses of Ray."""

    exceptions = SimpleNamespace(ActorUnavailableError=Unavailable)

    def __init__(self, facts) -> None:
        self.named: dict[str, Actor] = {}
        self.made: list[str] = []
        self.killed: list[int] = []
        self.late: set[int] = set()
        self.next_fate: dict[int, object] = {}
        self._facts = facts

    def remote(self, _kind):
        return SimpleNamespace(options=self._options)

    def _options(self, *, name, **options):
        assert options["lifetime"] == "detached"
        assert options["max_restarts"] == -1
        assert options["get_if_exists"]

        def make(order):
            if name not in self.named:
                self.made.append(name)
                self.named[name] = Actor(
                    SimpleNamespace(number=order.number, root=order.root, facts=self._facts)
                )
                self.named[name].fate = self.next_fate.get(order.number)
            return self.named[name]

        return SimpleNamespace(remote=make)

    def wait(self, asked, *, num_returns, timeout):
        assert num_returns == len(asked)
        assert timeout > 0
        late = [one for one in asked if one[0].order.number in self.late]
        return [one for one in asked if one not in late], late

    def get(self, reference, timeout=None):  # noqa: ARG002
        actor, name, arguments = reference
        return actor.answer(name, arguments)

    def kill(self, actor, *, no_restart):
        if no_restart:
            self.killed.append(actor.order.number)
            self.named = {name: one for name, one in self.named.items() if one is not actor}
        else:
            actor.restarts += 1

    def actor(self, number) -> Actor:
        return next(one for one in self.named.values() if one.order.number == number)


class NoWatcher:
    """The test looks when it wants to."""

    def __init__(self, look, *, name) -> None:  # noqa: ARG002
        self.woken = 0

    def wake(self):
        self.woken += 1

    def close(self, *, patience_s=0.0):
        pass


def fake_clock(monkeypatch) -> SimpleNamespace:
    """Seconds that pass when the test says so, or somebody sleeps."""
    now = SimpleNamespace(s=0.0)

    def sleep(seconds):
        now.s += seconds

    fake = SimpleNamespace(monotonic=lambda: now.s, sleep=sleep)
    for module in (ray_shards, ray_keeper, patience):
        monkeypatch.setattr(module, "time", fake)
    return now


def fake_ray(monkeypatch) -> MadeUpRay:
    made_up = MadeUpRay(facts=object.__new__(ray_shards.ShardFacts))
    monkeypatch.setattr(ray_shards, "take_ray", lambda _address: made_up)
    monkeypatch.setattr(ray_shards, "let_go", lambda: None)
    monkeypatch.setattr(ray_shards, "Watcher", NoWatcher)
    return made_up


def opened(world, *, strict=True) -> RayShards:
    settings = world.settings(engine="ray", ray_address="10.0.0.1:6379")
    return RayShards(settings, read_epoch(world.root), strict=strict)


def everyone(shards):
    return shards.ask("count_in", dict.fromkeys(range(SHARDS), (None,)))
