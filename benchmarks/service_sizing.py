"""What a service process needs for how many tiles: memory, seconds to be ready, time of a photo.

    python -m benchmarks.service_sizing --tiles 10000 100000 1000000

For each size a gallery of synthetic embeddings is written for the encoder, a service process is
started on it, and photos are sent one after the other. Memory is told twice: `private_mb` is the
process's own (RssAnon), what every further process needs again; `rss_mb` counts the mapped
vectors, too, which processes share. Both after the photos. A row per size goes to
`results/service_sizing.csv`.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.record import append_row
from benchmarks.service_photo import describe, photo_file
from benchmarks.service_process import ask, percentile, running, service_command
from benchmarks.synthetic_gallery import write_gallery
from crossfix.encoder import Encoder
from demo.service_process import free_port


def main() -> int:
    """Measures every size, prints, records."""
    options = _parser().parse_args()
    encoder = Encoder.load(options.encoder, device="cpu", threads=1)
    for tiles in options.tiles:
        with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
            row = measure(Path(folder), encoder, tiles, options)
        print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
        if not options.no_record:
            append_row("service_sizing", row)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.service_sizing",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--encoder", type=Path, default=Path("encoders/demo"))
    parser.add_argument("--tiles", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--kind", default="auto", help="of index; see docs/galleries.md")
    parser.add_argument("--view", choices=("ground", "drone"), default="drone")
    parser.add_argument("--photo", type=Path, help="default: a made-up JPEG of 2 megapixels")
    parser.add_argument("--seconds", type=float, default=15.0, help="of photos per size")
    parser.add_argument("--scratch", type=Path, help="where temporary files go")
    parser.add_argument("--no-record", action="store_true", help="print only")
    return parser


def measure(
    folder: Path, encoder: Encoder, tiles: int, options: argparse.Namespace
) -> dict[str, object]:
    """One size: write, start, ask."""
    manifest = write_gallery(
        folder / "gallery", tiles, encoder.manifest.embedding_dim, options.kind,
        space_id=encoder.embedding_space_id, name=encoder.manifest.name,
    )  # fmt: skip
    photo = photo_file(options.photo, folder)
    port = free_port(8260)
    command = service_command(options.encoder, folder / "gallery", port, {"device": "cpu"})
    began = time.monotonic()
    with running(command, port=port, log=folder / "service.log") as server:
        ready_s = time.monotonic() - began
        ready_mb = server.private_mb
        path = f"/localize?view={options.view}"
        report = ask(port, photo, path=path, clients=1, seconds=options.seconds)
        answered = report["answers_ms"]["200"]
        return {
            "tiles": tiles,
            "dim": manifest.embedding_dim,
            "index": manifest.index.kind,
            "encoder": manifest.encoder_name,
            "view": options.view,
            **describe(photo),
            "disk_mb": round(sum(file.size_bytes for file in manifest.files.values()) / 2**20),
            "ready_s": round(ready_s, 1),
            "ready_private_mb": round(ready_mb),
            "private_mb": round(server.private_mb),
            "rss_mb": round(server.rss_mb),
            "photos": len(answered),
            "p50_ms": percentile(answered, 50),
            "p95_ms": percentile(answered, 95),
        }


if __name__ == "__main__":
    sys.exit(main())
