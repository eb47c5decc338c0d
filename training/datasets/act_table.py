"""`ACT_data.mat` of CVACT: names of panoramas, places in metres, and who belongs to which split."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from training.datasets.folder import DataFolder
from training.datasets.split import Float64, Int64

TABLE = "ACT_data.mat"
_NO_MAT_FILE = (
    OSError, EOFError, ValueError, TypeError, MatReadError, NotImplementedError, zlib.error,
)  # fmt: skip
_INDEX_FIELD = 1  # of the 1 x 1 structs: field 0 is something else, field 1 the indices


@dataclass(frozen=True)
class ActTable:
    """The table.

    Attributes:
        ids: (N,) names of panoramas.
        utm_m: (N, 2) easting and northing.
        train, val, test: indices into `ids`, from 0 (the file counts from 1).
    """

    ids: tuple[str, ...]
    utm_m: Float64
    train: Int64
    val: Int64
    test: Int64


def read_act_table(folder: DataFolder) -> ActTable:
    """Reads the file.

    Raises:
        DataError: it is missing, no .mat file, or not of the known form.
    """
    if not folder.has(TABLE):
        raise folder.missing(TABLE)
    try:
        content = loadmat(folder.root / TABLE)
    except _NO_MAT_FILE as problem:
        raise folder.problem(f"{TABLE} is not a .mat file that can be read") from problem
    try:
        table = _table_of(content)
    except (KeyError, IndexError, TypeError, ValueError) as problem:
        raise folder.problem(f"{TABLE} is not of the known form: {problem!r}") from problem
    for indices in (table.train, table.val, table.test):
        if len(indices) and not 0 <= indices.min() <= indices.max() < len(table.ids):
            raise folder.problem(f"{TABLE} has indices beyond its {len(table.ids)} names")
    return table


def _table_of(content: Mapping[str, Any]) -> ActTable:
    ids = _strings(content["panoIds"])
    utm = np.asarray(content["utm"], np.float64)
    if utm.shape != (len(ids), 2):
        raise ValueError(f"utm has the shape {utm.shape} for {len(ids)} names")
    return ActTable(
        ids=ids,
        utm_m=utm,
        train=_indices(content["trainSet"]),
        val=_indices(content["valSet"]),
        test=_indices(content["valSetAll"]),
    )


def _strings(value: NDArray[Any]) -> tuple[str, ...]:
    """A matrix of characters, which comes as padded strings, or a cell array of strings."""
    if value.dtype == object:
        return tuple(str(np.asarray(cell).ravel()[0]) for cell in value.ravel())
    return tuple(str(text).rstrip() for text in value.ravel())


def _indices(struct: NDArray[Any]) -> Int64:
    values = np.asarray(struct[0, 0][_INDEX_FIELD]).astype(np.int64)
    return values.ravel() - 1
