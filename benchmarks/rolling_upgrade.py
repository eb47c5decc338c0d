"""Requests through a proxy while the service's processes are replaced, and while one is killed.

Two processes serve one gallery behind HAProxy or nginx with the configuration we ship; clients post
one photo without a pause. First nothing happens, then `deploy/proxy/rolling_upgrade.sh` restarts
both in turn, then one is killed with SIGKILL and started again. A row for each of the three goes to
`results/rolling_upgrade.csv`. Exit code 1 when a request failed.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks.proxied_service import (
    PROXIES,
    Replica,
    free_ports,
    program,
    running_proxy,
    running_replicas,
    upgrade,
)
from benchmarks.record import append_row
from benchmarks.service_photo import made_up_jpeg
from benchmarks.service_process import percentile, service_parser
from benchmarks.swap_load import Answers, Clients

PROCESSES = 2
AFTER_S = 2.0  # the last phase goes on until the proxy has noticed


def main() -> int:
    """Measures every proxy; exit code 1 when a request failed."""
    parser = service_parser("rolling_upgrade", __doc__)
    parser.add_argument("--proxy", choices=PROXIES, action="append", help="default: all")
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20.0, help="of the quiet phase")
    parser.add_argument("--drain-s", type=float, default=5.0)
    arguments = parser.parse_args()
    photo = arguments.photo.read_bytes() if arguments.photo else made_up_jpeg()
    flags = ["--encoder", arguments.encoder, "--gallery", arguments.gallery, "--device", "cpu"]
    flags += ["--drain-s", arguments.drain_s, "--trusted-proxies", "127.0.0.1"]
    flags += ["--encode-workers", 1]
    failed = 0
    for proxy in arguments.proxy or PROXIES:
        if program(proxy) is None:
            print(f"{proxy} is not installed")
            continue
        for found in measure(
            proxy, flags, photo, view=arguments.view, clients=arguments.clients,
            quiet_s=arguments.seconds,
        ):  # fmt: skip
            print("  ".join(f"{key} {value}" for key, value in found.items()), flush=True)
            failed += int(str(found["failed"]))
            if not arguments.no_record:
                append_row("rolling_upgrade", found)
    return 1 if failed else 0


def measure(
    proxy: str, flags: list[object], photo: bytes, *, view: str, clients: int, quiet_s: float
) -> Iterator[dict[str, object]]:
    """The rows of one proxy."""
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        replicas = running.enter_context(
            running_replicas(flags, ports=free_ports(PROCESSES), folder=folder)
        )
        ports = [one.port for one in replicas]
        url = running.enter_context(running_proxy(proxy, ports=ports, folder=folder))
        load = Clients(url, [photo], view=view, count=clients, check=lambda _: "")
        phases: dict[str, Callable[[], object]] = {
            "nothing": lambda: time.sleep(quiet_s),
            "rolling upgrade": lambda: upgrade(replicas, settle_s=3),
            "one killed": lambda: kill_one(replicas[0]),
        }
        running.enter_context(load)
        time.sleep(2)
        load.take()
        for phase, work in phases.items():
            started = time.monotonic()
            work()
            wall_s = time.monotonic() - started
            yield row(proxy, phase, load.take(), wall_s, len(photo), clients)


def kill_one(replica: Replica) -> None:
    """SIGKILL; returns when its successor answers and the proxy knows."""
    starts = replica.starts
    replica.kill()
    replica.wait_until_ready(starts=starts + 1)
    time.sleep(AFTER_S)


def row(
    proxy: str, phase: str, seen: Answers, wall_s: float, photo_bytes: int, clients: int
) -> dict[str, object]:
    """One row of the table; prints the first failures."""
    for line in seen.failed[:3]:
        print(f"failed: {line[:300]}")
    return {
        "proxy": proxy,
        "processes": PROCESSES,
        "during": phase,
        "clients": clients,
        "photo_bytes": photo_bytes,
        "seconds": round(wall_s, 1),
        "requests": len(seen.latencies_ms) + len(seen.failed),
        "failed": len(seen.failed),
        "p50_ms": percentile(seen.latencies_ms, 50),
        "p95_ms": percentile(seen.latencies_ms, 95),
        "max_ms": percentile(seen.latencies_ms, 100),
    }


if __name__ == "__main__":
    sys.exit(main())
