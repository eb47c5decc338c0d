"""Three times more photos than the service can do: who gets an answer, when, and who a refusal.

    python -m benchmarks.service_overload --encoder encoders/demo --gallery GALLERY --view drone

First the capacity (8 clients in turns), then photos at random times (Poisson, open loop) at 0.8 and
at 3 times the capacity. Times count from when a photo should have been sent. Accepted photos should
take at 3x about what they take at 0.8x; refusals must be quick and carry Retry-After; every photo
must get one of the two. A row per load goes to `results/service_overload.csv`; exit code 1 when a
photo got neither a 200 nor a 503, or a 503 had no Retry-After. The first seconds of an overload are
taken for a burst (see service/batching/waiting.py) and are not left out.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.record import append_row
from benchmarks.service_photo import describe, photo_file
from benchmarks.service_process import (
    Server,
    ask,
    percentile,
    running,
    service_command,
    service_parser,
)
from demo.service_process import free_port

QUICK_MS = 50.0


def main() -> int:
    """Measures, prints, records."""
    parser = service_parser("service_overload", __doc__)
    parser.add_argument("--loads", type=float, nargs="+", default=[0.8, 3.0])
    parser.add_argument("--seconds", type=float, default=30.0, help="per load")
    parser.add_argument("--deadline-s", type=float, default=10.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        photo = photo_file(options.photo, scratch)
        port = free_port(8240)
        command = service_command(
            options.encoder,
            options.gallery,
            port,
            {
                "device": "cpu",
                "deadline-s": options.deadline_s,
                "shutdown-s": options.deadline_s + 20,
            },
        )
        with running(command, port=port, log=scratch / "service.log") as server:
            rows = measure(server, photo, options)
        rows = [{"encoder": str(options.encoder.name), **describe(photo), **row} for row in rows]
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items() if value != ""))
    if not options.no_record:
        for row in rows:
            append_row("service_overload", row)
    return 1 if any(row["lost"] or row["without_retry_after"] for row in rows) else 0


def measure(server: Server, photo: Path, options: argparse.Namespace) -> list[dict[str, object]]:
    """A row per load."""
    path = f"/localize?view={options.view}"
    ask(server.port, photo, path=path, clients=2, seconds=min(3.0, options.seconds))
    full = ask(server.port, photo, path=path, clients=8, seconds=options.seconds)
    capacity = len(full["answers_ms"].get("200", [])) / full["wall_s"]
    rows: list[dict[str, object]] = []
    for load in options.loads:
        rate = capacity * load
        cpu_s = server.cpu_s
        report = ask(server.port, photo, path=path, rate=rate, seconds=options.seconds)
        cpu_s = server.cpu_s - cpu_s
        answers: dict[str, list[float]] = report["answers_ms"]
        good, refused = answers.get("200", []), answers.get("503", [])
        others = sum(
            len(times) for status, times in answers.items() if status not in ("200", "503")
        )
        quick = sum(time_ms <= QUICK_MS for time_ms in refused)
        rows.append(
            {
                "view": options.view,
                "capacity_per_s": round(capacity, 2),
                "load": load,
                "sent_per_s": round(rate, 2),
                "answered_200": len(good),
                "answered_per_s": round(len(good) / report["wall_s"], 2),
                "p50_ms": percentile(good, 50),
                "p95_ms": percentile(good, 95),
                "p99_ms": percentile(good, 99),
                "refused_503": len(refused),
                "refusal_p50_ms": percentile(refused, 50),
                "refusal_p99_ms": percentile(refused, 99),
                "refused_within_50_ms": round(quick / len(refused), 4) if refused else "",
                "without_retry_after": report["without_retry_after"],
                "lost": others + report["unanswered"],
                "client_cpu_share": round(report["cpu_s"] / (report["cpu_s"] + cpu_s), 3),
            }
        )
    return rows


if __name__ == "__main__":
    sys.exit(main())
