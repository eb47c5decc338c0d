"""Ready-made tiles: a CSV naming image files and their places."""

import csv
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from crossfix.errors import CrossfixError, ImageError, InvalidParameter, SourceError
from crossfix.gallery_manifest import SourceInfo
from crossfix.geodesy import Bounds, LocalFrame, LonLat, distance_m
from crossfix.images import ImageLimits, decode
from index_builder.sources.area import Area
from index_builder.sources.source import TilePlan, UInt8
from index_builder.sources.spec import SourceSpec

COLUMN_NAMES = {
    "file": ("file", "path", "image"),
    "lat": ("lat", "latitude"),
    "lon": ("lon", "lng", "longitude"),
    "size_m": ("size_m", "side_m", "tile_size_m"),
    "date": ("date",),
}
_BOUNDS_COLUMNS = ("west", "south", "east", "north")
_GROUP_ROWS = 16
_LIMITS = ImageLimits(max_bytes=500_000_000, max_pixels=400_000_000)

Row = dict[str, str]


def read_table(path: Path, required: Iterable[str]) -> list[Row]:
    """Rows of a CSV with the canonical names of `COLUMN_NAMES`; other columns stay as they are.

    Raises:
        SourceError: unreadable, empty, or a required column is missing.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            rows = [_canonical(row) for row in csv.DictReader(handle)]
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise SourceError(
            f"table {path} cannot be read: {problem}", hint="give a CSV file in UTF-8"
        ) from problem
    if not rows:
        raise SourceError(f"table {path} has no rows", hint="one line per image, after a header")
    for name in required:
        if name not in rows[0]:
            spellings = "|".join(COLUMN_NAMES.get(name, (name,)))
            raise SourceError(
                f"table {path} has no column {spellings}",
                hint=f"its columns are {', '.join(rows[0])}",
            )
    return rows


def find_images(table: Path, rows: list[Row]) -> Path:
    """The folder files count from: the table's, or the one beside it that has its name."""
    namesake = table.with_suffix("")
    beside = (table.parent / rows[0]["file"]).exists()
    return namesake if not beside and namesake.is_dir() else table.parent


def _canonical(row: Mapping[str | None, str | None]) -> Row:
    spelled = {str(key).strip().lower(): (value or "") for key, value in row.items()}
    for name, spellings in COLUMN_NAMES.items():
        for spelling in spellings:
            if spelling in spelled:
                spelled[name] = spelled.pop(spelling)
                break
    return spelled


def read_number(row: Row, column: str, where: str) -> float:
    """A cell as a number.

    Raises:
        SourceError: empty or not a number.
    """
    try:
        return float(row[column])
    except (KeyError, ValueError) as problem:
        raise SourceError(
            f"{where}: {column} is {row.get(column, '')!r}", hint="give a number"
        ) from problem


def read_place(row: Row, where: str) -> LonLat:
    """The row's `lon`, `lat`.

    Raises:
        SourceError: not a place on Earth.
    """
    try:
        return LonLat(read_number(row, "lon", where), read_number(row, "lat", where))
    except InvalidParameter as problem:
        raise SourceError(f"{where}: {problem}", hint=problem.hint) from problem


class TableSource:
    """A CSV of tiles as a `TileSource`; for its paths see :func:`find_images`.

    A tile's side is its `size_m`, else that of its bounds, else the one asked for.

    Raises:
        SourceError: the table cannot be read.
    """

    def __init__(self, spec: SourceSpec, *, name: str, tile_px: int) -> None:  # noqa: ARG002
        path = self._path = Path(spec.location)
        self._spec = spec
        self._name = name
        self._rows = read_table(path, ("file", "lat", "lon"))
        images = find_images(path, self._rows)
        self._files = [images / row["file"] for row in self._rows]

    def describe(self) -> SourceInfo:
        """Name and licence; places are WGS84."""
        return SourceInfo(
            name=self._name,
            attribution=self._spec.attribution,
            licence=self._spec.licence,
            date=self._spec.date,
            crs="EPSG:4326",
            kind="table",
            fingerprint=self.fingerprint(),
        )

    @property
    def has_own_sizes(self) -> bool:
        """Its tiles are images of their own."""
        return True

    def fingerprint(self) -> str:
        """Sizes and times of the table and its images."""
        digest = hashlib.sha256(self._path.read_bytes())
        for file in self._files:
            state = file.stat() if file.is_file() else None
            digest.update(f"{state and (state.st_size, state.st_mtime_ns)}".encode())
        return digest.hexdigest()[:16]

    def plan(
        self,
        tile_size_m: float | None,
        overlap: float,  # noqa: ARG002
        area: Area | None = None,  # noqa: ARG002
    ) -> Iterator[TilePlan]:
        """One tile per row, where the table puts it.

        Raises:
            SourceError: a row has no usable place or size.
        """
        return (self._plan_row(index, row, tile_size_m) for index, row in enumerate(self._rows))

    def _plan_row(self, index: int, row: Row, tile_size_m: float | None) -> TilePlan:
        where = f"table {self._path}, line {index + 2}"
        place = read_place(row, where)
        bounds = self._bounds(row, where)
        size_m = tile_size_m
        if row.get("size_m"):
            size_m = read_number(row, "size_m", where)
        elif bounds is not None:
            size_m = float(distance_m(place.lon, bounds.south, place.lon, bounds.north))
        if size_m is None or not 0 < size_m <= 100_000:
            raise SourceError(
                f"{where} has no usable tile size ({size_m})",
                hint="add a column size_m, or give --tile-size-m",
            )
        return TilePlan(
            tile_id=f"{self._name}-{index}",
            lon=place.lon,
            lat=place.lat,
            bounds=bounds or LocalFrame(place).square(size_m),
            size_m=size_m,
            resolution_m=None,
            date=row.get("date") or self._spec.date,
            attribution=row.get("attribution") or self._spec.attribution,
            licence=row.get("licence") or self._spec.licence,
            group=index // _GROUP_ROWS,
            place=index,
        )

    @staticmethod
    def _bounds(row: Row, where: str) -> Bounds | None:
        if not all(row.get(name) for name in _BOUNDS_COLUMNS):
            return None
        return Bounds(**{name: read_number(row, name, where) for name in _BOUNDS_COLUMNS})

    def read(self, plan: TilePlan) -> UInt8 | None:
        """The image's pixels, as they are.

        Raises:
            SourceError: missing or unreadable, naming the file.
        """
        path = self._files[plan.place]
        try:
            return decode(path.read_bytes(), limits=_LIMITS).pixels
        except OSError as problem:
            raise _unreadable(path, problem.strerror or str(problem)) from problem
        except ImageError as problem:
            raise _unreadable(path, str(problem)) from problem

    def close(self) -> None:
        """Nothing is held open."""


def _unreadable(path: Path, reason: str) -> CrossfixError:
    return SourceError(
        f"image {path} cannot be read: {reason}",
        hint="repair or remove it, or use --skip-unreadable",
    )
