"""What an export needs besides weights: images to check, measure and calibrate with."""

import io
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from crossfix.errors import DataError
from crossfix.images import UInt8
from crossfix.view import ViewName
from training.datasets.hold_out import hold_out_all
from training.datasets.photo_cache import ViewPhotos
from training.datasets.sample_world import SampleWorld
from training.datasets.split import Dataset, EvaluationSplit, ImageSet, PairTable
from training.datasets.towns import Town
from training.datasets.unreadable import without
from training.export.procedural import procedural_golden
from training.recipe import Recipe

LOGGER = logging.getLogger(__name__)

LICENCE_TOWNS = "synthetic: sample_world"
INPUTS_PER_VIEW = 16
GOLDEN_PER_VIEW = 2

Golden = Mapping[str, tuple[ViewName, bytes]]  # name in the artifact -> view, JPEG or PNG


@dataclass(frozen=True)
class ExportData:
    """Images never trained on.

    Attributes:
        splits: what the artifact's figures are measured on.
        gate_splits: what decides: variants are measured on them before they are written, and
            their images check the ONNX model and scale int8. Not the test data where something
            was held out of the training data.
        golden: images that go into the artifact.
        licence: of the data, in words.
        may_be_shared: what was trained on the data may be passed on under our own licence.
        towns, photos: what scores are calibrated with; without towns there is no calibration.
    """

    splits: Sequence[EvaluationSplit]
    gate_splits: Sequence[EvaluationSplit]
    golden: Golden
    licence: str
    may_be_shared: bool
    towns: Sequence[Town] = ()
    photos: Mapping[ViewName, ViewPhotos] | None = None

    def inputs(self) -> dict[ViewName, UInt8]:
        """Up to 16 preprocessed images (N, h, w, 3) of every view, spread over a gate split."""
        found: dict[ViewName, UInt8] = {}
        for images in (
            part for split in self.gate_splits for part in (split.queries, split.gallery)
        ):
            if images.spec.view not in found and len(images):
                found[images.spec.view] = _some(images)
        return found


def _some(images: ImageSet) -> UInt8:
    chosen = np.unique(np.linspace(0, len(images) - 1, INPUTS_PER_VIEW).round().astype(int))
    return np.stack([images.read(int(i)) for i in chosen])


def town_data(folders: Sequence[Path], recipe: Recipe, cache: Path | None) -> ExportData:
    """Towns never trained on; with two or more of them the scores can be calibrated.

    Raises:
        DataError: no town, a damaged one, or a view without photos.
    """
    if not folders:
        raise DataError(
            "export needs photos for golden samples, but no town was given",
            hint="give --calibrate-on town folders that were not trained on",
        )
    dataset = SampleWorld.open(recipe, folders, [], cache)
    towns, photos = dataset.validation_towns, dataset.validation_photos
    splits = dataset.evaluation(dataset.protocols[0])
    return ExportData(
        splits=splits,
        gate_splits=splits,
        golden={**_golden_photos(towns, recipe), **_golden_tiles(splits[0].gallery)},
        licence=LICENCE_TOWNS,
        may_be_shared=True,
        towns=towns,
        photos=photos,
    )


def split_data(
    dataset: Dataset, recipe: Recipe, *, protocol: str | None = None,
    unreadable: Collection[str] = (),
) -> ExportData:  # fmt: skip
    """The evaluation splits of a data set that is not of towns.

    Its images belong to others and stay here: golden samples are computed images. In mode
    `correct` with a validation share, variants are judged on what the run held out of its
    training data; otherwise on the evaluation splits.

    Args:
        unreadable: names of the images that the run left out before it held anything out.

    Raises:
        DataError: no such protocol, or lists or images are missing.
    """
    LOGGER.warning(
        "the encoder is written without calibration: that needs towns, and %s has none",
        dataset.card.name,
    )
    splits = dataset.evaluation(protocol or dataset.protocols[0])
    return ExportData(
        splits=splits,
        gate_splits=_held_out(dataset, recipe, unreadable) or splits,
        golden=procedural_golden(recipe.views()),
        licence=f"{dataset.card.name}: {dataset.card.licence}",
        may_be_shared=False,
    )


def _held_out(
    dataset: Dataset, recipe: Recipe, unreadable: Collection[str]
) -> list[EvaluationSplit]:
    """The very splits that the run's best weights were chosen by; none in mode `paper`."""
    if recipe.mode == "paper" or not recipe.data.validation_share:
        return []  # a folder of test data alone will do then
    tables = {view: _readable(table, unreadable) for view, table in dataset.training().items()}
    return hold_out_all(tables, recipe)[1]


def _readable(table: PairTable, unreadable: Collection[str]) -> PairTable:
    names = frozenset(unreadable)
    photos, tiles = (
        [i for i in range(len(images)) if names and images.name(i) in names]
        for images in (table.queries, table.tiles)
    )
    return without(table, photos, tiles) if photos or tiles else table


def _golden_photos(towns: Sequence[Town], recipe: Recipe) -> dict[str, tuple[ViewName, bytes]]:
    """A few photo files per view as they are, of different kinds where there are several."""
    found: dict[str, tuple[ViewName, bytes]] = {}
    for view in recipe.data.query_views:
        rows = [photo for town in towns for photo in town.photos_of(view)]
        kinds = sorted({row.kind for row in rows})
        for i in range(min(GOLDEN_PER_VIEW, len(rows))):
            wanted = [row for row in rows[i:] if row.kind == kinds[i % len(kinds)]]
            row = (wanted or rows[i:])[0]
            found[f"golden/{view}-{i}{row.path.suffix.lower()}"] = view, row.path.read_bytes()
    return found


def _golden_tiles(tiles: ImageSet) -> dict[str, tuple[ViewName, bytes]]:
    found: dict[str, tuple[ViewName, bytes]] = {}
    for i, tile in enumerate(_some(tiles)[:GOLDEN_PER_VIEW]):
        buffer = io.BytesIO()
        Image.fromarray(tile).save(buffer, "PNG")
        found[f"golden/satellite-{i}.png"] = "satellite", buffer.getvalue()
    return found
