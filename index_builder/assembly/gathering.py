"""Rows of part files in any order, with few files open at a time."""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from index_builder.embedding.part_file import open_part

Int64 = NDArray[np.int64]
Int32 = NDArray[np.int32]

_OPEN_PARTS = 32  # mapped: pages that are touched count as this process's memory


class Gatherer:
    """Reads rows of part files that are known to be whole."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._open: OrderedDict[int, pa.RecordBatch] = OrderedDict()

    def gather(self, parts: Int32, rows: Int32) -> pa.RecordBatch:
        """Row `rows[i]` of part `parts[i]`, for every i."""
        order = np.lexsort((rows, parts))
        numbers, starts = np.unique(parts[order], return_index=True)
        pieces = [
            self._part(int(number)).take(pa.array(rows[places]))
            for number, places in zip(numbers, np.split(order, starts[1:]), strict=True)
        ]
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        return pa.concat_batches(pieces).take(pa.array(back))

    def _part(self, number: int) -> pa.RecordBatch:
        batch = self._open.pop(number, None)
        if batch is None:
            batch = open_part(self._directory, number)
        self._open[number] = batch
        while len(self._open) > _OPEN_PARTS:
            self._open.popitem(last=False)
        return batch
