"""Minutes of mixed load: does the service stay as quick and as small as it was?

    python -m benchmarks.service_soak --encoder encoders/demo --gallery GALLERY --minutes 30

Steady photos at `--load` of the measured capacity go on all the time. In the first tenth they are
alone; then come bad files, slow and stalled uploads, clients that leave, scrapes, and a new gallery
version every 3 s (see benchmarks/service_nuisances.py). Memory, open files and threads are sampled
every second. A row with medians of the first and of the last third of the mixed time, and their
drift, goes to `results/service_soak.csv`; exit code 1 when a steady photo got neither 200 nor 503.
The steady client is a process of its own for each minute.
"""

import argparse
import asyncio
import re
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import append_row
from benchmarks.service_nuisances import Nuisances, copy_with_two_versions
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

Period = dict[str, Any]
Sample = tuple[float, int, int]  # MB, open files, threads


def main() -> int:
    """Soaks, prints, records."""
    parser = service_parser("service_soak", __doc__, view="drone")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seconds", type=float, default=60.0, help="per reported period")
    parser.add_argument("--load", type=float, default=0.5, help="steady photos, of the capacity")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        photo = photo_file(options.photo, scratch)
        gallery = copy_with_two_versions(options.gallery, scratch / "gallery")
        port = free_port(8250)
        command = service_command(
            options.encoder, gallery, port, {"device": "cpu", "reload-interval-s": 1}
        )
        with running(command, port=port, log=scratch / "service.log") as server:
            soak = Soak(options, server, photo, gallery)
            asyncio.run(soak.run())
        row = {"encoder": options.encoder.name, "view": options.view, **describe(photo)}
        row |= soak.summary()
    print("  ".join(f"{name} {value}" for name, value in row.items()))
    if not options.no_record:
        print(append_row("service_soak", row))
    return 1 if row["steady_other"] else 0


class Soak:
    """One long run."""

    def __init__(
        self, options: argparse.Namespace, server: Server, photo: Path, gallery: Path
    ) -> None:
        self._options, self._server, self._photo = options, server, photo
        self._path = f"/localize?view={options.view}"
        self.nuisances = Nuisances(server.port, self._path, photo.read_bytes(), gallery)
        self.calm: list[Period] = []
        self.mixed: list[Period] = []
        self.rate = 0.0
        self.reloads = 0

    async def run(self) -> None:
        """The calm tenth, then the mixed rest."""
        full = await self._ask(clients=8, seconds=min(10.0, self._options.seconds))
        capacity = len(full["answers_ms"].get("200", [])) / full["wall_s"]
        self.rate = capacity * self._options.load
        periods = max(2, round(self._options.minutes * 60 / self._options.seconds))
        calm = max(1, periods // 10)
        for _ in range(calm):
            self.calm.append(await self._period())
        tasks = [asyncio.create_task(work) for work in self.nuisances.all()]
        for _ in range(periods - calm):
            self.mixed.append(await self._period())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.reloads = await asyncio.to_thread(self._count_reloads)

    def _count_reloads(self) -> int:
        """Versions that the service says it took over; without this, swaps prove nothing."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._server.port}/metrics") as answer:
            text = answer.read().decode()
        found = re.search(r'crossfix_reload_results_total\{result="ok"\} ([0-9.]+)', text)
        return int(float(found.group(1))) if found else 0

    async def _ask(self, **how: object) -> dict[str, Any]:
        return await asyncio.to_thread(
            lambda: ask(self._server.port, self._photo, path=self._path, **how)
        )

    async def _period(self) -> Period:
        samples: list[Sample] = []
        watcher = asyncio.create_task(self._watch(samples))
        report = await self._ask(rate=self.rate, seconds=self._options.seconds)
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
        answers = report["answers_ms"]
        good, refused = answers.get("200", []), answers.get("503", [])
        others = sum(
            len(times) for status, times in answers.items() if status not in ("200", "503")
        )
        rss_mb, files, threads = np.median(np.array(samples), axis=0)
        period = {
            "p50_ms": percentile(good, 50),
            "p99_ms": percentile(good, 99),
            "good": len(good),
            "refused": len(refused),
            "other": others + report["unanswered"],
            "rss_mb": round(float(rss_mb), 1),
            "files": int(files),
            "threads": int(threads),
        }
        words = "  ".join(f"{name} {value}" for name, value in period.items())
        print(f"{time.strftime('%H:%M:%S')}  {words}", flush=True)
        return period

    async def _watch(self, samples: list[Sample]) -> None:
        while True:
            server = self._server
            samples.append((server.rss_mb, server.open_files, server.threads))
            await asyncio.sleep(1.0)

    def summary(self) -> dict[str, object]:
        """The row."""
        third = max(1, len(self.mixed) // 3)
        first, last = self.mixed[:third], self.mixed[-third:]

        def median(periods: list[Period], name: str) -> float:
            return round(float(np.median([period[name] or 0 for period in periods])), 1)

        row: dict[str, object] = {
            "minutes": self._options.minutes,
            "photos_per_s": round(self.rate, 2),
            "steady_200": sum(period["good"] for period in self.calm + self.mixed),
            "steady_503": sum(period["refused"] for period in self.calm + self.mixed),
            "steady_other": sum(period["other"] for period in self.calm + self.mixed),
        }
        for name in ("p50_ms", "p99_ms"):
            row[f"calm_{name}"] = median(self.calm, name)
        for name in ("p50_ms", "p99_ms", "rss_mb", "files", "threads"):
            row[f"first_{name}"], row[f"last_{name}"] = median(first, name), median(last, name)
        row["rss_drift_mb"] = round(median(last, "rss_mb") - median(first, "rss_mb"), 1)
        row["swaps"] = self.reloads
        tally = self.nuisances.tally
        for kind in ("bad", "slow", "stalled", "left", "scrape"):
            row[kind] = tally.count(kind)
        unexpected = [name for name in tally.answers if name.split(" ")[1][0] == "5"]
        row["nuisance_5xx"] = sum(
            tally.answers[name] for name in unexpected if not name.endswith("503")
        )
        return row


if __name__ == "__main__":
    sys.exit(main())
