"""What happens at each evaluation during training: figures, and a picture per split."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from accelerate import PartialState

from training.datasets.split import EvaluationSplit
from training.embedding import EmbedImages
from training.evaluation.picture import draw_top
from training.evaluation.report import ALL_KINDS, evaluate_splits, overall_rows, result_rows
from training.evaluation.table import format_rows
from training.loop.trainer import Validate
from training.recipe import Recipe

LOGGER = logging.getLogger(__name__)

PICTURES = "pictures"
LOGGED = ("recall_at_1", "recall_at_10", "median_error_m")


def validator(splits: Sequence[EvaluationSplit], recipe: Recipe, run: Path) -> Validate:
    """A function that evaluates an encoder on the splits; `selection` is the mean R@1."""

    def validate(embed: EmbedImages, step: int) -> Mapping[str, float]:
        results = evaluate_splits(splits, embed, recipe)
        overall = overall_rows(result_rows(results, weights="trained"))
        if PartialState().is_main_process:
            LOGGER.info("validation at step %d\n%s", step, format_rows(overall))
            for result in results if recipe.runtime.pictured_queries else ():
                path = run / PICTURES / f"{step:07d}-{result.file_stem}.png"
                draw_top(result, path, queries=recipe.runtime.pictured_queries)
        figures = {
            f"{row['view']}_{row['kind']}_{name}": float(row[name])
            for row in overall
            for name in LOGGED
            if name in row
        }
        whole = [float(row["recall_at_1"]) for row in overall if row["kind"] == ALL_KINDS]
        return {**figures, "selection": float(np.mean(whole))}

    return validate
