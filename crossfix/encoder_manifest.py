"""`encoder.json`: what an encoder is, how its views are preprocessed, and what was measured."""

import hashlib
from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, model_validator

from crossfix.errors import UnknownView
from crossfix.estimate import Calibration
from crossfix.manifest import FileEntry, StrictModel, canonical_json
from crossfix.variants import VariantName, VariantRecord
from crossfix.view import ViewName, ViewSpec

MANIFEST_FILE = "encoder.json"
FORMAT_VERSION = 1


class GoldenSample(StrictModel):
    """A small image kept in the artifact, and the embedding it must give at every load."""

    view: ViewName
    file: str
    embedding: tuple[float, ...]


class EncoderManifest(StrictModel):
    """Everything the readers of an encoder artifact need to know.

    Attributes:
        format_version: of this document; readers refuse another.
        embedding_space_id: hash of weights and preprocessing; embeddings of different spaces
            must never meet.
        files: every file of the artifact but `encoder.json` itself.
        recipe, revision: how it was trained.
        evaluation: measured rows, each with its data named.
        calibration: per query view, how scores become a radius and a confidence.
        variants: of lower precision, each with what was measured before it was written or
            refused; they belong to the same embedding space.
    """

    format_version: int = Field(default=FORMAT_VERSION, ge=FORMAT_VERSION, le=FORMAT_VERSION)
    name: str = Field(min_length=1)
    architecture: str
    embedding_dim: int = Field(gt=0)
    opset: int = Field(gt=0)
    licence_weights: str
    licence_data: str
    views: dict[ViewName, ViewSpec]
    files: dict[str, FileEntry]
    embedding_space_id: str
    recipe: dict[str, Any]
    revision: str
    evaluation: list[dict[str, Any]]
    calibration: dict[ViewName, Calibration]
    golden: list[GoldenSample]
    variants: dict[VariantName, VariantRecord] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        for name, view in self.views.items():
            if view.view != name:
                raise ValueError(f"view {name} holds the preprocessing of {view.view}")
            if view.model_file not in self.files:
                raise ValueError(f"view {name} names {view.model_file}, which is not in files")
        if any(len(sample.embedding) != self.embedding_dim for sample in self.golden):
            raise ValueError("a golden embedding does not have embedding_dim numbers")
        for precision, record in self.variants.items():
            self._check_variant(precision, record)
        expected = embedding_space_id(self.files, self.views)
        if self.embedding_space_id != expected:
            raise ValueError(
                f"embedding_space_id is not {expected}, the hash of the weights and preprocessing"
            )
        return self

    def _check_variant(self, name: str, record: VariantRecord) -> None:
        if record.written and set(record.model_files) != self.model_names():
            raise ValueError(f"variant {name} does not have a file for every model")
        for file in record.model_files.values():
            if file not in self.files:
                raise ValueError(f"variant {name} names {file}, which is not in files")

    def model_names(self) -> set[str]:
        """The full-precision model files."""
        return {view.model_file for view in self.views.values()}

    def view(self, name: str) -> ViewSpec:
        """The preprocessing of a view.

        Raises:
            UnknownView: naming the views there are.
        """
        for view_name, spec in self.views.items():
            if view_name == name:
                return spec
        raise UnknownView(
            f"encoder {self.name} has no view {name!r}",
            hint=f"use one of {', '.join(sorted(self.views))}",
        )


def embedding_space_id(files: Mapping[str, FileEntry], views: Mapping[ViewName, ViewSpec]) -> str:
    """First 16 hex digits of the SHA-256 over the models' hashes and the views' preprocessing."""
    models = sorted({view.model_file for view in views.values()})
    content = {
        "weights": {name: files[name].sha256 for name in models},
        "views": {name: view.model_dump(mode="json") for name, view in views.items()},
    }
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()[:16]
