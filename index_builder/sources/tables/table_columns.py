"""Tables of images with places, from CSV, Parquet or GeoJSON: columns, not rows, in memory."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from crossfix.errors import SourceError

Float64 = NDArray[np.float64]

COLUMN_NAMES = {
    "file": ("file", "path", "image", "filename"),
    "lat": ("lat", "latitude"),
    "lon": ("lon", "lng", "long", "longitude"),
    "size_m": ("size_m", "side_m", "tile_size_m"),
    "licence": ("licence", "license"),
}
BOUNDS_COLUMNS = ("west", "south", "east", "north")
_DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True)
class TableColumns:
    """Columns under the names of `COLUMN_NAMES`; others keep theirs, in lower case.

    Attributes:
        first_line: line of row 0 in the file, for messages; None where rows are no lines.
        decimal_comma: numbers may be written as 48,12 (a CSV whose cells end with `;`).
    """

    path: Path
    columns: Mapping[str, Any]
    first_line: int | None = None
    decimal_comma: bool = False

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def where(self, row: int) -> str:
        """A row, for messages."""
        if self.first_line is None:
            return f"table {self.path}, row {row + 1}"
        return f"table {self.path}, line {row + self.first_line}"

    def texts(self, name: str) -> Any:  # noqa: ANN401 - pyarrow has no types
        """A column as (N,) Arrow strings; empty where a cell, or the column, is missing."""
        if name not in self.columns:
            return pa.array([""]).take(pa.array(np.zeros(len(self), np.int64)))
        column = pc.fill_null(pc.cast(self.columns[name], pa.string()), "")
        return pc.utf8_trim_whitespace(column)

    def numbers(self, name: str) -> Float64:
        """A column as (N,) numbers; NaN where a cell, or the column, is missing.

        Raises:
            SourceError: a cell holds something else; names the row.
        """
        if name not in self.columns:
            return np.full(len(self), np.nan)
        column = self.columns[name]
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column = self._parse(name)
        try:
            values = pc.cast(column, pa.float64())
        except pa.ArrowInvalid as problem:
            raise SourceError(
                f"table {self.path}: column {name} is of type {column.type}", hint="give numbers"
            ) from problem
        return np.array(pc.fill_null(values, np.nan), np.float64)

    def _parse(self, name: str) -> Any:  # noqa: ANN401
        texts = self.texts(name)
        if self.decimal_comma:
            texts = pc.replace_substring(texts, ",", ".")
        texts = pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)
        try:
            return pc.cast(texts, pa.float64())
        except pa.ArrowInvalid:
            self._name_bad_cell(name, texts)

    def _name_bad_cell(self, name: str, texts: Any) -> NoReturn:  # noqa: ANN401
        for row, text in enumerate(texts.to_pylist()):
            try:
                float(text or 0)
            except ValueError as problem:
                raise SourceError(
                    f"{self.where(row)}: {name} is {text!r}", hint="give a number"
                ) from problem
        raise SourceError(f"table {self.path}: column {name} does not hold numbers")


def read_columns(path: Path, required: Iterable[str]) -> TableColumns:
    """Reads a table; `.parquet` and `.geojson` (or `.json`) by their ending, all else as CSV.

    CSV may use `,`, `;` or tabs. In GeoJSON a Point is a centre, a Polygon a footprint.

    Raises:
        SourceError: unreadable, empty, or a required column is missing.
    """
    ending = path.suffix.lower()
    try:
        if ending == ".parquet":
            table = TableColumns(path, _canonical(path, pq.read_table(path)))
        elif ending in (".geojson", ".json"):
            from index_builder.sources.tables.table_geojson import read_features

            table = TableColumns(path, _canonical(path, read_features(path)))
        else:
            table = _read_csv(path)
    except (OSError, UnicodeDecodeError, pa.ArrowException) as problem:
        raise SourceError(
            f"table {path} cannot be read: {_first_line(problem)}",
            hint="give CSV in UTF-8, Parquet or GeoJSON",
        ) from problem
    if not len(table):
        raise SourceError(f"table {path} has no rows", hint="one row per image")
    for name in required:
        if name not in table:
            spellings = "|".join(COLUMN_NAMES.get(name, (name,)))
            raise SourceError(
                f"table {path} has no column {spellings}",
                hint=f"its columns are {', '.join(table.columns)}",
            )
    return table


def _read_csv(path: Path) -> TableColumns:
    with path.open(encoding="utf-8-sig") as handle:
        header = handle.readline()
    if not header.strip():
        return TableColumns(path, {})
    delimiter = max(_DELIMITERS, key=header.count)
    table = pa_csv.read_csv(
        path,
        parse_options=pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pa_csv.ConvertOptions(
            column_types=dict.fromkeys(_header_names(path, delimiter), pa.string()),
            strings_can_be_null=False,
        ),
    )
    columns = _canonical(path, table)
    return TableColumns(path, columns, first_line=2, decimal_comma=delimiter == ";")


def _header_names(path: Path, delimiter: str) -> list[str]:
    options = pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    with pa_csv.open_csv(path, parse_options=options) as reader:
        names: list[str] = reader.schema.names
    return names


def _canonical(path: Path, table: Any) -> dict[str, Any]:  # noqa: ANN401
    """Columns by name in lower case, synonyms under the first of their names."""
    found: dict[str, Any] = {}
    for given, column in zip(table.column_names, table.columns, strict=True):
        name = given.strip().lower()
        if name in found:
            raise SourceError(
                f"table {path} has two columns called {name}", hint="rename or remove one"
            )
        found[name] = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    for name, spellings in COLUMN_NAMES.items():
        spelled = next((spelling for spelling in spellings if spelling in found), None)
        if spelled is not None:
            found[name] = found.pop(spelled)
    return found


def _first_line(problem: Exception) -> str:
    return (str(problem).splitlines() or [type(problem).__name__])[0]
