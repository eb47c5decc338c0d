"""Hot swaps under full load: failed requests, answers of two versions, memory, latency.

Makes versions of a real gallery that hold the same imagery under other tile ids, so that an answer
which mixes two of them shows. Clients post photos without a pause, first alone and then while
versions are activated one after the other. A row goes to `results/service_swaps.csv`. Exit code 1
when a request failed, an answer was mixed, or files and threads grew.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.record import ROOT, append_row
from benchmarks.swap_load import Clients, Held, service_process, swap
from crossfix.errors import GalleryCorrupt
from crossfix.gallery import current_version, version_directory
from crossfix.gallery_manifest import (
    MANIFEST_FILE,
    PICTURES_FILE,
    TILES_FILE,
    GalleryManifest,
)
from crossfix.gallery_versions import make_live
from crossfix.manifest import FileEntry, read_model, write_json_atomic

VERSIONS = ("swap-a", "swap-b", "swap-c")
WARM_UP_SWAPS = 10
SETTLE_S = 2.0
LOG = "service.log"
SLACK = 8  # pools start threads only when they are needed


def mark_version(gallery: Path, scratch: Path, version: str) -> int:
    """Copies a gallery's live version, its tile ids led by the version's name; its tile count."""
    source = version_directory(gallery, current_version(gallery))
    target = version_directory(scratch, version)
    shutil.copytree(source, target)
    for name in (TILES_FILE, PICTURES_FILE):
        _mark_ids(source / name, target / name, version)
    manifest = read_model(source / MANIFEST_FILE, GalleryManifest, GalleryCorrupt)
    files = {name: FileEntry.of(target / name) for name in manifest.files}
    marked = manifest.model_copy(update={"version": version, "files": files})
    write_json_atomic(target / MANIFEST_FILE, marked.model_dump(mode="json"))
    return manifest.tile_count


def _mark_ids(source: Path, target: Path, version: str) -> None:
    with pq.ParquetFile(source) as read, pq.ParquetWriter(target, read.schema_arrow) as written:
        for number in range(read.num_row_groups):
            group = read.read_row_group(number)
            ids = [f"{version}/{tile_id}" for tile_id in group.column("tile_id").to_pylist()]
            place = group.schema.get_field_index("tile_id")
            written.write_table(group.set_column(place, "tile_id", pa.array(ids, pa.string())))


def mixed(answer: dict[str, Any]) -> str:
    """What in an answer does not belong to the version it names; empty if all does."""
    version = answer["gallery"]["version"]
    for match in answer["matches"]:
        if not match["tile_id"].startswith(f"{version}/"):
            return f"{version}: {match}"
        if not match["picture_url"].endswith(f"?v={version}"):
            return f"{version}: {match}"
    return ""


def measure(arguments: argparse.Namespace, scratch: Path) -> dict[str, object]:
    """One run; the row."""
    tiles = {mark_version(arguments.gallery, scratch, version) for version in VERSIONS}
    make_live(scratch, VERSIONS[0])
    photos = [path.read_bytes() for path in sorted(arguments.photos.glob("*.jpg"))]
    with service_process(arguments.encoder, scratch, log=scratch / LOG) as (url, pid):
        clients = Clients(url, photos, view=arguments.view, count=arguments.clients, check=mixed)
        with clients:
            swap(url, VERSIONS, WARM_UP_SWAPS)
            warm = clients.take()
            time.sleep(arguments.seconds)
            quiet = clients.take()
        time.sleep(SETTLE_S)
        before, first = Held.by(pid, scratch), clients.take()
        with clients:
            took_s = swap(url, VERSIONS, arguments.swaps)
            swapping = clients.take()
        time.sleep(SETTLE_S)
        after, last = Held.by(pid, scratch), clients.take()
    parts = (warm, quiet, first, swapping, last)
    wrong = [line for part in parts for line in (*part.failed, *part.mixed)]
    print("\n".join(wrong[:5]), end="\n" if wrong else "", file=sys.stderr)
    if not quiet.latencies_ms or not swapping.latencies_ms:
        raise SystemExit(f"no photo was answered; the service's log ends:\n{_end_of(scratch)}")
    return {
        "encoder": arguments.encoder.name,
        "tiles": tiles.pop(),
        "view": arguments.view,
        "clients": arguments.clients,
        "swaps": arguments.swaps + WARM_UP_SWAPS,
        "swap_p50_s": round(float(np.percentile(took_s, 50)), 3),
        "requests": sum(len(part.latencies_ms) + len(part.failed) for part in parts),
        "failed": sum(len(part.failed) for part in parts),
        "mixed": sum(len(part.mixed) for part in parts),
        "rss_before_mb": round(before.rss_mb, 1),
        "rss_after_mb": round(after.rss_mb, 1),
        "private_before_mb": round(before.private_mb, 1),
        "private_after_mb": round(after.private_mb, 1),
        "files_before": before.files,
        "files_after": after.files,
        "threads_before": before.threads,
        "threads_after": after.threads,
        "versions_held_after": len(after.versions),
        "quiet_p50_ms": round(float(np.percentile(quiet.latencies_ms, 50)), 1),
        "quiet_p99_ms": round(float(np.percentile(quiet.latencies_ms, 99)), 1),
        "swapping_p50_ms": round(float(np.percentile(swapping.latencies_ms, 50)), 1),
        "swapping_p99_ms": round(float(np.percentile(swapping.latencies_ms, 99)), 1),
    }


def _end_of(scratch: Path) -> str:
    return (scratch / LOG).read_text(errors="replace")[-2000:]


def main() -> int:
    """Measures and records."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.service_swaps", description=__doc__)
    parser.add_argument("--gallery", type=Path, required=True)
    parser.add_argument("--photos", type=Path, required=True, help="folder of JPEGs")
    parser.add_argument("--view", choices=("ground", "drone"), required=True)
    parser.add_argument("--encoder", type=Path, default=ROOT / "encoders" / "demo")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=20.0, help="of load without swaps")
    parser.add_argument("--no-record", action="store_true", help="print only")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        row = measure(arguments, Path(scratch))
    print("  ".join(f"{key} {value}" for key, value in row.items()))
    if not arguments.no_record:
        append_row("service_swaps", row)
    grew = any(
        int(str(row[f"{what}_after"])) > int(str(row[f"{what}_before"])) + SLACK
        for what in ("files", "threads")
    )
    return int(bool(row["failed"] or row["mixed"] or grew or row["versions_held_after"] != 1))


if __name__ == "__main__":
    sys.exit(main())
