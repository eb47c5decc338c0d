"""What the test of epochs on Ray runs in a process of its own: refused, many, two at a time.

Prints nothing; leaves what was seen in `told.json`.
"""

import json
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")  # a busy machine

import ray

from benchmarks.swap_load import service_process
from crossfix.sharded_gallery_manifest import read_epoch
from tests.ray_serving import FLAGS, NODE, Load, cluster_of, is_whole, ready, wait_for
from tests.sharded_world import SHARDS, ShardedWorld, make_sharded_world

SWITCHES = 20
Answer = dict[str, Any]


def actors() -> int:
    """Those that live, or wait for room."""
    return len(ray.util.list_named_actors(all_namespaces=True))


def process_size(process: int) -> Answer:
    """Threads and megabytes of a process."""
    lines = dict(
        line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines()
    )
    return {"threads": int(lines["Threads"]), "mb": int(lines["VmRSS"].split()[0]) / 1024}


def wait_for_epoch(url: str, world: ShardedWorld, number: int) -> None:
    wait_for(lambda: ready(url).get("gallery_version") == world.epochs[number])


def refuse_a_damaged_epoch(url: str, world: ShardedWorld, told: Answer) -> None:
    shard = read_epoch(world.root, world.epochs[3]).shards[2]
    vectors = world.root / shard.directory / "versions" / shard.version / "vectors.f16"
    whole = vectors.read_bytes()
    vectors.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    world.point_to(3)
    wait_for(lambda: bool(ready(url).get("last_reload_failure")))
    told["damaged"] = {"ready": ready(url), "actors_left_s": wait_for(lambda: actors() == SHARDS)}
    world.point_to(2)
    vectors.write_bytes(whole)
    wait_for(lambda: ready(url).get("last_reload_failure") == "")


def refuse_for_want_of_room(url: str, world: ShardedWorld, cluster: Any, told: Answer) -> None:
    world.point_to(3)
    wait_for(lambda: actors() == 2 * SHARDS)
    wait_for(lambda: bool(ready(url).get("last_reload_failure")))
    told["room"] = {"ready": ready(url), "actors_left_s": wait_for(lambda: actors() == SHARDS)}
    cluster.add_node(**{**NODE, "num_cpus": 4})
    wait_for_epoch(url, world, 3)
    wait_for(lambda: actors() == SHARDS)


def switch_often(url: str, process: int, world: ShardedWorld, told: Answer) -> None:
    sizes, load = [], Load(url)
    for turn in range(SWITCHES):
        number = 3 - turn % 2
        world.point_to(number)
        wait_for_epoch(url, world, number)
        sizes.append(process_size(process))
        if turn % 4 == 0:  # the next switch makes actors anew; others meet those that are ending
            wait_for(lambda: actors() == SHARDS)
    load.stop()
    told["many"] = {
        "sizes": sizes,
        "failed": load.failed,
        "answered": sorted({one["answered"] for one in load.answers}),
        "versions": sorted({one["version"] for one in load.answers}),
        "actors_left_s": wait_for(lambda: actors() == SHARDS),
    }


def serve_two_epochs(first: str, second: str, world: ShardedWorld, told: Answer) -> None:
    """The first one follows, the second one stays behind, as while releases roll."""
    loads = [Load(first), Load(second)]
    world.point_to(3)
    wait_for_epoch(first, world, 3)
    seen = [len(load.answers) for load in loads]
    wait_for(lambda: all(len(load.answers) > n + 20 for load, n in zip(loads, seen, strict=True)))
    told["doors"] = {"actors": actors(), "behind": ready(second), "ahead": ready(first)}
    for load, name in zip(loads, ("ahead", "behind"), strict=True):
        load.stop()
        told["doors"][f"{name}_load"] = {
            "failed": load.failed,
            "answered": sorted({one["answered"] for one in load.answers}),
            "versions": sorted({one["version"] for one in load.answers}),
        }


def main(folder: Path, scene: str) -> None:
    """Runs one scene on a cluster of its own."""
    world = make_sharded_world(folder / "world", 2, 3)
    world.point_to(2)
    told: Answer = {"epochs": world.epochs}
    cpus = "0.75" if scene == "room" else "0.5"  # of two nodes with two each
    with ExitStack() as stack:
        cluster, _nodes = stack.enter_context(cluster_of(3))
        ray.init(address=cluster.address, log_to_driver=False, logging_level="CRITICAL")
        stack.callback(ray.shutdown)
        flags = (*FLAGS, "--ray-address", cluster.address, "--shard-cpus", cpus)
        url, process = stack.enter_context(
            service_process(
                world.folder / "encoder", world.root, log=folder / "service.log", flags=flags
            )
        )
        wait_for(lambda: is_whole(url))
        if scene == "many":
            refuse_a_damaged_epoch(url, world, told)
            switch_often(url, process, world, told)
        elif scene == "room":
            refuse_for_want_of_room(url, world, cluster, told)
        else:
            behind = (*flags, "--reload-interval-s", "3600")
            with service_process(
                world.folder / "encoder", world.root, log=folder / "second.log", flags=behind
            ) as (second, _):
                wait_for(lambda: is_whole(second))
                told["shared"] = actors()
                serve_two_epochs(url, second, world, told)
            told["one_left_s"] = wait_for(lambda: actors() == SHARDS)
            time.sleep(3)  # longer than an actor that nobody has leased lives
            told["then"] = ready(url)
    (folder / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
