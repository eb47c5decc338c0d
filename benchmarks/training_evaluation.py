"""Keeps what `python -m training evaluate` wrote into a run: one row per kind of photo.

Run it after `training evaluate --checkpoint RUN --data ...` with and without `--random-weights`;
the pooled rows of both go to `results/training_evaluation.csv`, trained beside the control.
"""

import argparse
import json
import sys
from pathlib import Path

from benchmarks.record import append_row


def main() -> int:
    """Records the rows; exit code 1 when the run was not evaluated both ways."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training_evaluation", description=__doc__
    )
    parser.add_argument("run", type=Path)
    arguments = parser.parse_args()
    files = [arguments.run / f"evaluation-{weights}.json" for weights in ("trained", "random")]
    if not all(file.is_file() for file in files):
        print(
            f"{arguments.run} was not evaluated with and without --random-weights", file=sys.stderr
        )
        return 1
    state = json.loads((arguments.run / "log.jsonl").read_text().splitlines()[-1])
    for file in files:
        content = json.loads(file.read_text())
        for row in content["rows"]:
            if row["town"] == "pooled" or len(content["towns"]) == 1:
                kept = {
                    "towns": " ".join(content["towns"]),
                    "steps": state["step"],
                    "minutes": round(state["elapsed_s"] / 60, 1),
                }
                append_row(
                    "training_evaluation",
                    kept
                    | {
                        name: round(value, 4) if isinstance(value, float) else value
                        for name, value in row.items()
                        if name != "town"
                    },
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
