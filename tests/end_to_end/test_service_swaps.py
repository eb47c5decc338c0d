"""Swapping the gallery of a real, busy service: nobody is turned away, nothing is mixed or kept."""

import os
import shutil
import signal
import threading
import time
from pathlib import Path

import httpx
import pytest

from benchmarks.service_swaps import VERSIONS, mark_version
from benchmarks.service_swaps import mixed as marked_otherwise
from benchmarks.swap_load import Clients, Held, service_process, swap
from crossfix.gallery import Gallery
from crossfix.gallery_versions import list_versions, make_live
from tests.service_world import World, jpeg, make_world
from tests.swap_world import mixed, publish_marked

NUMBERS = (2, 3, 4, 5)
CLIENTS = 4
WARM_UP_SWAPS = 10
SLACK = 8  # pools start threads only when they are needed; a leak would be one per swap
GROWTH_MB = 24.0  # allocators keep a little; a version that stays would add files and maps


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    """Four versions of other tiles, at other places."""
    world = make_world(tmp_path_factory.mktemp("swaps"))
    for number in NUMBERS:
        publish_marked(world.gallery_path, world.encoder, number)
    shutil.rmtree(world.gallery_path / "versions" / "v1")
    return world


def photos() -> list[bytes]:
    return [jpeg(100 * number + tile, 200, 150) for number in NUMBERS for tile in range(4)]


def settled(pid: int, world: World, patience_s: float = 10.0) -> Held:
    """What the process holds once the last requests' connections are closed."""
    give_up = time.monotonic() + patience_s
    held = Held.by(pid, world.gallery_path)
    while time.monotonic() < give_up:
        time.sleep(0.2)
        last, held = held, Held.by(pid, world.gallery_path)
        if (last.files, last.threads, last.versions) == (held.files, held.threads, held.versions):
            break
    return held


def load_and_swap(world: World, tmp_path: Path, swaps: int) -> None:
    names = [f"v{number}" for number in NUMBERS]
    # The watcher looks while versions are activated; nothing is refused for being too much.
    flags = ("--reload-interval-s", "0.05", "--max-wait-s", "30", "--shutdown-s", "60")
    with service_process(
        world.encoder_path, world.gallery_path, log=tmp_path / "log", flags=flags
    ) as (url, pid):
        clients = Clients(url, photos(), view="drone", count=CLIENTS, check=mixed)
        with clients:
            swap(url, names, WARM_UP_SWAPS)
        before = settled(pid, world)
        with clients:
            swap(url, names, swaps)
        after = settled(pid, world)
        answers = clients.take()
        metrics = httpx.get(f"{url}/metrics").text
    assert answers.failed == []
    assert answers.mixed == []
    assert set(answers.by_version) == set(names)
    assert len(answers.latencies_ms) > swaps
    assert f'crossfix_reload_results_total{{result="ok"}} {swaps + WARM_UP_SWAPS}.0' in metrics
    assert after.versions == {names[(swaps - 1) % len(names)]}, "files of old versions are closed"
    assert after.files <= before.files + SLACK
    assert after.threads <= before.threads + SLACK
    assert after.private_mb - before.private_mb < GROWTH_MB


def test_a_hundred_swaps_under_load_fail_no_request_and_keep_nothing(world, tmp_path) -> None:
    load_and_swap(world, tmp_path, 100)


@pytest.mark.slow
def test_a_thousand_swaps_under_load_keep_nothing(world, tmp_path) -> None:
    load_and_swap(world, tmp_path, 1000)


def swap_for_ever(url: str, names: list[str]) -> None:
    with httpx.Client(base_url=url, timeout=20) as session:
        while True:
            for name in names:
                session.post("/gallery/activate", json={"version": name})


def test_a_service_killed_while_it_swaps_starts_again_on_a_whole_version(world, tmp_path) -> None:
    names = [f"v{number}" for number in NUMBERS]
    for turn in range(3):
        log = tmp_path / f"log-{turn}"
        with service_process(world.encoder_path, world.gallery_path, log=log) as (url, pid):
            assert httpx.get(f"{url}/readyz").json()["gallery_version"] in names
            if turn < 2:
                killer = threading.Timer(0.1 + 0.013 * turn, os.kill, (pid, signal.SIGKILL))
                killer.start()
                with pytest.raises(httpx.HTTPError):
                    swap_for_ever(url, names)
                killer.join()
        assert list_versions(world.gallery_path) == names


def test_marked_copies_of_a_gallery_are_told_apart(world, tmp_path) -> None:
    """What the benchmark makes of a real gallery."""
    make_live(world.gallery_path, "v2")
    for version in VERSIONS:
        assert mark_version(world.gallery_path, tmp_path / "scratch", version) == 16
    gallery = Gallery.open(tmp_path / "scratch", version=VERSIONS[1])
    assert gallery.manifest.version == VERSIONS[1]
    assert gallery.row_of(f"{VERSIONS[1]}/v2/3") == 3
    assert gallery.picture(3) == Gallery.open(world.gallery_path).picture(3)
    wrong = {"gallery": {"version": VERSIONS[0]}, "matches": [{"tile_id": f"{VERSIONS[1]}/x"}]}
    assert marked_otherwise(wrong)


def test_an_answer_of_two_versions_would_be_noticed() -> None:
    match = {"tile_id": "v2/1", "picture_url": "/tiles/v2/1?v=v2", "lon": 10.0}
    match["bounds"] = {"west": 10.0}
    answer = {"gallery": {"version": "v2"}, "matches": [match], "estimate": {"lon": 10.0}}
    assert mixed(answer) == ""
    assert mixed(answer | {"gallery": {"version": "v3"}})
    for change in ({"tile_id": "v3/1"}, {"picture_url": "/tiles/v2/1?v=v3"}, {"lon": 11.0}):
        assert mixed(answer | {"matches": [match | change]})
    assert mixed(answer | {"estimate": {"lon": 9.0}})
