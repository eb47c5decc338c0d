"""A user's table of named places: CSV of building, lat, lon and perhaps size_m."""

import csv
import math
from collections.abc import Mapping
from pathlib import Path

from crossfix.errors import DataError, InvalidParameter
from crossfix.geodesy import LonLat

Place = tuple[float, float, float]  # lon, lat, size_m (NaN where not said)
_HINT = "write a CSV in UTF-8 with the columns building, lat, lon and perhaps size_m"


def read_place_table(path: Path) -> Mapping[str, Place]:
    """Places by name.

    Raises:
        DataError: not readable, a column is missing, or a row holds no place; names the line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            rows = list(csv.DictReader(handle))
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else str(problem)
        raise DataError(f"table of places {path} cannot be read: {reason}", hint=_HINT) from problem
    missing = [name for name in ("building", "lat", "lon") if not rows or name not in rows[0]]
    if missing:
        raise DataError(f"table of places {path} has no column {missing[0]}", hint=_HINT)
    return {
        row["building"].strip(): _read_place(row, f"table of places {path}, line {line}")
        for line, row in enumerate(rows, start=2)
    }


def _read_place(row: Mapping[str, str], where: str) -> Place:
    try:
        place = LonLat(float(row["lon"]), float(row["lat"]))
        size_m = float(row.get("size_m") or "nan")
    except (TypeError, ValueError, InvalidParameter) as problem:
        raise DataError(f"{where} holds no place: {problem}", hint=_HINT) from problem
    if not (math.isnan(size_m) or 0 < size_m <= 100_000):
        raise DataError(f"{where} has a size_m of {size_m:g}", hint=_HINT)
    return place.lon, place.lat, size_m
