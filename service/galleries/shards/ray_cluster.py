"""This process's connection to a Ray cluster: one at most, made when the first gallery needs it."""

import logging
import os
import secrets
import socket
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from crossfix.errors import InvalidParameter
from service.errors import ClusterUnavailable
from service.galleries.shards.kept_handlers import kept_handlers

_LOCAL_OBJECT_STORE_BYTES = 200 << 20  # only questions, short answers and map tiles travel
_ANSWER_WITHIN_S = 10.0
_TOKEN = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
_QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else a warning wherever there is no GPU
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # of this process; what matters comes back as answers
}


class _Connection:
    """Ray in a thread of its own, from its start to its end.

    Linux ends the processes that Ray starts here when the thread that started them does.
    """

    def __init__(self, ray: Any, address: str) -> None:  # noqa: ANN401 - see import_ray
        self._ray, self._address = ray, address
        self._ending = threading.Event()
        self._began: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="ray", daemon=True)
        self._thread.start()
        self._began.result()

    def close(self) -> None:
        """Ends it, and Ray itself where it was started here."""
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            with kept_handlers():
                _connect(self._ray, self._address)
        except BaseException as problem:
            self._began.set_exception(problem)
            return
        self._began.set_result(None)
        self._ending.wait()
        with kept_handlers():
            self._ray.shutdown()


@dataclass
class _Shared:
    """How many need the connection; None where it is somebody else's or there is none."""

    users: int = 0
    connection: _Connection | None = None


_lock = threading.Lock()
_shared = _Shared()


def import_ray() -> Any:  # noqa: ANN401 - Ray is only there where it is asked for
    """The `ray` module, told to report nothing to anybody.

    Raises:
        InvalidParameter: it is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as problem:
        raise InvalidParameter(
            f"engine `ray` needs a package that is not installed ({problem})",
            hint="pip install 'crossfix[ray]', or --engine local",
        ) from problem
    return ray


def take_ray(address: str) -> Any:  # noqa: ANN401 - see import_ray
    """Ray, connected; a connection that is there is used. For each call one :func:`let_go`.

    Args:
        address: of the cluster's head; empty starts Ray on this machine, for this process alone.

    Raises:
        InvalidParameter: Ray is not installed.
        ClusterUnavailable: no cluster answers, or this machine is none of its nodes.
    """
    ray = import_ray()
    with _lock:
        if not ray.is_initialized():
            _shared.connection = _Connection(ray, address)
        _shared.users += 1
    return ray


def let_go() -> None:
    """Ends the connection that nobody needs any more, and Ray itself where it was started here."""
    with _lock:
        _shared.users -= 1
        if _shared.users == 0 and _shared.connection is not None:
            _shared.connection.close()
            _shared.connection = None


def _connect(ray: Any, address: str) -> None:  # noqa: ANN401 - see import_ray
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    if address:
        _require_answer(address)
    elif not any(name in os.environ for name in _TOKEN):
        # Ray would write one into the home folder, which may be read-only or nobody's.
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    local = {"include_dashboard": False, "object_store_memory": _LOCAL_OBJECT_STORE_BYTES}
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            **({} if address else local),
        )
    except Exception as problem:  # Ray raises whatever it meets on the way
        raise _unavailable(address, problem) from problem


def _require_answer(address: str) -> None:
    """Ray itself would try for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or "/" in host:
        return  # `auto`
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER_WITHIN_S).close()
    except OSError as problem:
        raise _unavailable(address, problem) from problem


def _unavailable(address: str, problem: Exception) -> ClusterUnavailable:
    line = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
    if not address:
        return ClusterUnavailable(
            f"Ray could not be started on this machine: {line}",
            hint="look at its logs in /tmp/ray, or name a cluster with --ray-address",
        )
    if line.startswith("Failed to connect"):
        return ClusterUnavailable(  # Ray tells no more, but something there answered before
            f"the Ray cluster at {address} answers but does not let this service in",
            hint="give it the cluster's token in RAY_AUTH_TOKEN, or a file of it in "
            "RAY_AUTH_TOKEN_PATH, and the same version of Ray (docs/ray.md)",
        )
    return ClusterUnavailable(
        f"the Ray cluster at {address} cannot be used: {line}",
        hint="is its head up, and this machine one of its nodes? "
        "`ray start --address=... --num-cpus=0` makes it one (docs/ray.md)",
    )
