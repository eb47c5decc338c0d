"""What failed holds no gallery: an old one goes with its last user, not with the collector."""

import asyncio
import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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


def fail() -> None:
    raise ValueError("on purpose")


def fail_in_a_daemon() -> None:
    async def ask() -> None:
        with pytest.raises(ValueError, match="on purpose"):
            await run_in_daemon(fail, name="fails")

    asyncio.run(ask())


def fail_where_it_may_hang() -> None:
    with pytest.raises(ValueError, match="on purpose"):
        call_within("key", fail, timeout_s=30.0)


@pytest.mark.parametrize("work", [fail_in_a_daemon, fail_where_it_may_hang])
def test_an_exception_from_a_thread_does_not_hold_itself(work) -> None:
    gc.collect()
    work()
    held = [one for one in gc.get_objects() if isinstance(one, ValueError)]
    assert [one for one in held if one.args == ("on purpose",)] == []


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
    assert old() is None


def test_a_refused_epoch_does_not_keep_the_old_shards(tmp_path) -> None:
    world = make_sharded_world(tmp_path, 2, 3)
    world.point_to(2)
    entry = read_epoch(world.root, world.epochs[3]).shards[1]
    vectors = shard_root(world.root, entry) / "versions" / entry.version / "vectors.f16"
    old = swap_after_a_refusal(world.settings(), lambda: world.point_to(3), vectors)
    assert old() is None
