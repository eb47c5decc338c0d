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


class ErrorDetail(BaseModel):
    """Why a request failed."""

    code: str = Field(description="Stable and machine-readable.")
    message: str
    hint: str = Field(description="What to do; may be empty.")
    request_id: str


class ErrorAnswer(BaseModel):
    """Every failure has this shape."""

    error: ErrorDetail
