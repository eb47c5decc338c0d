"""What answers of more than one kind are made of."""

from pydantic import BaseModel, Field


class EncoderName(BaseModel):
    """Which encoder answered."""

    name: str
    embedding_space_id: str


class GalleryName(BaseModel):
    """Which gallery version answered."""

    version: str
    tiles: int


class AnsweringGallery(GalleryName):
    """Which gallery version answered, and whether all of it did.

    A gallery of one piece is one shard.
    """

    shards_total: int = Field(description="Shards the gallery is made of.")
    shards_asked: int = Field(description="Those that may hold the place: all, without a prior.")
    shards_answered: int = Field(
        description="Of those asked. Fewer than `shards_asked`: a partial answer, the place may "
        "lie in what is missing."
    )


class ErrorDetail(BaseModel):
    """Why a request failed."""

    code: str = Field(description="Stable and machine-readable.")
    message: str
    hint: str = Field(description="What to do; may be empty.")
    request_id: str


class ErrorAnswer(BaseModel):
    """Every failure has this shape."""

    error: ErrorDetail
