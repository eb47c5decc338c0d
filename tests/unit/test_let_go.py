"""What failed holds no gallery: an old one goes with its last user, not with the collector."""

import asyncio
import contextlib
import gc
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from crossfix.sharded_gallery_manifest import read_epoch, shard_root
from service.galleries.daemon_thread import run_in_daemon
from service.galleries.hanging_calls import call_within
from service.galleries.snapshot import SnapshotHolder
from service.settings import Settings
from tests.service_world import make_world
from tests.sharded_world import make_sharded_world
from tests.swap_world import publish_marked


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def is_gone(what: "weakref.ref[Any]") -> bool:
    """Whether nothing holds it, once the thread that had it has ended."""
    give_up = time.monotonic() + 20
    while what() is not None and time.monotonic() < give_up:
        time.sleep(0.01)
    return what() is None


class OnPurposeError(ValueError):
    """Notes that it was made; a variable of its maker would be in its traceback."""

    made: ClassVar[list["weakref.ref[Any]"]] = []

    def __init__(self) -> None:
        super().__init__("on purpose")
        self.made.append(weakref.ref(self))


def fail() -> None:
    raise OnPurposeError


def fail_in_a_daemon() -> None:
    async def ask() -> None:
        with contextlib.suppress(OnPurposeError):
            await run_in_daemon(fail, name="fails")

    asyncio.run(ask())


def fail_where_it_may_hang() -> None:
    with contextlib.suppress(OnPurposeError):
        call_within("key", fail, timeout_s=30.0)


@pytest.mark.parametrize("work", [fail_in_a_daemon, fail_where_it_may_hang])
def test_an_exception_from_a_thread_does_not_hold_itself(work) -> None:
    OnPurposeError.made.clear()
    work()
    (problem,) = OnPurposeError.made
    assert is_gone(problem)


def swap_after_a_refusal(
    settings: Settings, offer: Callable[[], object], vectors: Path
) -> "weakref.ref[Any]":
    """The old gallery, after a damaged version was refused, mended and taken."""
    whole = vectors.read_bytes()
    holder = SnapshotHolder(
        settings,
        clock=lambda: 0.0,
        on_change=lambda _: None,
        on_result=lambda *_: None,
    )
    asyncio.run(holder.load_first())
    old = weakref.ref(holder.current().gallery)
    offer()
    vectors.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert not asyncio.run(holder.reload_if_new(at_once=True))
    vectors.write_bytes(whole)
    assert asyncio.run(holder.reload_if_new(at_once=True))
    holder.close()
    return old


def test_a_refused_version_does_not_keep_the_old_gallery(tmp_path) -> None:
    world = make_world(tmp_path)
    publish_marked(world.gallery_path, world.encoder, 2)
    live = world.gallery_path / "CURRENT.json"
    wanted = live.read_bytes()
    live.write_text('{"version": "v1"}')
    vectors = world.gallery_path / "versions" / "v2" / "vectors.f16"
    old = swap_after_a_refusal(world.settings(), lambda: live.write_bytes(wanted), vectors)
    assert is_gone(old)


def test_a_refused_epoch_does_not_keep_the_old_shards(tmp_path) -> None:
    world = make_sharded_world(tmp_path, 2, 3)
    world.point_to(2)
    entry = read_epoch(world.root, world.epochs[3]).shards[1]
    vectors = shard_root(world.root, entry) / "versions" / entry.version / "vectors.f16"
    old = swap_after_a_refusal(world.settings(), lambda: world.point_to(3), vectors)
    assert is_gone(old)
