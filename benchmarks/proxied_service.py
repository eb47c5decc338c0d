"""Several processes of the service behind a real HAProxy or nginx, from the files we ship.

The processes stand in for systemd: one that ends is started again on its port.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Self

import httpx

from benchmarks.record import ROOT

PROXIES = ("haproxy", "nginx")
SHIPPED = ROOT / "deploy" / "proxy"
PROGRAM_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # Debian puts proxies there
PATIENCE_S = 90.0
SHIPPED_PORTS = (8001, 8002)
CONFIGURATIONS = {"haproxy": "haproxy.cfg", "nginx": "crossfix.conf"}
NOTHING: Mapping[str, str] = MappingProxyType({})


def program(name: str) -> str | None:
    """Where a proxy's program lies, or None."""
    return shutil.which(name, path=PROGRAM_PATH)


def free_ports(count: int) -> list[int]:
    """TCP ports on loopback that nobody listens on."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


class Replica:
    """A process of the service that is started again whenever it ends; a context manager.

    It is not waited for: see :meth:`wait_until_ready`.

    Attributes:
        starts: how often it was started.
    """

    def __init__(self, flags: Sequence[object], *, port: int, folder: Path) -> None:
        self.port, self.starts = port, 0
        self._command = [
            sys.executable,
            "-m",
            "service",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ]
        self._command += [str(flag) for flag in flags]
        self._log = folder / f"{port}.log"
        self.pid_file = folder / f"{port}.pid"
        self._closed = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper = threading.Thread(target=self._keep, daemon=True)

    @property
    def url(self) -> str:
        """Its own address, behind the proxy."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the process that runs now."""
        return int(self.pid_file.read_text(encoding="ascii"))

    def __enter__(self) -> Self:
        self._keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        while self._keeper.is_alive():  # which may be starting the next one just now
            if self._process is not None:
                self._process.kill()
            self._keeper.join(timeout=0.2)

    def kill(self) -> None:
        """Ends it as a lack of memory would."""
        os.kill(self.pid, signal.SIGKILL)

    def wait_until_ready(self, *, starts: int) -> None:
        """Returns when the process of that start answers /readyz with 200.

        Raises:
            RuntimeError: it did not in time; the message shows its log's end.
        """
        give_up = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up:
            with contextlib.suppress(httpx.TransportError):
                if self.starts >= starts and httpx.get(f"{self.url}/readyz").is_success:
                    return
            time.sleep(0.05)
        raise RuntimeError(f"port {self.port} is not ready: {self._log.read_text()[-2000:]}")

    def _keep(self) -> None:
        with self._log.open("ab") as sink:
            while not self._closed.is_set():
                self._process = subprocess.Popen(
                    self._command, cwd=ROOT, stdout=sink, stderr=subprocess.STDOUT
                )
                self.pid_file.write_text(str(self._process.pid), encoding="ascii")
                self.starts += 1
                self._process.wait()


@contextlib.contextmanager
def running_replicas(
    flags: Sequence[object], *, ports: Sequence[int], folder: Path
) -> Iterator[list[Replica]]:
    """A process on each port, all of them ready."""
    with contextlib.ExitStack() as running:
        replicas = [
            running.enter_context(Replica(flags, port=port, folder=folder)) for port in ports
        ]
        for replica in replicas:
            replica.wait_until_ready(starts=1)
        yield replicas


@contextlib.contextmanager
def running_proxy(
    name: str, *, ports: Sequence[int], folder: Path, changes: Mapping[str, str] = NOTHING
) -> Iterator[str]:
    """Starts a proxy with our configuration before processes on these ports; yields its URL.

    Args:
        changes: what to replace in the configuration besides; what is not there is left out.

    Raises:
        RuntimeError: it did not start; the message shows what it said.
    """
    port, metrics_port = free_ports(2)
    command = {"haproxy": haproxy_command, "nginx": nginx_command}[name]
    said = folder / f"{name}.log"
    words = command(folder, ports=ports, port=port, metrics_port=metrics_port)
    ours = folder / CONFIGURATIONS[name]
    text = ours.read_text(encoding="utf-8")
    for old, new in changes.items():
        text = text.replace(old, new)
    ours.write_text(text, encoding="utf-8")
    with said.open("wb") as sink:
        process = subprocess.Popen(words, stdout=sink, stderr=subprocess.STDOUT)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_it_answers(process, url, said)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait_until_it_answers(process: "subprocess.Popen[bytes]", url: str, said: Path) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            httpx.get(f"{url}/livez")
            return
        time.sleep(0.05)
    raise RuntimeError(f"{url} does not answer: {said.read_text(errors='replace')[-2000:]}")


