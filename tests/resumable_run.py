"""A small run as a process that can be killed; goes on from a checkpoint if there is one.

python -m tests.resumable_run FOLDER GROUP.KEY=VALUE ...
"""

import logging
import sys
from pathlib import Path

from crossfix.errors import CrossfixError
from tests.tiny_pairs import right_of, table, tiny
from training.loop.checkpoint import CHECKPOINT_FILE
from training.loop.trainer import Trainer

PAIRS = 56


def main(folder, *overrides):
    logging.basicConfig(level=logging.INFO)
    recipe = tiny(
        "schedule.epochs=6", "sampling.exclude_within_m=0", "model.kwargs.drop_rate=0.2",
        "runtime.checkpoint_minutes=0.001", *overrides,
    )  # fmt: skip
    pairs = table(recipe, PAIRS)
    trainer = Trainer(recipe, {"drone": pairs}, folder, validate=right_of(pairs))
    if (folder / CHECKPOINT_FILE).exists():
        trainer.resume()
    try:
        trainer.train()
    except CrossfixError as problem:
        sys.stderr.write(f"error: {problem}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
