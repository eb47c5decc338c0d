"""`python -m training`: train, evaluate, export."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from crossfix.errors import CrossfixError
from training.checkpoint import validation_towns
from training.commands import evaluate_run, train_run
from training.evaluate import format_rows
from training.export import MAX_ARTIFACT_BYTES, export_run
from training.recipe import load_recipe
from training.sample_world_data import find_towns, open_towns


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    verbs = root.add_subparsers(dest="verb", required=True)
    train = verbs.add_parser("train", help="train an encoder")
    train.add_argument("--recipe", type=Path, required=True, help="YAML recipe")
    train.add_argument("--data", type=Path, nargs="+", required=True, help="town folders")
    train.add_argument("--val", type=Path, nargs="+", default=[], help="towns to validate on")
    train.add_argument("--out", type=Path, required=True, help="run folder")
    train.add_argument("--resume", action="store_true", help="continue the run in --out")
    train.add_argument("--set", nargs="+", default=[], metavar="GROUP.KEY=VALUE", dest="overrides")
    evaluate = verbs.add_parser("evaluate", help="measure an encoder on towns")
    evaluate.add_argument("--checkpoint", type=Path, required=True, help="run folder")
    evaluate.add_argument("--data", type=Path, nargs="+", required=True, help="town folders")
    evaluate.add_argument("--random-weights", action="store_true", help="the untrained control")
    export = verbs.add_parser("export", help="write the encoder artifact")
    export.add_argument("--checkpoint", type=Path, required=True, help="run folder")
    export.add_argument("--out", type=Path, required=True, help="encoder folder")
    export.add_argument(
        "--calibrate-on", type=Path, nargs="+", default=[], metavar="DIR",
        help="towns never trained on, for calibration, figures and golden samples; "
        "by default those the run was validated on",
    )  # fmt: skip
    export.add_argument("--max-bytes", type=int, default=MAX_ARTIFACT_BYTES)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a verb; 0 only when its product exists."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for exporter in ("onnxscript", "onnx_ir", "torch.onnx"):
        logging.getLogger(exporter).setLevel(logging.WARNING)  # pages about every merged constant
    try:
        print(_run(options))
    except CrossfixError as problem:
        print(f"error: {problem}{f'; {problem.hint}' if problem.hint else ''}", file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace) -> str:
    if options.verb == "train":
        recipe = load_recipe(options.recipe, options.overrides)
        done = train_run(recipe, options.data, options.val, options.out, resume=options.resume)
        return "  ".join(f"{name} {value:.4g}" for name, value in done.items())
    if options.verb == "evaluate":
        rows = evaluate_run(options.checkpoint, options.data, random_weights=options.random_weights)
        return format_rows(rows)
    folders = options.calibrate_on or validation_towns(options.checkpoint)
    towns = open_towns(find_towns(folders))
    manifest = export_run(options.checkpoint, options.out, towns, max_bytes=options.max_bytes)
    return f"{format_rows(manifest.evaluation)}\nwrote {options.out}, embedding space " + (
        manifest.embedding_space_id
    )


if __name__ == "__main__":
    sys.exit(main())
