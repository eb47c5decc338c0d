"""A sharded gallery on four raylets of one machine, beside the same shards in one process.

Fan-out and merging as the front door does it, on made-up unit vectors; then the seconds from a kill
(-9) of a shard's process, and of a whole node, until all shards answer again.
"""

import argparse
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import numpy as np
from numpy.typing import NDArray

from benchmarks.record import append_row
from benchmarks.sharded_search import CENTRE, publish_both, search_parser, time_in_turn
from crossfix.estimate import CANDIDATES
from crossfix.gallery import Disc
from crossfix.sharded_gallery_manifest import read_epoch
from service.galleries.one_piece import OnePiece
from service.galleries.served import ServedGallery
from service.galleries.shards.local_shards import LocalShards
from service.galleries.shards.ray_shards import RayShards
from service.galleries.shards.sharded import ShardedServed
from service.settings import Settings

Float32 = NDArray[np.float32]

RAYLETS = 4
PAUSE_S = 0.01
PATIENCE_S = 180.0
OBJECT_STORE_BYTES = 100 << 20


def main() -> int:
    """Measures once and records a row in `results/ray_serving.csv`."""
    options = search_parser("ray_serving", __doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        os.environ["RAY_TMPDIR"] = folder  # short: it holds sockets
        row = measure(Path(folder), options)
    for name, value in row.items():
        print(f"{name:>26} {value}")
    if not options.dry_run:
        append_row("ray_serving", row)
    return 0


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Builds the gallery in one piece and in shards, and asks all three the same."""
    one_piece, queries = publish_both(folder, options)
    epoch = read_epoch(folder / "sharded")
    plain = OnePiece(one_piece)
    local = ShardedServed(epoch, LocalShards(folder / "sharded", epoch, strict=True, timeout_s=60))
    row: dict[str, Any] = {
        "rows": options.rows, "dim": options.dim, "shards": options.shards, "k": CANDIDATES,
        "raylets": RAYLETS, "queries": options.queries,
    }  # fmt: skip
    with cluster_of(RAYLETS) as cluster:
        settings = Settings(
            encoder=folder, gallery=folder / "sharded", engine="ray",
            ray_address=cluster.address, shard_timeout_s=60, deadline_s=90, shutdown_s=90,
        )  # fmt: skip
        began = time.monotonic()
        shards = RayShards(settings, epoch, strict=True)
        row["open_s"] = round(time.monotonic() - began, 1)
        far = ShardedServed(epoch, shards)
        row |= time_searches({"plain": plain, "in_process": local, "ray": far}, queries, options)
        row |= lose_things(shards, far, queries, cluster)
        far.close()
    local.close()
    return row


def time_searches(
    galleries: dict[str, ServedGallery], queries: Float32, options: argparse.Namespace
) -> dict[str, Any]:
    """p50 and p95 of each, in turn, with and without a prior; all must answer the same."""
    row: dict[str, Any] = {}
    for suffix, prior in (("", None), ("_prior", Disc(CENTRE, options.radius_m))):
        for query in queries[:20]:
            first, *others = (
                one.search(query[None], CANDIDATES, prior=prior) for one in galleries.values()
            )
            if not all(np.array_equal(first.rows, other.rows) for other in others):
                raise AssertionError("the galleries give different rankings")
        searches: dict[str, Callable[[Float32], object]] = {
            name: lambda query, one=one, prior=prior: one.search(query, CANDIDATES, prior=prior)
            for name, one in galleries.items()
        }
        for name, times_ms in time_in_turn(searches, queries).items():
            row[f"{name}{suffix}_p50_ms"] = round(float(np.percentile(times_ms, 50)), 3)
            row[f"{name}{suffix}_p95_ms"] = round(float(np.percentile(times_ms, 95)), 3)
    return row


def lose_things(
    shards: RayShards,
    far: ShardedServed,
    queries: Float32,
    cluster: Any,  # noqa: ANN401
) -> dict[str, Any]:
    """Seconds from each kill until every answer is whole again, while it is being asked."""
    victim = shards.states[0].pid
    row: dict[str, Any] = {}
    with asked_all_the_time(far, queries) as answered:
        os.kill(victim, signal.SIGKILL)
        row["killed_shard_whole_after_s"] = wait_until_whole(answered, far)
    used = {state.node_id for state in shards.states.values()}
    shard_node = next(node for node in cluster.worker_nodes if node.node_id in used)
    with asked_all_the_time(far, queries) as answered:
        cluster.remove_node(shard_node, allow_graceful=False)
        row["killed_node_whole_after_s"] = wait_until_whole(answered, far)
    return row


@contextmanager
def asked_all_the_time(far: ShardedServed, queries: Float32) -> Iterator[list[int]]:
    """How many shards each search was answered by, as they come."""
    answered: list[int] = []
    over = threading.Event()

    def ask() -> None:
        for turn in range(10**9):
            if over.is_set():
                return
            found = far.search(queries[turn % len(queries)][None], CANDIDATES)
            answered.append(found.reach.shards_answered)
            time.sleep(PAUSE_S)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield answered
    finally:
        over.set()
        thread.join()


def wait_until_whole(answered: list[int], far: ShardedServed) -> float:
    """Seconds until an answer is whole after one that was not."""
    began = time.monotonic()
    while True:
        seen = list(answered)
        broken = [i for i, count in enumerate(seen) if count < far.shards_total]
        if broken and seen[-1] == far.shards_total and not far.lost_shards:
            return round(time.monotonic() - began, 2)
        if time.monotonic() - began > PATIENCE_S:
            raise TimeoutError("the shards did not come back")
        time.sleep(PAUSE_S)


@contextmanager
def cluster_of(raylets: int) -> Iterator[Any]:
    """A Ray cluster on this machine, with Ray's own patience for dead nodes."""
    from ray.cluster_utils import Cluster

    node = {
        "num_cpus": 2, "object_store_memory": OBJECT_STORE_BYTES, "memory": 4 << 30,
        "include_log_monitor": False,
    }  # fmt: skip
    head = {**node, "num_cpus": 0, "include_dashboard": False, "no_monitor": True}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(raylets - 1):
            cluster.add_node(**node)
        yield cluster
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    raise SystemExit(main())
