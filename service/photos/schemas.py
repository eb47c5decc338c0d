"""What goes in and out, as models: the OpenAPI document is made of these."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from crossfix.gallery_manifest import BoundsModel
from service.schemas import AnsweringGallery, EncoderName, ErrorDetail, GalleryName

QueryView = Literal["ground", "drone"]

TAKEN_FOR_TRUE = (
    "the confidence takes the given area for true: a photo from elsewhere may still look sure"
)
_PRIOR_NOTE = " " + TAKEN_FOR_TRUE[0].upper() + TAKEN_FOR_TRUE[1:] + "."


class LocalizeQuery(BaseModel):
    """Query parameters of /localize; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    k: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description=("How many matches to answer; fewer when the gallery or prior holds fewer."),
    )
    view: QueryView = Field(default="ground", description="Taken from the ground or by a drone.")
    lat: float | None = Field(
        default=None,
        ge=-90,
        le=90,
        description=(
            "Prior: latitude of its centre in degrees. Give lat, lon and radius_m together."
            + _PRIOR_NOTE
        ),
    )
    lon: float | None = Field(
        default=None,
        ge=-180,
        le=180,
        description="Prior: longitude of its centre in degrees." + _PRIOR_NOTE,
    )
    radius_m: float | None = Field(
        default=None,
        gt=0,
        le=20_100_000,
        description=(
            "Prior: only tiles whose centre lies within this many metres are considered."
            + _PRIOR_NOTE
        ),
    )
    area: str | None = Field(
        default=None,
        min_length=2,
        max_length=16_000,
        description=(
            "Prior: only tiles whose centre lies inside this GeoJSON Polygon or MultiPolygon "
            "(longitude first) are considered; instead of lat, lon and radius_m. Long "
            "ones fit into a form field, not into the address." + _PRIOR_NOTE
        ),
    )
    heading_deg: float | None = Field(
        default=None,
        ge=-360,
        le=360,
        description=("Compass direction of the photo's centre in degrees, 0 = north, 90 = east."),
    )
    hfov_deg: float | None = Field(
        default=None,
        ge=10,
        le=360,
        description=(
            "Horizontal field of view in degrees; 360 is a full panorama. Otherwise what the "
            "photo's EXIF or GPano says, otherwise assumed."
        ),
    )

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_boolean(cls, value: object) -> object:
        if isinstance(value, bool):  # JSON's true would pass for 1
            raise ValueError("a boolean is no value of this parameter")
        return value

    @model_validator(mode="after")
    def _prior_is_whole(self) -> Self:
        given = [value is not None for value in (self.lat, self.lon, self.radius_m)]
        if any(given) and not all(given):
            raise ValueError("a prior needs lat, lon and radius_m together")
        if any(given) and self.area is not None:
            raise ValueError("a prior is either area, or lat, lon and radius_m")
        return self


class Match(BaseModel):
    """One tile of the gallery that looks like the photo's place."""

    rank: int = Field(description="1 is the best.")
    tile_id: str
    score: float = Field(description="Cosine similarity, -1 to 1; not a probability.")
    lat: float = Field(description="Latitude of the tile's centre in degrees, WGS84.")
    lon: float = Field(description="Longitude of the tile's centre in degrees, WGS84.")
    bounds: BoundsModel = Field(description="The tile's box in degrees.")
    size_m: float = Field(description="Side of the tile on the ground in metres.")
    date: str = Field(description="Of the tile's imagery, ISO 8601; empty where not known.")
    attribution: str = Field(description="Whom to credit for the tile's imagery.")
    licence: str = Field(description="Of the tile's imagery; empty where not known.")
    picture_url: str = Field(description="Small JPEG of the tile, relative to this server.")
    distance_to_best_m: float = Field(
        description=("Distance of this tile's centre to that of rank 1, in metres.")
    )


class Estimate(BaseModel):
    """Where the photo was taken, and how sure that is."""

    lat: float = Field(description="Degrees, WGS84.")
    lon: float = Field(description="Degrees, WGS84.")
    radius_m: float | None = Field(
        description=(
            "The place lies within this many metres with probability `confidence`; null when the "
            "encoder is not calibrated for the view."
        )
    )
    confidence: float | None = Field(
        description=(
            "Probability, 0 to 1; null as above. Where shards did not answer (see `gallery`), "
            "lowered by the share of tiles that were not looked at. With a prior (lat, lon and "
            "radius_m, or area):" + _PRIOR_NOTE.lower()
        )
    )
    refused: bool = Field(description="True: do not use this as a location; see `reason`.")
    reason: str | None


class StageTimes(BaseModel):
    """Milliseconds per stage, from the complete body on."""

    decode: float
    queue: float = Field(description="Waiting for the decode, encode and search pools.")
    encode: float = Field(description="Preprocessing and the encoder.")
    search: float
    estimate: float
    total: float


class LocalizeAnswer(BaseModel):
    """The answer of /localize."""

    matches: list[Match]
    estimate: Estimate
    stage_ms: StageTimes
    encoder: EncoderName
    gallery: AnsweringGallery
    warnings: list[str] = Field(description="What was assumed, and what the answer rests on.")
    request_id: str


class BatchResult(BaseModel):
    """One photo of a batch: an answer or an error."""

    index: int = Field(description="Place in the request, from 0.")
    file_name: str = Field(description="As sent; empty where none was.")
    status: int = Field(description="What /localize would have answered for this photo.")
    answer: LocalizeAnswer | None = None
    error: ErrorDetail | None = None


class BatchAnswer(BaseModel):
    """The answer of /localize/batch; all photos were answered from one gallery version."""

    results: list[BatchResult] = Field(description="In the order of the request.")
    stage_ms: StageTimes = Field(description="Summed over photos, total: of the whole batch.")
    gallery: GalleryName
    encoder: EncoderName
    request_id: str
