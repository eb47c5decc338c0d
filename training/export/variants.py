"""Cheaper variants of an exported model, written only when they find nearly as much."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossfix.encoder import INPUT_NAME, OUTPUT_NAME
from crossfix.encoder_writer import VariantOutcome
from crossfix.errors import DataError
from crossfix.images import UInt8
from crossfix.matches import Matches
from crossfix.metrics import recall_at_k
from crossfix.onnx_session import Device, open_session
from crossfix.preprocess import normalise
from crossfix.ranking import rank_queries
from crossfix.variants import Recalls, VariantMeasurement, VariantName
from crossfix.view import ViewName, ViewSpec
from training.datasets.image_files import select_images
from training.datasets.split import EvaluationSplit, ImageSet, Int64
from training.embedding import EmbedImages
from training.evaluation.report import embed_once, query_embeddings
from training.export.precision import write_fp16, write_int8

LOGGER = logging.getLogger(__name__)

Float32 = NDArray[np.float32]

RECALL_GATE = 0.01
MAX_QUERIES, MAX_GALLERY = 2_000, 10_000  # of a split; enough to see one percent
BATCH = 16


@dataclass(frozen=True)
class SplitEmbeddings:
    """A split and the embeddings of its queries (Q, D) and gallery (N, D)."""

    split: EvaluationSplit
    queries: Float32
    gallery: Float32

    @classmethod
    def of(cls, split: EvaluationSplit, embed: EmbedImages) -> "SplitEmbeddings":
        """Embeds a split."""
        return cls(split, query_embeddings(split, embed), embed(split.gallery))


def make_variants(
    models: Mapping[str, Path], views: Mapping[ViewName, ViewSpec],
    splits: Sequence[EvaluationSplit], inputs: Mapping[ViewName, UInt8], *,
    names: Sequence[VariantName], gate: float = RECALL_GATE,
) -> dict[VariantName, VariantOutcome]:  # fmt: skip
    """Makes each variant beside the model, and measures whether it may be used.

    Args:
        models: the full-precision files by name; variants are written beside them.
        splits: never trained on; larger ones are measured on a fixed random part.
        inputs: (N, h, w, 3) uint8 images per view that int8 is scaled by.
        gate: the largest loss of recall at 1 or 10, 0..1.

    Raises:
        DataError: nothing to measure on.
    """
    if not names:
        return {}
    if not any(len(split.queries) and len(split.gallery) for split in splits):
        raise DataError(
            "variants are only written after measuring them, but there is no evaluation split",
            hint="name data to evaluate on, or leave --variants out",
        )
    parts = [part_of(split) for split in splits if len(split.queries) and len(split.gallery)]
    full = _embed_all(models, parts)
    found: dict[VariantName, VariantOutcome] = {}
    for name in dict.fromkeys(names):
        targets = {file: _write(path, name, views, inputs) for file, path in models.items()}
        found[name] = judge(full, _embed_all(targets, parts), targets, gate=gate)
        LOGGER.info("variant %s: %s", name, found[name].reason)
    return found


def _write(
    onnx: Path, name: VariantName, views: Mapping[ViewName, ViewSpec],
    inputs: Mapping[ViewName, UInt8],
) -> Path:  # fmt: skip
    """A variant of one file; int8 is scaled by images of the views it serves."""
    target = onnx.with_name(f"{onnx.stem}.{name}.onnx")
    if name == "fp16":
        write_fp16(onnx, target)
        return target
    own = [
        normalise(images, views[view])
        for view, images in inputs.items()
        if len(images) and views[view].model_file == onnx.name
    ]
    write_int8(onnx, target, own)
    return target


def judge(
    full: Sequence[SplitEmbeddings], variant: Sequence[SplitEmbeddings],
    models: Mapping[str, Path], *, gate: float,
) -> VariantOutcome:  # fmt: skip
    """Compares embeddings of the same splits in full precision and by the variant."""
    values = [part for one in variant for part in (one.queries, one.gallery)]
    if not all(np.isfinite(part).all() for part in values):
        return VariantOutcome("refused: it gives numbers that are not finite", gate, (), {})
    measured = [compare(a, b) for a, b in zip(full, variant, strict=True)]
    worst = max(measured, key=lambda one: one.largest_loss)
    loss = f"recall falls by at most {max(0.0, worst.largest_loss):.4f}, on {worst.split}"
    if worst.largest_loss > gate:
        return VariantOutcome(f"refused: {loss}; {gate} is allowed", gate, measured, {})
    return VariantOutcome(f"written: {loss}; {gate} is allowed", gate, measured, models)


def compare(full: SplitEmbeddings, variant: SplitEmbeddings) -> VariantMeasurement:
    """Recall of both, and of the variant's queries in the full-precision gallery."""
    split = full.split
    cosines = np.concatenate([
        _cosines(full.queries, variant.queries), _cosines(full.gallery, variant.gallery)
    ])  # fmt: skip
    return VariantMeasurement(
        split=split.name,
        view=split.queries.spec.view,
        queries=len(full.queries),
        gallery=len(full.gallery),
        fp32=_recalls(full.queries, full.gallery, split.positives),
        against_fp32_gallery=_recalls(variant.queries, full.gallery, split.positives),
        against_own_gallery=_recalls(variant.queries, variant.gallery, split.positives),
        mean_cosine=float(cosines.mean()),
        lowest_cosine=float(cosines.min()),
    )


