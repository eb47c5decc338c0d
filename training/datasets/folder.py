"""A data set's folder: lists and images are looked up here, and what is missing is said once."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crossfix.errors import DataError
from crossfix.view import ViewSpec
from training.datasets.image_files import ImageFiles

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class DataFolder:
    """The root folder of one data set.

    Attributes:
        title: what people call the data set.
        hint: what to download, and how its layout is looked up.
    """

    root: Path
    title: str
    hint: str

    def has(self, path: str) -> bool:
        """Whether a file or folder is there."""
        return (self.root / path).exists()

    def problem(self, found: str) -> DataError:
        """The one form of every complaint about the folder."""
        return DataError(f"{self.title} at {self.root} is incomplete: {found}", hint=self.hint)

    def missing(self, path: str) -> DataError:
        """The complaint about a file or folder that is not there."""
        if not self.root.is_dir():
            return self.problem("there is no such folder")
        return self.problem(f"{path} is missing")

    def lines(self, path: str) -> list[str]:
        """The lines of a text file that are not blank, in order.

        Raises:
            DataError: no such file, not text, or empty.
        """
        try:
            text = (self.root / path).read_text(encoding="utf-8")
        except FileNotFoundError as problem:
            raise self.missing(path) from problem
        except (OSError, UnicodeDecodeError) as problem:
            raise self.problem(f"{path} cannot be read") from problem
        found = [line for line in text.splitlines() if line.strip()]
        if not found:
            raise self.problem(f"{path} is empty")
        return found

    def file_names(self, folder: str) -> frozenset[str]:
        """Names of everything in a folder; one listing instead of a question per file.

        Raises:
            DataError: no such folder.
        """
        try:
            with os.scandir(self.root / folder) as entries:
                return frozenset(entry.name for entry in entries)
        except OSError as problem:
            raise self.missing(folder) from problem

    def subfolders(self, folder: str) -> list[str]:
        """Names of the folders in a folder, sorted; hidden ones are left out.

        Raises:
            DataError: no such folder, or it holds none.
        """
        try:
            with os.scandir(self.root / folder) as entries:
                found = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
        except OSError as problem:
            raise self.missing(folder) from problem
        if not found:
            raise self.problem(f"{folder} holds no folder")
        return found

    def image_names(self, folder: str) -> list[str]:
        """Names of the images in a folder, sorted; none where there is no such folder."""
        if not (self.root / folder).is_dir():
            return []
        names = self.file_names(folder)
        return sorted(
            n for n in names if n.lower().endswith(IMAGE_SUFFIXES) and not n.startswith(".")
        )

    def require(self, paths: Sequence[str]) -> None:
        """Checks that listed images are there, with one listing per folder.

        Raises:
            DataError: some are missing; says how many and names the first.
        """
        known: dict[str, frozenset[str]] = {}
        absent = []
        for path in paths:
            folder, _, name = path.rpartition("/")
            if folder not in known:
                known[folder] = self.file_names(folder)
            if name not in known[folder]:
                absent.append(path)
        if absent:
            raise self.problem(
                f"{len(absent)} of {len(paths)} listed images are missing, the first is {absent[0]}"
            )

    def check_protocol(self, protocol: str, known: Sequence[str]) -> None:
        """Refuses a protocol that the data set does not have.

        Raises:
            DataError: it is not among the known ones.
        """
        if protocol not in known:
            raise DataError(
                f"{self.title} has no protocol {protocol!r}", hint=f"take one of {', '.join(known)}"
            )

    def images(
        self, names: Sequence[str], spec: ViewSpec, *, panoramas: bool = False
    ) -> ImageFiles:
        """Images of this folder."""
        return ImageFiles(self.root, tuple(names), spec, panoramas)
