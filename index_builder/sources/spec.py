"""What a user says about one source of imagery."""

import re
from typing import Literal

from pydantic import Field, field_validator

from crossfix.manifest import StrictModel

_CLOCK = r"[T ]\d{2}(:\d{2}){0,2}(\.\d+)?(Z|[+-]\d{2}:?\d{2})?"
_DATE = re.compile(rf"|\d{{4}}(-\d{{2}}(-\d{{2}}({_CLOCK})?)?)?")

DATE_HINT = "write 2024, 2024-05, 2024-05-31 or 2023/2024"

SourceKind = Literal["auto", "raster", "mosaic", "xyz", "tms", "mbtiles", "pmtiles", "web", "table"]


def is_iso_date(text: str) -> bool:
    """Whether it is an ISO 8601 date, a date and time, a range of either, or empty."""
    return all(_DATE.fullmatch(one) for one in text.split("/"))


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

    @field_validator("date")
    @classmethod
    def _date_is_iso_8601(cls, date: str) -> str:
        if not is_iso_date(date):
            raise ValueError(f"{date!r} is no date; {DATE_HINT}")
        return date
