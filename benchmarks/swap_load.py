"""Clients that keep a service busy while its gallery is swapped, and what its process holds."""

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx

from benchmarks.record import ROOT

STARTUP_S = 60.0
CheckAnswer = Callable[[dict[str, Any]], str]


@dataclass(frozen=True)
class Held:
    """What a process holds.

    Attributes:
        rss_mb: resident memory, mapped files included.
        private_mb: without them: what it allocated itself.
        files: open file descriptors.
        versions: gallery versions of which files are open or mapped.
    """

    rss_mb: float
    private_mb: float
    files: int
    threads: int
    versions: frozenset[str]

    @classmethod
    def by(cls, pid: int, gallery: Path) -> "Held":
        """Reads /proc."""
        inside = f"{gallery.resolve()}/versions/"
        process = Path(f"/proc/{pid}")
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        paths = [line.split(maxsplit=5)[-1] for line in _lines(process / "maps")]
        files = list((process / "fd").iterdir())
        for file in files:
            with contextlib.suppress(OSError):
                paths.append(str(file.readlink()))
        return cls(
            rss_mb=int(status["VmRSS"].split()[0]) / 1024,
            private_mb=int(status["RssAnon"].split()[0]) / 1024,
            files=len(files),
            threads=int(status["Threads"]),
            versions=frozenset(
                path.removeprefix(inside).split("/")[0] for path in paths if path.startswith(inside)
            ),
        )


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


@dataclass
class Answers:
    """What clients saw.

    Attributes:
        failed: status and body of what was not 200, or the connection's error.
        mixed: answers that do not agree with the version they name.
        by_version: how many each version gave.
    """

    latencies_ms: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    mixed: list[str] = field(default_factory=list)
    by_version: dict[str, int] = field(default_factory=dict)


class Clients:
    """Threads that post photos, one after the other; a context manager, also several times.

    Args:
        check: tells what in an answer does not belong to the version it names.
    """

    def __init__(
        self, url: str, photos: Sequence[bytes], *, view: str, count: int, check: CheckAnswer
    ) -> None:
        self._url, self._photos, self._view, self._check = url, photos, view, check
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._count = count
        self._threads: list[threading.Thread] = []
        self._answers = Answers()

    def __enter__(self) -> Self:
        self._over.clear()
        self._threads = [
            threading.Thread(target=self._run, args=(number,)) for number in range(self._count)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def take(self) -> Answers:
        """What came since the last call."""
        with self._lock:
            taken, self._answers = self._answers, Answers()
        return taken

    def _run(self, number: int) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as session:
            while not self._over.is_set():
                number += 1
                started = time.perf_counter()
                status, answer = self._ask(session, self._photos[number % len(self._photos)])
                self._note((time.perf_counter() - started) * 1000, status, answer)

    def _ask(self, session: httpx.Client, photo: bytes) -> tuple[str, dict[str, Any]]:
        try:
            answer = session.post(
                "/localize",
                params={"view": self._view},
                content=photo,
                headers={"Content-Type": "image/jpeg"},
            )
        except httpx.HTTPError as problem:
            return repr(problem), {}
        if answer.status_code != httpx.codes.OK:
            return f"{answer.status_code} {answer.text}", {}
        found: dict[str, Any] = answer.json()
        return "", found

    def _note(self, latency_ms: float, status: str, answer: dict[str, Any]) -> None:
        wrong = "" if status else self._check(answer)
        with self._lock:
            if status:
                self._answers.failed.append(status)
                return
            self._answers.latencies_ms.append(latency_ms)
            version = answer["gallery"]["version"]
            self._answers.by_version[version] = self._answers.by_version.get(version, 0) + 1
            if wrong:
                self._answers.mixed.append(wrong)


def swap(url: str, versions: Sequence[str], count: int) -> list[float]:
    """Activates versions in turn; seconds that each swap took.

    Raises:
        RuntimeError: a swap was refused.
    """
    took_s = []
    with httpx.Client(base_url=url, timeout=120) as session:
        for turn in range(count):
            started = time.perf_counter()
            answer = session.post(
                "/gallery/activate", json={"version": versions[turn % len(versions)]}
            )
            if answer.status_code != httpx.codes.OK:
                raise RuntimeError(f"swap {turn}: {answer.status_code} {answer.text}")
            took_s.append(time.perf_counter() - started)
    return took_s


@contextlib.contextmanager
def service_process(
    encoder: Path, gallery: Path, *, log: Path, flags: Sequence[str] = ()
) -> Iterator[tuple[str, int]]:
    """`python -m service` on loopback: its URL and process id, once it is ready.

    Raises:
        RuntimeError: it ended, or was not ready within a minute.
    """
    command = [
        sys.executable, "-m", "service", "--encoder", str(encoder), "--gallery", str(gallery),
        "--port", "0", "--device", "cpu", "--drain-s", "0", *flags,
    ]  # fmt: skip
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, cwd=ROOT)
        try:
            yield _wait_until_ready(process, log), process.pid
        finally:
            process.terminate()
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    """Its URL, which its log tells: a port chosen before could be taken by another program."""
    give_up = time.monotonic() + STARTUP_S
    while process.poll() is None and time.monotonic() < give_up:
        for line in _lines(log):
            with contextlib.suppress(ValueError, httpx.TransportError):
                told = json.loads(line)
                url = f"http://127.0.0.1:{told.get('port')}"
                if told.get("event") == "listening" and _is_ready(url):
                    return url
        time.sleep(0.05)
    raise RuntimeError(f"the service is not ready:\n{log.read_text(errors='replace')[-2000:]}")


def _is_ready(url: str) -> bool:
    return httpx.get(f"{url}/readyz", timeout=5).status_code == httpx.codes.OK
