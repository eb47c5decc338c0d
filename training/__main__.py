"""`python -m training`: train, evaluate, export, import official weights, describe data sets."""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

from crossfix.errors import CrossfixError, DataError
from crossfix.metrics import PercentRule
from training.challenge import answer_challenge, check_challenge
from training.commands import (
    describe_datasets,
    evaluate_artifact,
    evaluate_run,
    export_to,
    satellite_table,
    train_run,
)
from training.datasets.satellite_places import SATELLITE_DATA_SETS, split_names
from training.evaluation.table import format_rows
from training.export.sample4geo_weights import ARCHITECTURE, IMAGE_SIZE, import_official
from training.export.variants import RECALL_GATE
from training.loop.checkpoint import Weights
from training.polar_tiles import write_polar_tiles
from training.recipe import DatasetName
from training.recipe_file import load_recipe


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    verbs = root.add_subparsers(dest="verb", required=True)
    _add_train(verbs.add_parser("train", help="train an encoder"))
    _add_evaluate(verbs.add_parser("evaluate", help="measure a run or an encoder artifact"))
    _add_export(verbs.add_parser("export", help="write the encoder artifact of a run"))
    _add_import(
        verbs.add_parser("import-sample4geo", help="official weights to an encoder artifact")
    )
    datasets = verbs.add_parser("datasets", help="source, licence, counts, layout of data sets")
    datasets.add_argument("name", nargs="?", choices=get_args(DatasetName))
    _add_satellite_table(
        verbs.add_parser("satellite-table", help="a data set's satellite images, for index_builder")
    )
    _add_challenge(verbs)
    _add_polar(verbs.add_parser("polar-tiles", help="a folder of tiles to polar tiles, as PNG"))
    return root


def _add_polar(polar: argparse.ArgumentParser) -> None:
    polar.add_argument("--tiles", type=Path, required=True, help="folder of north-up tiles")
    polar.add_argument("--out", type=Path, required=True, help="folder to write")
    polar.add_argument("--height", type=int, default=112, help="pixels; default 112")
    polar.add_argument("--width", type=int, default=616, help="pixels; default 616")
    polar.add_argument("--stretch", action="store_true",
                       help="spread each image over 0..255, for old checkpoints")  # fmt: skip


