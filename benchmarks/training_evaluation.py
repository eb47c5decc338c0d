"""Keeps what `python -m training evaluate` wrote into a run: one row per kind of photo.

Run it after `training evaluate --checkpoint RUN --data ...` with the trained weights and with
`--weights random`; the rows over all towns go to `results/training_evaluation.csv`, trained beside
the control.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.record import append_row
from training.evaluation.report import overall_rows

FIGURES = (
    "view", "kind", "weights", "queries", "gallery", "recall_at_1", "chance_at_1", "recall_at_5",
    "chance_at_5", "recall_at_10", "chance_at_10", "median_error_m", "median_estimate_error_m",
)  # fmt: skip


def rows_of(run: Path, file: Path) -> Iterator[dict[str, Any]]:
    """The rows over all towns of one evaluation, with what the run cost."""
    content = json.loads(file.read_text())
    state = json.loads((run / "log.jsonl").read_text().splitlines()[-1])
    kept = {
        "towns": " ".join(dict.fromkeys(content["splits"])),
        "steps": state["step"],
        "minutes": round(state["elapsed_s"] / 60, 1),
    }
    for row in overall_rows(content["rows"]):
        yield kept | {name: _rounded(row, name) for name in FIGURES}


def _rounded(row: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401
    return round(row[name], 4) if isinstance(row[name], float) else row[name]


def main() -> int:
    """Records the rows; exit code 1 when the run was not evaluated both ways."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training_evaluation", description=__doc__
    )
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    files = [run / f"evaluation-{weights}.json" for weights in ("best", "random")]
    if not all(file.is_file() for file in files):
        print(f"{run} was not evaluated with trained and with random weights", file=sys.stderr)
        return 1
    for file in files:
        for row in rows_of(run, file):
            append_row("training_evaluation", row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
