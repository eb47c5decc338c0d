"""Photos per second and latency with 1, 8, 64 clients, beside plain loops and a naive service.

    python -m benchmarks.service_throughput --encoder encoders/demo --gallery GALLERY --view drone

In one run on the same photo: the bare ONNX Runtime loop (prepared tensors, as many threads as the
service has workers) before and after everything else, our service, and `benchmarks.naive_service`
(FastAPI and torch). The client is a process of its own on the same cores; its CPU share is a
column. Clients come again after a 503 when Retry-After is over. A row per server and number of
clients goes to `results/service_throughput.csv`; `share_of_bare_loop` is photos per second over
the mean of the two loops, `times_naive` over the naive service with as many clients.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.record import append_row
from benchmarks.service_bare import Bare
from benchmarks.service_photo import describe, photo_file
from benchmarks.service_process import (
    Server,
    ask,
    percentile,
    running,
    service_command,
    service_parser,
)
from crossfix.onnx_session import CPU
from demo.service_process import free_port
from service.settings import Settings

Row = dict[str, object]


def main() -> int:
    """Measures, prints, records."""
    options = parse()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        photo = photo_file(options.photo, scratch)
        rows = measure(options, photo, scratch)
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items() if value != ""))
    if not options.no_record:
        for row in rows:
            append_row("service_throughput", row)
    return 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = service_parser("service_throughput", __doc__)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=20.0, help="per server and client count")
    parser.add_argument("--deadline-s", type=float, default=10.0, help="of our service")
    parser.add_argument("--no-naive", action="store_true", help="leave the naive service out")
    return parser.parse_args()


def measure(options: argparse.Namespace, photo: Path, scratch: Path) -> list[Row]:
    """A row per server and number of clients."""
    bare = Bare.open(options.encoder, options.gallery, photo, options.view)
    settings = Settings(encoder=options.encoder, gallery=options.gallery, device="cpu")
    threads = settings.encode_workers_for(CPU)
    loops = [bare.images_per_s(threads=threads, seconds=options.seconds)]
    found = {"crossfix": _drive_ours(options, photo, scratch)}
    if not options.no_naive:
        found["naive"] = _drive_naive(options, photo, scratch)
    loops.append(bare.images_per_s(threads=threads, seconds=options.seconds))
    loop_rate = sum(loops) / 2
    rows: list[Row] = []
    for server, measured in found.items():
        for clients, figures in measured.items():
            rate = float(str(figures["photos_per_s"]))
            naive = found.get("naive", {}).get(clients)
            times = round(rate / float(str(naive["photos_per_s"])), 2) if naive else ""
            rows.append(
                {
                    "encoder": bare.snapshot.encoder.manifest.name,
                    "view": options.view,
                    **describe(photo),
                    "server": server,
                    "clients": clients,
                    **figures,
                    "bare_loop_per_s": round(loop_rate, 2),
                    "bare_loop_threads": threads,
                    "share_of_bare_loop": round(rate / loop_rate, 3),
                    "times_naive": times if server == "crossfix" else "",
                }
            )
    return rows


def _drive_ours(options: argparse.Namespace, photo: Path, scratch: Path) -> dict[int, Row]:
    port = free_port(8220)
    command = service_command(
        options.encoder,
        options.gallery,
        port,
        {"device": "cpu", "deadline-s": options.deadline_s, "shutdown-s": options.deadline_s + 20},
    )
    with running(command, port=port, log=scratch / "service.log") as server:
        return _drive(server, photo, options, path=f"/localize?view={options.view}")


def _drive_naive(options: argparse.Namespace, photo: Path, scratch: Path) -> dict[int, Row]:
    port = free_port(8230)
    command = ["benchmarks.naive_service", "--encoder", str(options.encoder)]
    command += ["--gallery", str(options.gallery), "--view", options.view, "--port", str(port)]
    with running(command, port=port, log=scratch / "naive.log") as server:
        return _drive(server, photo, options, path="/localize", multipart=True)


def _drive(
    server: Server, photo: Path, options: argparse.Namespace, **how: object
) -> dict[int, Row]:
    ask(server.port, photo, clients=2, seconds=min(3.0, options.seconds), **how)  # warm up
    found: dict[int, Row] = {}
    for clients in options.clients:
        cpu_s = server.cpu_s
        report = ask(server.port, photo, clients=clients, seconds=options.seconds, **how)
        cpu_s = server.cpu_s - cpu_s
        answers = {int(status): times for status, times in report["answers_ms"].items()}
        good = answers.get(200, [])
        found[clients] = {
            "photos_per_s": round(len(good) / report["wall_s"], 2),
            "p50_ms": percentile(good, 50),
            "p95_ms": percentile(good, 95),
            "p99_ms": percentile(good, 99),
            "answered_200": len(good),
            "refused_503": len(answers.get(503, [])),
            "other": sum(
                len(times) for status, times in answers.items() if status not in (200, 503)
            )
            + report["unanswered"],
            "server_cpu_ms_per_photo": round(1000 * cpu_s / max(1, len(good)), 2),
            "client_cpu_share": round(report["cpu_s"] / max(1e-9, report["cpu_s"] + cpu_s), 3),
        }
    return found


if __name__ == "__main__":
    sys.exit(main())
