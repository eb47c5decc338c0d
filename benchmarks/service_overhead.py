"""What the server adds to one photo: real process, loopback, one client on a kept connection.

    python -m benchmarks.service_overhead --encoder encoders/demo --gallery GALLERY --view drone

In turns, so that a busy minute hits all alike: the ONNX Runtime run alone on a prepared tensor; the
four calls (decode, encode, search, estimate) in a plain loop; the service. A row with the medians
and their differences goes to `results/service_overhead.csv`: `beyond_encoder_ms` is everything but
the encoder (decoding and preparing the photo, too), `beyond_calls_ms` what only the server adds.
`decode_ms` is that of the loop.
"""

import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.record import append_row
from benchmarks.service_bare import Bare
from benchmarks.service_client import request
from benchmarks.service_photo import describe, photo_file
from benchmarks.service_process import Server, running, service_command, service_parser
from demo.service_process import free_port


def main() -> int:
    """Measures, prints, records."""
    parser = service_parser("service_overhead", __doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="in all")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        photo = photo_file(options.photo, scratch)
        bare = Bare.open(options.encoder, options.gallery, photo, options.view)
        port = free_port(8210)
        command = service_command(options.encoder, options.gallery, port, {"device": "cpu"})
        with running(command, port=port, log=scratch / "service.log") as server:
            row = {
                "encoder": bare.snapshot.encoder.manifest.name,
                "view": options.view,
                **describe(photo),
                **measure(bare, server, options.seconds),
            }
    for name, value in row.items():
        print(f"{name:22} {value}")
    if not options.no_record:
        print(append_row("service_overhead", row))
    return 0


def measure(bare: Bare, server: Server, seconds: float) -> dict[str, object]:
    """Medians of interleaved runs, after one of each to warm up."""
    tensor = bare.tensor()
    with socket.create_connection(("127.0.0.1", server.port), timeout=120) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        message = request(f"/localize?view={bare.view}", bare.photo)
        runs: dict[str, Callable[[], object]] = {
            "encoder": lambda: bare.encode(tensor),
            "decode": bare.tensor,
            "calls": bare.four_calls,
            "service": lambda: exchange(connection, message),
        }
        times_ms: dict[str, list[float]] = {name: [] for name in runs}
        for run in runs.values():
            run()
        until, cpu_s = time.monotonic() + seconds, server.cpu_s
        while time.monotonic() < until or len(times_ms["service"]) < 5:
            for name, run in runs.items():
                began = time.perf_counter()
                run()
                times_ms[name].append(1000 * (time.perf_counter() - began))
    count = len(times_ms["service"])
    medians = {name: float(np.median(times)) for name, times in times_ms.items()}
    return {
        "rounds": count,
        **{f"{name}_ms": round(median, 2) for name, median in medians.items()},
        "beyond_encoder_ms": round(medians["service"] - medians["encoder"], 2),
        "beyond_calls_ms": round(medians["service"] - medians["calls"], 2),
        "service_p95_ms": round(float(np.percentile(times_ms["service"], 95)), 2),
        "service_cpu_ms": round(1000 * (server.cpu_s - cpu_s) / count, 2),
    }


def exchange(connection: socket.socket, message: bytes) -> None:
    """Sends one photo and reads the answer.

    Raises:
        RuntimeError: it is not a 200.
    """
    connection.sendall(message)
    received = bytearray()
    while (end := received.find(b"\r\n\r\n")) < 0:
        received += _some(connection)
    length = int(received[:end].lower().split(b"content-length:")[1].split(b"\r\n")[0])
    while len(received) < end + 4 + length:
        received += _some(connection)
    if received[9:12] != b"200":
        raise RuntimeError(f"the service answered {received[:300].decode(errors='replace')}")


def _some(connection: socket.socket) -> bytes:
    data = connection.recv(1 << 18)
    if not data:
        raise RuntimeError("the service closed the connection")
    return data


if __name__ == "__main__":
    sys.exit(main())