def _cosines(a: Float32, b: Float32) -> Float32:
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines: Float32 = (a * b).sum(axis=1) / np.maximum(lengths, 1e-12)
    return cosines


def _recalls(queries: Float32, gallery: Float32, positives: Matches) -> Recalls:
    ranks = rank_queries(queries, gallery, positives, top=1).ranks
    return Recalls(at_1=recall_at_k(ranks, 1), at_10=recall_at_k(ranks, 10))


def part_of(split: EvaluationSplit) -> EvaluationSplit:
    """At most `MAX_QUERIES` queries, their tiles, and others up to `MAX_GALLERY`; always the same.

    The positions and kinds of the part are left out: recall needs none.
    """
    small = len(split.queries) <= MAX_QUERIES and len(split.gallery) <= MAX_GALLERY
    if small or split.query_groups is not None:  # groups are of one split and stay whole
        return split
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.permutation(len(split.queries))[:MAX_QUERIES])
    needed = np.unique(np.concatenate([split.positives.of(int(query)) for query in chosen]))
    kept = _gallery_of(needed, len(split.gallery), rng)
    number = np.full(len(split.gallery), -1, np.int64)
    number[kept] = np.arange(len(kept))
    return replace(
        split,
        queries=select_images(split.queries, chosen),
        gallery=select_images(split.gallery, kept),
        positives=Matches.from_lists([number[split.positives.of(int(q))] for q in chosen]),
        semi_positives=None, query_positions=None, gallery_positions=None, kinds=None,
    )  # fmt: skip


def _gallery_of(needed: Int64, count: int, rng: np.random.Generator) -> Int64:
    others = np.setdiff1d(np.arange(count), needed)
    fill = rng.permutation(others)[: max(0, MAX_GALLERY - len(needed))]
    return np.sort(np.concatenate([needed, fill])).astype(np.int64)


def _embed_all(
    models: Mapping[str, Path], splits: Sequence[EvaluationSplit]
) -> list[SplitEmbeddings]:
    embed = embed_once(model_embedder(models))
    return [SplitEmbeddings.of(split, embed) for split in splits]


def model_embedder(models: Mapping[str, Path]) -> EmbedImages:
    """An embedding function of ONNX files, for sets of images; on a GPU if there is one.

    Args:
        models: by the names that views have for them.
    """
    sessions = {
        name: open_session(path, Device("auto"), threads=0) for name, path in models.items()
    }

    def embed(images: ImageSet) -> Float32:
        parts, session = [], sessions[images.spec.model_file]
        for start in range(0, len(images), BATCH):
            rows = range(start, min(start + BATCH, len(images)))
            tensors = normalise(np.stack([images.read(i) for i in rows]), images.spec)
            (found,) = session.run([OUTPUT_NAME], {INPUT_NAME: np.ascontiguousarray(tensors)})
            parts.append(np.asarray(found, np.float32))
        return np.concatenate(parts)

    return embed
