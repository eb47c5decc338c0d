"""Photos with known places, from a table."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crossfix.errors import SourceError
from crossfix.geodesy import LonLat
from crossfix.view import QUERY_VIEWS, ViewName
from index_builder.sources.tables.table_columns import TableColumns, read_columns
from index_builder.sources.tables.table_source import find_images


@dataclass(frozen=True)
class Query:
    """A photo and where it was taken (the ground point under a drone photo's centre)."""

    path: Path
    place: LonLat
    view: ViewName
    heading_deg: float | None
    hfov_deg: float | None


def read_queries(table: Path, images: Path | None, default_view: str) -> list[Query]:
    """Reads a query table (CSV, Parquet or GeoJSON points).

    Args:
        images: folder that files count from; None: as in `find_images`.
        default_view: of rows that name none.

    Raises:
        SourceError: unreadable table, or a row without place or known view.
    """
    columns = read_columns(table, ("file", "lat", "lon"))
    files = columns.texts("file")
    folder = find_images(table, files) if images is None else images
    views = columns.texts("view").to_pylist()
    angles = {name: _angles(columns, name) for name in ("heading_deg", "hfov_deg")}
    lon, lat = columns.numbers("lon"), columns.numbers("lat")
    _check_places(columns, lon, lat)
    return [
        Query(
            path=folder / files[row].as_py(),
            place=LonLat(float(lon[row]), float(lat[row])),
            view=_view(columns, row, views[row] or default_view),
            heading_deg=angles["heading_deg"][row],
            hfov_deg=angles["hfov_deg"][row],
        )
        for row in range(len(columns))
    ]


def _angles(columns: TableColumns, name: str) -> list[float | None]:
    return [None if np.isnan(value) else value for value in columns.numbers(name).tolist()]


def _check_places(columns: TableColumns, lon: object, lat: object) -> None:
    x, y = np.asarray(lon), np.asarray(lat)
    rows = np.flatnonzero(~((np.abs(x) <= 180) & (np.abs(y) <= 90)))
    if len(rows):
        row = int(rows[0])
        raise SourceError(
            f"{columns.where(row)}: lon {x[row]:g}, lat {y[row]:g} is not a place on Earth",
            hint="give longitude in -180..180 and latitude in -90..90 degrees",
        )


def _view(columns: TableColumns, row: int, name: str) -> ViewName:
    for view in QUERY_VIEWS:
        if view == name:
            return view
    raise SourceError(
        f"{columns.where(row)}: view is {name!r}", hint=f"use one of {', '.join(QUERY_VIEWS)}"
    )
