"""The service as a child process: started, waited for, and always stopped."""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

STARTUP_TIMEOUT_S = 60.0


class ServiceFailed(RuntimeError):
    """The service did not become ready."""


def free_port(preferred: int) -> int:
    """The preferred port, or any free one where something else listens on it."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return int(probe.getsockname()[1])
    raise ServiceFailed("no free port on 127.0.0.1")


@contextlib.contextmanager
def running_service(encoder: Path, gallery: Path, *, port: int, log: Path) -> Iterator[str]:
    """Starts `python -m service` and yields its URL once it is ready.

    Raises:
        ServiceFailed: it ended or was not ready within a minute; the message shows its log's end.
    """
    command = [
        sys.executable,
        "-m",
        "service",
        "--encoder",
        str(encoder),
        "--gallery",
        str(gallery),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--drain-s",
        "0",
    ]
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT)
        url = f"http://127.0.0.1:{port}"
        try:
            _wait_until_ready(process, url, log)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + STARTUP_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServiceFailed(f"the service ended at once:\n{log.read_text()[-2000:]}")
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz", timeout=2).status_code == httpx.codes.OK:
                return
        time.sleep(0.1)
    raise ServiceFailed(
        f"the service was not ready after {STARTUP_TIMEOUT_S:.0f} s:\n{log.read_text()[-2000:]}"
    )
