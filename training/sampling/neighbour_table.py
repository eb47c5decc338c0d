"""Each pair's list of close tiles, in memory and as a file that a resumed run reads again."""

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossfix.errors import DataError
from crossfix.manifest import fsync_directory, fsync_file
from training.datasets.split import Int64

Int32 = NDArray[np.int32]


@dataclass(frozen=True)
class NeighbourTable:
    """Lists of close tiles; several pairs may share one.

    Attributes:
        rows: (K, range) int32 tiles, nearest or most similar first, -1 at the end for none.
        row_of_pair: (N,) which row is a pair's.
    """

    rows: Int32
    row_of_pair: Int64

    def save(self, path: Path, *, made_for: str) -> None:
        """Writes the table in one step: readers see the old file or the new one, never a part.

        Args:
            made_for: a digest of pairs and settings; only `load` with the same one takes it.

        Raises:
            DataError: the file cannot be written.
        """
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as handle:
                np.savez(
                    handle, rows=self.rows, row_of_pair=self.row_of_pair,
                    made_for=np.array(made_for),
                )  # fmt: skip
            fsync_file(partial)
            os.replace(partial, path)
            fsync_directory(path.parent)
        except OSError as problem:
            raise DataError(
                f"the neighbour table {path} cannot be written: {problem}",
                hint="free disk space, or make the run's folder writable",
            ) from problem

    @classmethod
    def load(cls, path: Path, *, made_for: str) -> "NeighbourTable":
        """Reads a table.

        Raises:
            DataError: the file is damaged, or was made for other pairs or settings.
        """
        try:
            with path.open("rb") as handle, np.load(handle, allow_pickle=False) as stored:
                found = cls(stored["rows"], stored["row_of_pair"])
                same = str(stored["made_for"]) == made_for
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as problem:
            raise DataError(
                f"the neighbour table {path} is damaged: {problem}",
                hint="remove the file; the table is then made anew with the weights of now",
            ) from problem
        if not same:
            raise DataError(
                f"the neighbour table {path} was made for other pairs or settings",
                hint="resume with the run's own data and recipe, or start in another folder",
            )
        return found
