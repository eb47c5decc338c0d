"""Records of an encoder's cheaper variants: what was measured, and whether they may be used.

A variant computes the same embeddings with less precision. It is written only when its recall
stays within a gate, so queries of a variant may meet a gallery of any other: all share one
embedding space.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from crossfix.manifest import StrictModel
from crossfix.view import ViewName

VariantName = Literal["fp16", "int8"]
Precision = Literal["fp32", "fp16", "int8"]
VARIANT_NAMES: tuple[VariantName, ...] = ("fp16", "int8")


class Recalls(StrictModel):
    """Share of queries with a right tile among the first 1 and 10."""

    at_1: float = Field(ge=0, le=1)
    at_10: float = Field(ge=0, le=1)


class VariantMeasurement(StrictModel):
    """One evaluation split, embedded in full precision and by the variant.

    Attributes:
        split: its name; queries and gallery are counted as measured, perhaps fewer than it has.
        fp32: full-precision queries in the full-precision gallery.
        against_fp32_gallery: the variant's queries in the full-precision gallery.
        against_own_gallery: the variant's queries in the variant's gallery.
        mean_cosine, lowest_cosine: between the two embeddings of each query and tile.
    """

    split: str
    view: ViewName
    queries: int = Field(gt=0)
    gallery: int = Field(gt=0)
    fp32: Recalls
    against_fp32_gallery: Recalls
    against_own_gallery: Recalls
    mean_cosine: float
    lowest_cosine: float

    @property
    def largest_loss(self) -> float:
        """What recall the variant costs at worst, 0..1; negative when it only gains."""
        pairings = (self.against_fp32_gallery, self.against_own_gallery)
        return max(
            full - found
            for recalls in pairings
            for full, found in (
                (self.fp32.at_1, recalls.at_1),
                (self.fp32.at_10, recalls.at_10),
            )
        )


class VariantRecord(StrictModel):
    """The outcome for one variant that was asked for.

    Attributes:
        written: the artifact holds it; otherwise `reason` says why not.
        recall_gate: the largest loss of recall at 1 or 10 that was allowed, 0..1.
        measured: one per evaluation split; empty when the variant gave no usable numbers.
        model_files: full-precision model file -> the variant's file.
        golden_min_cosine: what golden samples must reach at load.
    """

    written: bool
    reason: str
    recall_gate: float = Field(ge=0, le=1)
    measured: tuple[VariantMeasurement, ...]
    model_files: dict[str, str]
    golden_min_cosine: float | None = Field(default=None, le=1)

    @model_validator(mode="after")
    def _files_only_when_written(self) -> Self:
        if self.written != bool(self.model_files) or self.written != (
            self.golden_min_cosine is not None
        ):
            raise ValueError("model_files and golden_min_cosine are for written variants, only")
        return self
