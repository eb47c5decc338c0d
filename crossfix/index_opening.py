"""The index a gallery version is searched with: what its manifest asks for, or exact search."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossfix.errors import DeviceUnavailable, GalleryCorrupt
from crossfix.gallery_manifest import INDEX_FILE, VECTORS_FILE, IndexInfo
from crossfix.index_gpu import build_gpu_index
from crossfix.index_ivf import read_ivf
from crossfix.vector_search import ExactIndex, VectorIndex

Float16 = NDArray[np.float16]


@dataclass(frozen=True)
class OpenedIndex:
    """An index, and why it is another than the manifest names; empty where it is not."""

    index: VectorIndex
    fallback: str = ""


def open_index(directory: Path, info: IndexInfo, vectors: Float16) -> OpenedIndex:
    """Opens what `info` names; a GPU index becomes exact search where there is no GPU.

    Raises:
        GalleryCorrupt: `index.faiss` is missing, damaged or of other rows.
    """
    if info.kind == "exact_f16":
        return OpenedIndex(ExactIndex(vectors))
    if info.kind in ("gpu_flat_f16", "gpu_cagra"):
        try:
            return OpenedIndex(build_gpu_index(info, vectors))
        except DeviceUnavailable as problem:
            return OpenedIndex(
                ExactIndex(vectors), f"exact_f16 on the CPU instead of {info.kind}: {problem}"
            )
    path = directory / INDEX_FILE
    if not path.is_file():
        raise GalleryCorrupt(
            f"{INDEX_FILE} is missing from {directory}", hint="build the gallery again"
        )
    return OpenedIndex(read_ivf(path, info, vectors))


def map_vectors(directory: Path, count: int, dim: int) -> Float16:
    """`vectors.f16` as (count, dim) numbers that stay on disk and in the page cache.

    Raises:
        GalleryCorrupt: missing, or of another size.
    """
    path = directory / VECTORS_FILE
    try:
        size = path.stat().st_size
        if size != 2 * count * dim:
            raise GalleryCorrupt(
                f"{path} should hold {count} vectors of {dim} numbers but has {size} bytes",
                hint="build the gallery again",
            )
        return np.asarray(np.memmap(path, dtype="<f2", mode="r", shape=(count, dim)))
    except OSError as problem:
        raise GalleryCorrupt(f"{path} cannot be read", hint="build the gallery again") from problem
