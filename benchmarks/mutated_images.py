"""Thousands of spoiled photos against a running service: does it ever fail, stop or grow?

    python -m benchmarks.mutated_images --gallery G

Every accepted format, spoiled by flipped bits, cuts, splices and edited headers, sent by several
clients at once, every fifth within a form that is spoiled too. An answer must be 200, a refusal of
400 to 422, or 503; anything else, no answer in time, or the end of the process fails the run. A row
goes to `results/service_mutated_images.csv`.
"""

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import httpx

from benchmarks.image_mutations import mutated, mutated_form, seeds
from benchmarks.record import ROOT, append_row
from benchmarks.service_process import Server, running, service_command
from demo.service_process import free_port

ALLOWED = {200, 400, 413, 415, 422, 503}
WARM_UP = 2000  # answers before memory is first read: pools, arenas and caches have filled
TIMEOUT_S = 30.0
FORM_EVERY = 5


class Run:
    """What the clients share."""

    def __init__(self, server: Server, images: int, seed: int) -> None:
        self.server, self.images, self.seed = server, images, seed
        self.files = seeds()
        self.statuses: Counter[int] = Counter()
        self.failures: list[str] = []
        self.slowest_ms, self.slowest = 0.0, ""
        self.rss_mb: list[float] = []
        self._next, self._lock = 0, threading.Lock()

    def client(self) -> None:
        """Sends images until none is left."""
        with httpx.Client(timeout=TIMEOUT_S) as session:
            while (number := self._take()) is not None:
                self._send(session, number)

    def _take(self) -> int | None:
        with self._lock:
            if self._next >= self.images:
                return None
            self._next += 1
            return self._next - 1

    def _send(self, session: httpx.Client, number: int) -> None:
        kind = "application/octet-stream"
        what, data = mutated(number, self.files, self.seed)
        if number % FORM_EVERY == 0:
            what, kind, data = mutated_form(number, self.files, self.seed)
        view = ("drone", "ground")[number // len(self.files) % 2]
        url = f"http://127.0.0.1:{self.server.port}/localize"
        started = time.monotonic()
        try:
            answer = session.post(
                url, params={"view": view}, content=data, headers={"Content-Type": kind}
            )
        except httpx.HTTPError as problem:
            self._note(number, what, 0, started, type(problem).__name__)
            return
        self._note(number, what, answer.status_code, started, "")

    def _note(self, number: int, what: str, status: int, started: float, problem: str) -> None:
        spent_ms = 1000 * (time.monotonic() - started)
        with self._lock:
            self.statuses[status] += 1
            if spent_ms > self.slowest_ms:
                self.slowest_ms, self.slowest = spent_ms, f"{number} {what}"
            if status not in ALLOWED:
                self.failures.append(f"{number} {what}: {status} {problem}")
            if sum(self.statuses.values()) >= min(WARM_UP, self.images // 2):
                self.rss_mb.append(self.server.rss_mb)


def send_all(server: Server, *, images: int, clients: int, seed: int) -> Run:
    """Sends all images from this many clients."""
    run = Run(server, images, seed)
    threads = [threading.Thread(target=run.client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return run


def main() -> int:
    """Sends, prints, records; exit code 1 when an answer was not allowed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mutated_images",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--gallery", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, default=ROOT / "encoders" / "demo")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-record", action="store_true", help="print only")
    options = parser.parse_args()
    port = free_port(8200)
    command = service_command(options.encoder, options.gallery, port, {"device": "cpu"})
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as scratch,
        running(command, port=port, log=Path(scratch) / "service.log") as server,
    ):
        run = send_all(server, images=options.images, clients=options.clients, seed=options.seed)
        ready = httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == httpx.codes.OK
        log = (Path(scratch) / "service.log").read_text(encoding="utf-8", errors="replace")
    row = row_of(run, options.clients, time.monotonic() - started)
    row["traces_in_log"] = log.count("Traceback")
    print("  ".join(f"{key} {value}" for key, value in row.items()))
    print(f"slowest: {run.slowest}")
    for failure in run.failures[:20]:
        print(f"not allowed: {failure}")
    if not options.no_record:
        append_row("service_mutated_images", row)
    return 0 if ready and not run.failures and not row["traces_in_log"] else 1


def row_of(run: Run, clients: int, wall_s: float) -> dict[str, object]:
    """What is recorded: answers by status, and memory after warming up, at most, and at the end."""
    known = {f"answered_{status}": run.statuses[status] for status in sorted(ALLOWED)}
    return {
        "images": run.images,
        "seed_files": len(run.files),
        "clients": clients,
        **known,
        "other_or_none": len(run.failures),
        "slowest_ms": round(run.slowest_ms),
        "rss_start_mb": round(run.rss_mb[0]),
        "rss_peak_mb": round(max(run.rss_mb)),
        "rss_end_mb": round(run.rss_mb[-1]),
        "wall_s": round(wall_s),
    }


if __name__ == "__main__":
    sys.exit(main())
