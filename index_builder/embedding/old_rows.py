"""Vectors and pictures of one directory of an older version, by row."""

import threading
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from crossfix.gallery_manifest import PICTURES_FILE, VECTORS_FILE

_HELD_GROUPS = 32  # of pictures, about 2 MB each


class OldRows:
    """What is taken over of a row whose tile has not changed. Thread-safe.

    Raises:
        OSError, ValueError, pa.ArrowException: the files cannot be read.
    """

    def __init__(self, directory: Path, embedding_dim: int) -> None:
        self._vectors = np.memmap(directory / VECTORS_FILE, "<f2", "r").reshape(-1, embedding_dim)
        self._pictures = pq.ParquetFile(directory / PICTURES_FILE, memory_map=True)
        self._group_rows = self._pictures.metadata.row_group(0).num_rows
        self._groups: OrderedDict[int, pa.ChunkedArray] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._vectors)

    def read(self, row: int) -> tuple[NDArray[np.float16], bytes]:
        """A row's embedding, (D,), and its picture."""
        return np.array(self._vectors[row]), self._picture(row)

    def _picture(self, row: int) -> bytes:
        group, within = divmod(row, self._group_rows)
        with self._lock:  # a Parquet reader is not safe to share between threads
            held = self._groups.pop(group, None)
            if held is None:
                held = self._pictures.read_row_group(group, columns=["jpeg"]).column("jpeg")
            self._groups[group] = held
            while len(self._groups) > _HELD_GROUPS:
                self._groups.popitem(last=False)
        return bytes(held[within].as_py())

    def close(self) -> None:
        """Closes the pictures."""
        self._pictures.close()
