"""What the test of `--engine ray` runs in a process of its own: a cluster, a service, killings.

Prints nothing; leaves what was seen in `told.json`.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")  # a busy machine

import httpx
from ray.cluster_utils import Cluster

from benchmarks.swap_load import service_process
from tests.ray_build import HASTY, OBJECT_STORE_BYTES
from tests.service_world import jpeg, serve
from tests.sharded_world import SHARDS, ShardedWorld, make_sharded_world

PATIENCE_S = 120.0
JPEG = {"Content-Type": "image/jpeg"}
FLAGS = ("--engine", "ray", "--shard-timeout-s", "2", "--max-wait-s", "30",
         "--reload-interval-s", "0.2", "--shutdown-s", "60", "--deadline-s", "30")  # fmt: skip
NODE = {"num_cpus": 2, "object_store_memory": OBJECT_STORE_BYTES, "memory": 2 << 30,
        "include_log_monitor": False}  # fmt: skip
Answer = dict[str, Any]


class Load:
    """A thread that asks without a pause and keeps every answer with its time."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._over = threading.Event()
        self.answers: list[Answer] = []
        self.failed: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join(60)

    def _run(self) -> None:
        with httpx.Client(timeout=60) as client:
            for turn in range(10**9):
                if self._over.is_set():
                    return
                # v2's tiles are jpeg(200 + i), v3's jpeg(300 + i)
                photo = jpeg(200 + 100 * (turn % 2) + turn % 16)
                answer = client.post(
                    f"{self._url}/localize", params={"view": "drone", "k": 16}, content=photo,
                    headers=JPEG,
                )  # fmt: skip
                if answer.status_code != 200:
                    self.failed.append(answer.text)
                    continue
                self.answers.append(
                    {
                        "photo": 200 + 100 * (turn % 2) + turn % 16,
                        "version": answer.json()["gallery"]["version"],
                        "answered": answer.json()["gallery"]["shards_answered"],
                        "warnings": answer.json()["warnings"],
                        "matches": [
                            [one["tile_id"], one["score"]] for one in answer.json()["matches"]
                        ],
                        "estimate": answer.json()["estimate"],
                    }
                )


def wait_for(what: Callable[[], bool]) -> float:
    """Seconds until it is so."""
    began = time.monotonic()
    while not what():
        if time.monotonic() - began > PATIENCE_S:
            raise TimeoutError(what)
        time.sleep(0.05)
    return time.monotonic() - began


def ready(url: str) -> Answer:
    return httpx.get(f"{url}/readyz", timeout=30).json()


def is_whole(url: str) -> bool:
    return ready(url).get("shards_answering") == SHARDS


def shard_processes(log: Path) -> dict[int, int]:
    """Shard number -> process id, as the service's log last told."""
    found = {}
    for line in log.read_text().splitlines():
        told = json.loads(line) if line.startswith("{") else {}
        if told.get("event") in ("shard_open", "shard_back"):
            found[told["shard"]] = told["pid"]
    return found


def lose_a_shard(url: str, log: Path, told: Answer) -> None:
    load = Load(url)
    wait_for(lambda: len(load.answers) > 5)
    os.kill(shard_processes(log)[1], signal.SIGKILL)
    wait_for(lambda: any(one["answered"] < SHARDS for one in load.answers))
    wait_for(lambda: load.answers[-1]["answered"] == SHARDS and is_whole(url))
    load.stop()
    told["shard"] = {"answers": load.answers, "failed": load.failed}


def lose_a_node(url: str, cluster: Any, nodes: list[Any], told: Answer) -> None:
    load = Load(url)
    cluster.remove_node(nodes[0], allow_graceful=False)
    wait_for(lambda: not is_whole(url))
    told["degraded"] = ready(url)["status"]
    wait_for(lambda: is_whole(url))
    load.stop()
    told["node"] = {"answers": load.answers, "failed": load.failed}


def switch_epochs(url: str, world: ShardedWorld, told: Answer) -> None:
    load = Load(url)
    for number in (3, 2, 3):
        world.point_to(number)
        wait_for(lambda number=number: ready(url)["gallery_version"] == world.epochs[number])
        seen = len(load.answers)
        wait_for(lambda seen=seen: len(load.answers) > seen + 4)
    load.stop()
    told["switch"] = {"answers": load.answers, "failed": load.failed}


@contextmanager
def cluster_of(raylets: int) -> Iterator[tuple[Cluster, list[Any]]]:
    """A head without shards and so many other nodes."""
    head = {**NODE, "num_cpus": 0, "include_dashboard": False, "no_monitor": True,
            "_system_config": HASTY}  # fmt: skip
    cluster = patiently(lambda: Cluster(initialize_head=True, head_node_args=head))
    try:
        yield cluster, [patiently(lambda: cluster.add_node(**NODE)) for _ in range(raylets - 1)]
    finally:
        cluster.shutdown()


def patiently(start: Callable[[], Any], tries: int = 4) -> Any:
    """On a busy machine a raylet ends because its helper process was not up within 15 seconds."""
    for _ in range(tries - 1):
        try:
            return start()
        except Exception as problem:
            sys.stderr.write(f"again, after {type(problem).__name__}\n")
    return start()


def whole_answers(world: ShardedWorld) -> Answer:
    """What the galleries of one piece answer to the same photos, by epoch and photo."""
    expected: Answer = {}
    for number, epoch in world.epochs.items():
        with serve(world.settings(gallery=world.whole(number), max_wait_s=30)) as url:
            for photo in (*range(200, 216), *range(300, 316)):
                answer = httpx.post(
                    f"{url}/localize", params={"view": "drone", "k": 16}, content=jpeg(photo),
                    headers=JPEG,
                ).json()  # fmt: skip
                expected[f"{epoch}/{photo}"] = {
                    "matches": [[one["tile_id"], one["score"]] for one in answer["matches"]],
                    "estimate": answer["estimate"],
                }
    return expected


def main(folder: Path, what: str) -> None:
    """Runs the named scenes, separated by commas, on one cluster; `alone` is the service's own."""
    world = make_sharded_world(folder / "world", 2, 3)
    told: Answer = {"epochs": world.epochs, "expected": whole_answers(world)}
    world.point_to(2)
    scenes = what.split(",")
    log = folder / "service.log"
    with ExitStack() as stack:
        flags, cluster, nodes = FLAGS, None, []
        if "alone" not in scenes:
            cluster, nodes = stack.enter_context(cluster_of(4))
            flags = (*FLAGS, "--ray-address", cluster.address)
        with service_process(world.folder / "encoder", world.root, log=log, flags=flags) as (
            url, _,
        ):  # fmt: skip
            wait_for(lambda: is_whole(url))
            if "shard" in scenes:
                lose_a_shard(url, log, told)
            if "switch" in scenes:
                switch_epochs(url, world, told)
            if "node" in scenes:
                lose_a_node(url, cluster, nodes, told)
            told["metrics"] = httpx.get(f"{url}/metrics").text
            told["gallery"] = httpx.get(f"{url}/gallery").json()
            processes = set(shard_processes(log).values())
        told["left_s"] = wait_for(
            lambda: not any(Path(f"/proc/{process}").exists() for process in processes)
        )
    (folder / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
