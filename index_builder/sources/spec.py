"""What a user says about one source of imagery."""

from typing import Literal

from pydantic import Field, field_validator

from crossfix.manifest import StrictModel

SourceKind = Literal["auto", "raster", "mosaic", "xyz", "tms", "mbtiles", "pmtiles", "web", "table"]


class SourceSpec(StrictModel):
    """One source of imagery, and what its files do not say themselves.

    Attributes:
        location: a file, a folder, a list of files, or an address with ``{z}``, ``{x}``, ``{y}``.
        kind: `auto` tells by the location.
        name: what its tiles are called; default from the location.
        date: ISO 8601; a tile's own date, where its source knows one, goes first.
        zoom: level of a tile set that is read; default its highest.
        requests_per_s: politeness towards a tile server.
        cache: folder where tiles of a server are kept; default one for each server in the user's
            cache folder.
    """

    location: str = Field(min_length=1)
    kind: SourceKind = "auto"
    name: str = ""
    attribution: str = ""
    licence: str = ""
    date: str = ""
    zoom: int | None = Field(default=None, ge=0, le=30)
    requests_per_s: float = Field(default=2.0, gt=0, le=1000)
    cache: str = ""

    @field_validator("date", mode="before")
    @classmethod
    def _year_is_text(cls, date: object) -> object:
        return str(date) if isinstance(date, int) and not isinstance(date, bool) else date