def replaced(text: str, changes: dict[str, str]) -> str:
    """The text with every key replaced.

    Raises:
        ValueError: one is not in it; the shipped file has changed.
    """
    for old, new in changes.items():
        if old not in text:
            raise ValueError(f"the shipped configuration has no {old!r}")
        text = text.replace(old, new)
    return text


def haproxy_command(
    folder: Path, *, ports: Sequence[int], port: int, metrics_port: int
) -> list[str]:
    """Writes the shipped haproxy.cfg for these ports; the command that runs it."""
    changes = {
        "    log /dev/log local0 info\n": "    log stdout format raw local0 info\n",
        "    user haproxy\n    group haproxy\n": "",
        "bind :80\n": f"bind 127.0.0.1:{port}\n",
        "bind 127.0.0.1:8405": f"bind 127.0.0.1:{metrics_port}",
        **_server_changes(ports),
    }
    path = folder / "haproxy.cfg"
    text = (SHIPPED / "haproxy.cfg").read_text(encoding="utf-8")
    path.write_text(replaced(text, changes), encoding="utf-8")
    return [program("haproxy") or "haproxy", "-db", "-f", str(path)]


def nginx_command(folder: Path, *, ports: Sequence[int], port: int, metrics_port: int) -> list[str]:  # noqa: ARG001 - it has no metrics of its own
    """Writes the shipped nginx.conf for these ports into a whole one; the command that runs it."""
    changes = {
        "listen 80;": f"listen 127.0.0.1:{port};",
        "/var/log/nginx/crossfix.log": f"{folder}/nginx_access.log",
        "/var/log/nginx/crossfix_error.log": f"{folder}/nginx_error.log",
        **_server_changes(ports),
    }
    text = (SHIPPED / "nginx.conf").read_text(encoding="utf-8")
    (folder / "crossfix.conf").write_text(replaced(text, changes), encoding="utf-8")
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = (
        f"pid {folder}/nginx.pid;\ndaemon off;\nworker_processes 2;\n"
        f"error_log {folder}/nginx_error.log crit;\nevents {{}}\n"
        f"http {{\n{temporary}include {folder}/crossfix.conf;\n}}\n"
    )
    path = folder / "nginx.conf"
    path.write_text(main, encoding="utf-8")
    # -e: else it first opens the log of the system, which is not ours.
    words = ["-p", str(folder), "-c", str(path), "-e", f"{folder}/nginx_error.log"]
    return [program("nginx") or "nginx", *words]


def _server_changes(ports: Sequence[int]) -> dict[str, str]:
    return {
        f"127.0.0.1:{shipped}": f"127.0.0.1:{real}"
        for shipped, real in zip(SHIPPED_PORTS, ports, strict=True)
    }


def upgrade(replicas: Sequence[Replica], *, settle_s: float = 3.0) -> str:
    """Runs the operator's script over all of them; what it printed.

    Raises:
        subprocess.CalledProcessError: it gave up.
    """
    folder = replicas[0].pid_file.parent
    restart = (
        f"old=$(cat {folder}/{{port}}.pid); kill -TERM $old; "
        "while kill -0 $old 2>/dev/null; do sleep 0.1; done"
    )
    done = subprocess.run(
        [str(SHIPPED / "rolling_upgrade.sh"), *(str(one.port) for one in replicas)],
        env={"PATH": os.environ["PATH"], "RESTART": restart, "SETTLE_S": f"{settle_s:g}"},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout
