"""Files that must arrive whole: hashes, durable writes, and JSON manifests read strictly."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from crossfix.errors import CrossfixError

ModelT = TypeVar("ModelT", bound=BaseModel)


class StrictModel(BaseModel):
    """A frozen record that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class FileEntry(StrictModel):
    """Size and SHA-256 of one file of an artifact."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(ge=0)

    @classmethod
    def of(cls, path: Path) -> "FileEntry":
        """Reads the file and describes it."""
        return cls(sha256=sha256_file(path), size_bytes=path.stat().st_size)


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file, read in pieces."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def canonical_json(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """The one JSON spelling of a value: sorted keys, no spaces; what hashes are taken over."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def verify_files(
    directory: Path, entries: Mapping[str, FileEntry], error: type[CrossfixError]
) -> None:
    """Checks that every listed file is there with its size and hash.

    Raises:
        CrossfixError: of the given class, naming the first file that differs.
    """
    for name, entry in entries.items():
        path = directory / name
        if not path.is_file():
            raise error(f"{name} is missing from {directory}", hint="build the artifact again")
        if path.stat().st_size != entry.size_bytes:
            raise error(
                f"{name} in {directory} has {path.stat().st_size} bytes instead of "
                f"{entry.size_bytes}",
                hint="it was cut short; build or copy it again",
            )
        if sha256_file(path) != entry.sha256:
            raise error(
                f"{name} in {directory} does not have the checksum its manifest names",
                hint="the file was altered; build or copy it again",
            )


def read_model(path: Path, model: type[ModelT], error: type[CrossfixError]) -> ModelT:
    """Reads a JSON file into a model.

    Raises:
        CrossfixError: of the given class, when the file is not JSON or does not fit the model.
    """
    try:
        return model.model_validate_json(path.read_bytes())
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise error(
            f"{path} is not valid: {where}: {first['msg']}",
            hint="it was written by another version or damaged",
        ) from problem


def fsync_file(path: Path) -> None:
    """Forces a file's content to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_directory(path: Path) -> None:
    """Forces a directory's entries (renames, new names) to the disk."""
    fsync_file(path)


def write_json_atomic(path: Path, value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Replaces a JSON file in one step: readers see the old or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    fsync_file(temporary)
    os.replace(temporary, path)
    fsync_directory(path.parent)