def _add_challenge(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    answer = verbs.add_parser("answer", help="University-1652's 160k challenge: write answer.txt")
    what = answer.add_mutually_exclusive_group(required=True)
    what.add_argument("--checkpoint", type=Path, help="run folder")
    what.add_argument("--encoder", type=Path, help="encoder artifact")
    answer.add_argument("--data", type=Path, required=True, help="folder of the masked test set")
    answer.add_argument("--out", type=Path, default=Path("answer.txt"), help="file to write")
    _add_mirrored(answer)
    check = verbs.add_parser("check-answer", help="whether a file answers the 160k challenge")
    check.add_argument("answer", type=Path)
    check.add_argument("--data", type=Path, required=True, help="folder of the masked test set")


def _add_train(train: argparse.ArgumentParser) -> None:
    train.add_argument("--recipe", type=Path, required=True, help="YAML recipe")
    train.add_argument("--data", type=Path, nargs="+", required=True, help="data set or towns")
    train.add_argument("--val", type=Path, nargs="+", default=[], help="towns to validate on")
    train.add_argument("--out", type=Path, required=True, help="run folder")
    train.add_argument("--resume", action="store_true", help="continue the run in --out")
    _add_skip(train)
    train.add_argument("--set", nargs="+", default=[], metavar="GROUP.KEY=VALUE", dest="overrides")


def _add_skip(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--skip-unreadable", action="store_true",
        help="read every image first; leave out, count and list those that are damaged",
    )  # fmt: skip


def _add_mirrored(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--add-mirrored", action=argparse.BooleanOptionalAction,
        help="add the features of mirrored images; default: as the recipe says",
    )  # fmt: skip


def _add_evaluate(evaluate: argparse.ArgumentParser) -> None:
    what = evaluate.add_mutually_exclusive_group(required=True)
    what.add_argument("--checkpoint", type=Path, help="run folder")
    what.add_argument("--encoder", type=Path, help="encoder artifact; needs --recipe")
    evaluate.add_argument("--recipe", type=Path, help="names the data set of an artifact")
    evaluate.add_argument("--data", type=Path, nargs="+", required=True, help="data set or towns")
    evaluate.add_argument("--protocol", help="see `datasets NAME`; default: the usual one")
    evaluate.add_argument("--weights", choices=("best", "last", "random"),
                          help="of a run, default best; random: the untrained control")  # fmt: skip
    evaluate.add_argument("--cutoff", choices=get_args(PercentRule), help="rule of R@1%%")
    _add_skip(evaluate)
    _add_mirrored(evaluate)
    evaluate.add_argument("--pictures", type=Path, help="folder for queries with their top 5")


def _add_export(export: argparse.ArgumentParser) -> None:
    export.add_argument("--checkpoint", type=Path, required=True, help="run folder")
    export.add_argument("--out", type=Path, required=True, help="encoder folder")
    export.add_argument("--weights", choices=("best", "last"), default="best")
    export.add_argument(
        "--calibrate-on", type=Path, nargs="+", default=[], metavar="DIR",
        help="towns never trained on, for calibration, figures and golden samples; "
        "by default those the run was validated on",
    )  # fmt: skip
    export.add_argument(
        "--data", type=Path, nargs="+", default=[], help="data set's folder, where it is not towns"
    )
    export.add_argument("--variants", nargs="+", choices=("fp16", "int8"), default=[])
    export.add_argument("--recall-gate", type=float, default=RECALL_GATE,
                        help="largest loss of R@1 and R@10 a variant may cost, 0..1")  # fmt: skip
    export.add_argument("--max-bytes", type=int, help="refuse to write more than this")


def _add_import(official: argparse.ArgumentParser) -> None:
    official.add_argument("weights", type=Path, help="official .pth file")
    official.add_argument(
        "--dataset", required=True, choices=("cvusa", "cvact", "vigor", "university")
    )
    official.add_argument("--architecture", default=ARCHITECTURE)
    official.add_argument(
        "--image-size", type=int, default=IMAGE_SIZE, help="satellite side in pixels"
    )
    official.add_argument("--out", type=Path, required=True, help="encoder folder")


def _add_satellite_table(table: argparse.ArgumentParser) -> None:
    table.add_argument("--data-set", required=True, choices=SATELLITE_DATA_SETS)
    table.add_argument("--data", type=Path, required=True, help="its root folder")
    table.add_argument("--split", default="all", help=f"default all; {split_names()}")
    table.add_argument("--out", type=Path, required=True, metavar="CSV", help="table to write")
    table.add_argument("--places", type=Path, metavar="CSV",
                       help="building, lat, lon of University-1652, which has no places of its own",
                       )  # fmt: skip
    table.add_argument("--size-m", type=float, metavar="M",
                       help="side of every image on the ground; CVACT and University-1652 do not "
                       "say")  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a verb; 0 only when its product exists, 1 for an error people can mend."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for exporter in ("onnxscript", "onnx_ir", "torch.onnx"):
        logging.getLogger(exporter).setLevel(logging.WARNING)  # pages about every merged constant
    try:
        print(_VERBS[options.verb](options))
    except CrossfixError as problem:
        print(f"error: {problem}{f'; {problem.hint}' if problem.hint else ''}", file=sys.stderr)
        return 1
    return 0


def _train(options: argparse.Namespace) -> str:
    recipe = load_recipe(options.recipe, options.overrides)
    done = train_run(
        recipe, options.data, options.val, options.out,
        resume=options.resume, skip_unreadable=options.skip_unreadable,
    )  # fmt: skip
    chosen = f", selection figure {done['selection']:.4g}" if "selection" in done else ""
    return (
        f"{options.out}: {done['step']} steps, {done['epoch']} epochs, "
        f"{done['elapsed_s'] / 60:.1f} minutes, loss {done['loss']:.3f}{chosen}"
    )


def _evaluate(options: argparse.Namespace) -> str:
    asked = {
        "protocol": options.protocol, "cutoff": options.cutoff, "pictures": options.pictures,
        "skip_unreadable": options.skip_unreadable, "add_mirrored": options.add_mirrored,
    }  # fmt: skip
    if options.checkpoint:
        if options.recipe:
            raise DataError("--recipe goes with --encoder", hint="a run has a recipe of its own")
        weights: Weights = options.weights or "best"
        rows = evaluate_run(options.checkpoint, options.data, weights=weights, **asked)
    else:
        if options.weights:
            raise DataError("--weights goes with --checkpoint", hint="an artifact has one set")
        recipe = load_recipe(options.recipe) if options.recipe else None
        rows = evaluate_artifact(options.encoder, recipe, options.data, **asked)
    return format_rows(rows)


def _export(options: argparse.Namespace) -> str:
    manifest = export_to(
        options.checkpoint, options.out, calibrate_on=options.calibrate_on, data=options.data,
        weights=options.weights, variants=options.variants, gate=options.recall_gate,
        max_bytes=options.max_bytes,
    )  # fmt: skip
    return f"{format_rows(manifest.evaluation)}\nwrote {options.out}, embedding space " + (
        manifest.embedding_space_id
    )


def _import(options: argparse.Namespace) -> str:
    manifest = import_official(
        options.weights, options.dataset, options.out,
        architecture=options.architecture, image_size=options.image_size,
    )  # fmt: skip
    return f"wrote {options.out}, embedding space {manifest.embedding_space_id}"


def _satellite_table(options: argparse.Namespace) -> str:
    return satellite_table(
        options.data_set, options.data, options.out,
        split=options.split, places=options.places, size_m=options.size_m,
    )  # fmt: skip


_VERBS: dict[str, Callable[[argparse.Namespace], str]] = {
    "train": _train,
    "evaluate": _evaluate,
    "export": _export,
    "import-sample4geo": _import,
    "satellite-table": _satellite_table,
    "polar-tiles": lambda options: write_polar_tiles(
        options.tiles,
        options.out,
        height_px=options.height,
        width_px=options.width,
        stretch=options.stretch,
    ),
    "answer": lambda options: answer_challenge(
        options.data,
        options.out,
        run=options.checkpoint,
        encoder=options.encoder,
        add_mirrored=options.add_mirrored,
    ),
    "check-answer": lambda options: check_challenge(options.data, options.answer),
    "datasets": lambda options: describe_datasets(options.name),
}

if __name__ == "__main__":
    sys.exit(main())
