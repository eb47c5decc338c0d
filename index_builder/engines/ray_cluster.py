"""A Ray cluster: connected to (or started here), counted, and left as it was found."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from crossfix.errors import InvalidParameter, PublishError

_LOCAL_OBJECT_STORE_BYTES = 200 << 20  # only plans and short answers travel
_ANSWER_WITHIN_S = 10.0
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else a warning wherever there is no GPU
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # of this process; what matters comes back as rows
}


@dataclass(frozen=True)
class WorkerShape:
    """What one worker takes of its node, and how many of them there are at first and at most."""

    num_cpus: float
    num_gpus: float
    at_first: int
    at_most: int


def import_ray() -> Any:  # noqa: ANN401 - Ray is only there where it is asked for
    """The `ray` module.

    Raises:
        InvalidParameter: it is not installed.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as problem:
        raise InvalidParameter(
            f"the engine `ray` needs a package that is not installed ({problem})",
            hint="pip install 'ray[data]'",
        ) from problem
    return ray


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Ray, connected to the cluster; a connection that was there is used and stays.

    Args:
        address: of the cluster's head; empty is `RAY_ADDRESS`, or a cluster of this machine only
            that ends with the block.

    Raises:
        InvalidParameter: Ray is not installed.
        PublishError: no cluster answers.
    """
    ray = import_ray()
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # raised, too
    if ray.is_initialized():
        yield ray
        return
    where = address or os.environ.get("RAY_ADDRESS") or "local"
    _require_answer(where)
    local = {"include_dashboard": False, "object_store_memory": _LOCAL_OBJECT_STORE_BYTES}
    try:
        ray.init(
            address=where,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **(local if where == "local" else {}),
        )
    except (ConnectionError, RuntimeError, ValueError) as problem:
        raise _no_cluster(where, problem) from problem
    try:
        yield ray
    finally:
        ray.shutdown()


def shape_workers(ray: Any, device: str, threads: int, workers: int) -> WorkerShape:  # noqa: ANN401
    """How workers are laid over the cluster.

    On CPUs one worker per core with one thread each: an encoder gains nothing from batches
    there, and several of one thread are faster than one of several. On GPUs one worker each.

    Args:
        device: `cuda...` asks for a GPU for every worker.
        threads: of every worker's encoder on CPUs.
        workers: at most; 0 is as many as the cluster has room for now.
    """
    gpus = 1.0 if device.startswith("cuda") else 0.0
    cpus = 1.0 if gpus else float(threads)
    room = sum(_room(node["Resources"], cpus, gpus) for node in ray.nodes() if node["Alive"])
    if not room and not workers:
        raise PublishError(
            f"the Ray cluster has no room for a worker of {cpus:g} CPUs and {gpus:g} GPUs",
            hint="add nodes, or ask for fewer threads",
        )
    at_most = workers or room
    return WorkerShape(cpus, gpus, at_first=max(1, min(room, at_most)), at_most=at_most)


def cluster_has_gpus(ray: Any) -> bool:  # noqa: ANN401 - see import_ray
    """Whether any node of the cluster offers a GPU."""
    return bool(ray.cluster_resources().get("GPU"))


def _room(resources: dict[str, float], cpus: float, gpus: float) -> int:
    room = resources.get("CPU", 0.0) // cpus
    return int(min(room, resources.get("GPU", 0.0) // gpus) if gpus else room)


def _require_answer(address: str) -> None:
    """Ray itself would try for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or "/" in host:
        return  # `local`, `auto` and the like
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER_WITHIN_S).close()
    except OSError as problem:
        raise _no_cluster(address, problem) from problem


def _no_cluster(address: str, problem: Exception) -> PublishError:
    return PublishError(
        f"no Ray cluster answers at {address}: {_first_line(problem)}",
        hint="start one with `ray start --head`, or leave the address out",
    )


def _first_line(problem: BaseException) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0]
