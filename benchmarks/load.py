"""Concurrent clients against a running service: answers, refusals, latency.

Starts the service on an encoder and a gallery, posts one photo from many clients at once, and
records requests per second with p50 and p95 in `results/load.csv`. Every answer must be 200 or a
503 with `Retry-After`; anything else fails the run.
"""

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np

from benchmarks.record import ROOT, append_row
from demo.service_process import free_port, running_service


def main() -> int:
    """Runs one load level; exit code 1 when an answer was neither 200 nor 503."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--view", choices=("ground", "drone"), required=True)
    parser.add_argument("--gallery", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, default=ROOT / "encoders" / "demo")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--no-record", action="store_true", help="print only")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as scratch,
        running_service(
            arguments.encoder,
            arguments.gallery,
            port=free_port(8200),
            log=Path(scratch) / "service.log",
        ) as url,
    ):
        statuses, latencies_ms, wall_s = drive(
            url, arguments.photo.read_bytes(), arguments.view, arguments.clients, arguments.seconds
        )
    row: dict[str, object] = {
        "view": arguments.view,
        "photo_bytes": arguments.photo.stat().st_size,
        "clients": arguments.clients,
        "answered_200": statuses[200],
        "refused_503": statuses[503],
        "other": sum(statuses.values()) - statuses[200] - statuses[503],
        "requests_per_s": round(statuses[200] / wall_s, 1),
        "p50_ms": round(float(np.percentile(latencies_ms, 50)), 1),
        "p95_ms": round(float(np.percentile(latencies_ms, 95)), 1),
    }
    print("  ".join(f"{key} {value}" for key, value in row.items()))
    if not arguments.no_record:
        append_row("load", row)
    return 0 if not row["other"] else 1


def drive(
    url: str, data: bytes, view: str, clients: int, seconds: float
) -> tuple[Counter[int], list[float], float]:
    """Status counts, latencies of the 200s in milliseconds, and the wall time."""
    statuses: Counter[int] = Counter()
    latencies_ms: list[float] = []
    lock = threading.Lock()
    deadline = time.monotonic() + seconds

    def client() -> None:
        with httpx.Client(timeout=60) as session:
            while time.monotonic() < deadline:
                started = time.monotonic()
                answer = session.post(
                    f"{url}/localize",
                    params={"view": view},
                    content=data,
                    headers={"Content-Type": "image/jpeg"},
                )
                with lock:
                    statuses[answer.status_code] += 1
                    if answer.status_code == httpx.codes.OK:
                        latencies_ms.append((time.monotonic() - started) * 1000)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses, latencies_ms, time.monotonic() - started


if __name__ == "__main__":
    sys.exit(main())
