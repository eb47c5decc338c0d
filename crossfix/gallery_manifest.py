"""`manifest.json` of a gallery version, and `CURRENT.json`, which names the live one."""

from typing import Any, Literal

from pydantic import Field

from crossfix.manifest import FileEntry, StrictModel

FORMAT_VERSION = 2  # 1 had no recipe, fewer tile columns and exact search only; still read
CURRENT_FILE = "CURRENT.json"
MANIFEST_FILE = "manifest.json"
VECTORS_FILE = "vectors.f16"
TILES_FILE = "tiles.parquet"
PICTURES_FILE = "pictures.parquet"
INDEX_FILE = "index.faiss"
RECIPE_FILE = "recipe.json"
VERSIONS_DIRECTORY = "versions"


class CurrentVersion(StrictModel):
    """The one small file that is ever replaced in a gallery."""

    version: str = Field(min_length=1, pattern=r"^[A-Za-z0-9._-]+$")


class BoundsModel(StrictModel):
    """A box in degrees; `west > east` crosses the antimeridian."""

    west: float
    south: float
    east: float
    north: float


IndexKind = Literal["exact_f16", "ivf_pq_fastscan", "ivf_rabitq", "gpu_flat_f16", "gpu_cagra"]


class IndexInfo(StrictModel):
    """How the gallery is searched, and how well against exact search (1.0 where exact).

    Attributes:
        factory: FAISS's description of `index.faiss`; empty where there is no such file.
        parameters: what searching needs, such as `nprobe` and `refine_factor`.
        recall_asked: what the parameters were tuned for; None where exact.
        recall_queries: how many queries `measured_recall_at_10` is over.
    """

    kind: IndexKind
    factory: str = ""
    parameters: dict[str, Any]
    measured_recall_at_10: float | None
    recall_asked: float | None = None
    recall_queries: int = 0


class SourceInfo(StrictModel):
    """Where tiles came from; every tile names its source.

    Attributes:
        fingerprint: of the imagery when it was read; see `TileSource.fingerprint`.
    """

    name: str
    attribution: str
    licence: str
    date: str
    crs: str
    kind: str = ""
    fingerprint: str = ""


class GalleryManifest(StrictModel):
    """Everything the readers of a gallery version need to know.

    Attributes:
        version: the directory's name.
        embedding_space_id: of the encoder that embedded it.
        overlap: share of a tile's side shared with its neighbour, 0..1 (exclusive).
        content_hash: over vectors and tile rows; equal inputs give equal hashes.
        created: UTC, ISO 8601.
        computed_on: device and batch size of the encoder's runs; empty where nobody wrote it down.
    """

    format_version: int = Field(default=FORMAT_VERSION, ge=1, le=FORMAT_VERSION)
    version: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    embedding_space_id: str
    encoder_name: str
    tile_count: int = Field(gt=0)
    embedding_dim: int = Field(gt=0)
    index: IndexInfo
    bounds: BoundsModel
    tile_sizes_m: list[float]
    overlap: float = Field(ge=0, lt=1)
    sources: list[SourceInfo]
    files: dict[str, FileEntry]
    content_hash: str
    created: str
    builder_revision: str
    computed_on: str = ""
