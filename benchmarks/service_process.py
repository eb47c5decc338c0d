"""A server under test in a process of its own, with its CPU time, memory, files and threads."""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

STARTUP_S = 180.0


def service_parser(name: str, doc: str | None, *, view: str = "ground") -> argparse.ArgumentParser:
    """The options that every benchmark of the service has; the default view differs."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--gallery", type=Path, required=True)
    parser.add_argument("--view", choices=("ground", "drone"), default=view)
    parser.add_argument("--photo", type=Path, help="default: a made-up JPEG of 2 megapixels")
    parser.add_argument("--no-record", action="store_true", help="print only")
    return parser


@dataclass(frozen=True)
class Server:
    """A running server."""

    port: int
    pid: int

    @property
    def cpu_s(self) -> float:
        """CPU seconds it has used, all threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1]
        user, system = fields.split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    @property
    def rss_mb(self) -> float:
        """Memory it holds."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    @property
    def private_mb(self) -> float:
        """Memory that no file backs: what a further process would need again."""
        lines = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines()
        (kilobytes,) = (line.split()[1] for line in lines if line.startswith("RssAnon:"))
        return int(kilobytes) / 1024

    @property
    def open_files(self) -> int:
        """Files and sockets it has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    @property
    def threads(self) -> int:
        """Its threads."""
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))


@contextlib.contextmanager
def running(
    module: Sequence[str], *, port: int, log: Path, ready: str = "/readyz"
) -> Iterator[Server]:
    """Starts `python -m <module...>` and yields it once `ready` answers 200.

    Raises:
        RuntimeError: it ended, or was not ready in time; the message shows its log's end.
    """
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", *module], stdout=sink, stderr=subprocess.STDOUT
        )
    try:
        _wait_until_ready(process, f"http://127.0.0.1:{port}{ready}", log)
        yield Server(port=port, pid=process.pid)
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    give_up = time.monotonic() + STARTUP_S
    while time.monotonic() < give_up and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
            return
        time.sleep(0.1)
    raise RuntimeError(f"{url} was never ready:\n{log.read_text(errors='replace')[-2000:]}")


def service_command(
    encoder: Path, gallery: Path, port: int, settings: dict[str, object]
) -> list[str]:
    """What starts our service, for :func:`running`."""
    values = {"encoder": encoder, "gallery": gallery, "port": port, "drain-s": 0, **settings}
    return [
        "service",
        *(word for key, value in values.items() for word in (f"--{key}", str(value))),
    ]


def ask(port: int, photo: Path, **options: object) -> dict[str, Any]:
    """Runs `benchmarks.service_client` in its own process; what it reports."""
    words = [sys.executable, "-m", "benchmarks.service_client", "--port", str(port)]
    words += ["--photo", str(photo)]
    for name, value in options.items():
        words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def percentile(times_ms: Sequence[float], share: float) -> float | str:
    """A percentile in milliseconds, or nothing where there is nothing."""
    return round(float(np.percentile(times_ms, share)), 1) if times_ms else ""
