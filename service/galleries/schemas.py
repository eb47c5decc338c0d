"""What the routes about gallery and encoder answer, as models."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from crossfix.gallery_manifest import BoundsModel, IndexInfo, IndexKind, SourceInfo
from service.schemas import EncoderName

VERSION_NAME = r"^[A-Za-z0-9._-]{1,200}$"


class MultiPolygon(BaseModel):
    """GeoJSON (RFC 7946): polygons of closed rings of [longitude, latitude] in degrees."""

    type: Literal["MultiPolygon"] = "MultiPolygon"
    coordinates: list[list[list[list[float]]]]


class Credit(BaseModel):
    """Whom to credit for imagery; one line for all sources that say the same."""

    attribution: str
    licence: str = Field(description="Empty where not known.")
    date: str = Field(description="Of the imagery, ISO 8601; empty where not known.")
    sources: list[str] = Field(description="Names of the sources that say so.")


class VersionInfo(BaseModel):
    """A gallery version on disk."""

    version: str
    live: bool = Field(description="True: this one answers now.")
    usable: bool = Field(
        description="True: every file is there in its size, and the version is of the live "
        "encoder's embedding space. Contents are not read here; activation checks every byte."
    )
    problem: str = Field(description="Why it is not usable; empty where it is.")
    created: str | None = Field(description="UTC, ISO 8601; null where the manifest is unreadable.")
    tiles: int | None
    size_bytes: int | None = Field(description="Of its files; null for an epoch of shards.")
    encoder: EncoderName | None


class GalleryInfo(BaseModel):
    """The live gallery version, and the others there are."""

    version: str
    tiles: int
    bounds: BoundsModel
    tile_sizes_m: list[float]
    overlap: float = Field(description="Share of a tile's side shared with its neighbour.")
    index: IndexInfo = Field(description="As the gallery was built.")
    index_in_use: IndexKind = Field(description="What searches here; differs after a fallback.")
    index_fallback: str = Field(
        description="Why another index than the gallery's is in use; empty where it is the same."
    )
    sources: list[SourceInfo]
    credits: list[Credit] = Field(description="What to show beside pictures and maps.")
    encoder: EncoderName
    content_hash: str
    created: str = Field(description="UTC, ISO 8601.")
    loaded: str = Field(description="When it became live here; UTC, ISO 8601.")
    size_bytes: int = Field(description="Of the live version's files; of known shards only.")
    shards_total: int = Field(description="Shards of the live epoch; 1 in one piece.")
    shards_lost: list[int] = Field(description="Numbers of those that do not answer now.")
    coverage: MultiPolygon = Field(
        description="Where the tiles are: rectangles that do not overlap; small gaps are closed."
    )
    version_on_disk: str | None = Field(
        description="What CURRENT.json (or CURRENT_EPOCH.json) names; another one than `version` "
        "has not been taken over yet, or was refused. Null where it is unreadable."
    )
    versions: list[VersionInfo] = Field(
        description="All on disk, newest first; of a sharded gallery its epochs."
    )


class ActivateRequest(BaseModel):
    """Which version to make live."""

    model_config = ConfigDict(extra="forbid")

    version: str | None = Field(
        default=None,
        pattern=VERSION_NAME,
        description="Null, or left out: the newest one older than the live one.",
    )


class Activated(BaseModel):
    """What was live and what is live now."""

    old_version: str
    version: str
    tiles: int
    encoder: EncoderName
    encoder_changed: bool = Field(description="True: the encoder was loaded anew, too.")
    load_s: float = Field(description="Seconds that verifying and loading took.")


class ViewInfo(BaseModel):
    """What the encoder expects of one view."""

    height_px: int
    width_px: int
    projection: str
    heading: str
    calibrated: bool


class GoldenCheck(BaseModel):
    """The encoder's own samples, embedded here at every load and compared with what is stored."""

    passed: bool | None = Field(description="Null: the encoder holds no samples.")
    samples: int
    min_cosine: float | None = Field(
        description="What each sample must reach; below it the encoder is not loaded."
    )


class EncoderInfo(BaseModel):
    """The encoder in use."""

    name: str
    architecture: str
    embedding_dim: int
    embedding_space_id: str
    precision: str = Field(description="Which variant computes: fp32, fp16 or int8.")
    variants: list[str] = Field(description="All that the encoder holds.")
    golden: GoldenCheck
    views: dict[str, ViewInfo]
    licence_weights: str
    licence_data: str
    revision: str
    evaluation: list[dict[str, Any]]
    device: str = Field(description="As asked for.")
    provider: str = Field(description="ONNX Runtime execution provider in use.")
    provider_fallback: bool = Field(description="True: a GPU was offered but the CPU is used.")
