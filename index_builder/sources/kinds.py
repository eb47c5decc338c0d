"""Which kind of source a location is, told by looking; what is no source is refused by name."""

import os
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from crossfix.errors import SourceError
from index_builder.sources.rasters.mosaic_files import RASTER_SUFFIXES
from index_builder.sources.spec import SourceKind, SourceSpec

LIST_SUFFIXES = (".txt", ".lst")
TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".geojson", ".json")
ARCHIVE_KINDS: dict[str, SourceKind] = {".mbtiles": "mbtiles", ".pmtiles": "pmtiles"}
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_FORMS = {
    "mosaic": "a folder or a file",
    "xyz": "a folder",
    "tms": "a folder",
    "web": "an address",
}
_LOOKED_AT = 20_000  # files of a folder; what it holds shows long before
_KINDS_HINT = (
    "give a raster, a folder or list of rasters, a folder of z/x/y tiles, an .mbtiles or .pmtiles "
    "file, a table (.csv, .parquet, .geojson) of image files, or an address with {z}, {x}, {y}"
)
_DATA_SETS = {
    "cvusa": ("bingmap", "splits/train-19zl.csv", "splits/val-19zl.csv"),
    "cvact": ("ACT_data.mat", "ANU_data_small", "ANU_data_test"),
    "vigor": (
        "splits/NewYork/satellite_list.txt",
        "splits__corrected/NewYork/satellite_list.txt",
        "Seattle/satellite",
        "satellite/Seattle",
    ),
    "university1652": ("train/satellite", "test/gallery_satellite", "gallery_satellite"),
}


def find_kind(spec: SourceSpec) -> SourceKind:
    """The spec's kind, or what `auto` means for its location; never `auto`.

    Raises:
        SourceError: nothing there, nothing usable there, or of another form than the kind asks.
    """
    location = spec.location
    if _is_address(location):
        return _checked_address(spec)
    path = Path(location)
    if not path.exists():
        if is_pattern(location) and spec.kind in ("auto", "mosaic"):
            return "mosaic"
        raise _missing(location)
    if spec.kind == "auto":
        return _folder_kind(path) if path.is_dir() else _file_kind(path)
    _check_form(spec.kind, path)
    return spec.kind


def is_pattern(location: str) -> bool:
    """Whether it holds `*`, `?` or `[...]` and no file has that very name."""
    return re.search(r"[*?\[]", location) is not None and not Path(location).exists()


def _is_address(location: str) -> bool:
    return re.match(r"[a-z][a-z0-9+.-]*://", location, re.IGNORECASE) is not None


def _checked_address(spec: SourceSpec) -> SourceKind:
    scheme = spec.location.partition("://")[0].lower()
    if scheme not in ("http", "https") or spec.kind not in ("auto", "web"):
        what = f"is no {spec.kind}" if scheme in ("http", "https") else f"is of scheme {scheme}"
        raise SourceError(
            f"source {without_secrets(spec.location)} {what}",
            hint="over a network only tile servers (http, https) are read; download other files",
        )
    return "web"


def without_secrets(location: str) -> str:
    """A location for messages: of an address only what stands before its query."""
    return location.partition("?")[0] if _is_address(location) else location


def _missing(location: str) -> SourceError:
    if re.search(r"\{[xyz]\}", location):
        hint = "an address of tiles starts with http:// or https://"
    else:
        hint = "check the path"
    return SourceError(f"source {location} does not exist", hint=hint)


def _file_kind(path: Path) -> SourceKind:
    ending = path.suffix.lower()
    if ending in TABLE_SUFFIXES:
        return "table"
    if ending in LIST_SUFFIXES:
        return "mosaic"
    return ARCHIVE_KINDS.get(ending, "raster")


def _check_form(kind: SourceKind, path: Path) -> None:
    form = "a folder" if path.is_dir() else "a file"
    needs = _FORMS.get(kind, "a file")
    if form not in needs:
        raise SourceError(
            f"source {path} is {form}, and a source of kind {kind} is {needs}",
            hint="leave the kind out, and it is told by looking",
        )


def _folder_kind(path: Path) -> SourceKind:
    from index_builder.sources.tile_sets.xyz_store import find_naming

    if find_naming(path) is not None:
        return "tms" if (path / "tilemapresource.xml").is_file() else "xyz"
    _refuse_data_set(path)
    endings = [Path(name).suffix.lower() for name in islice(_files_below(path), _LOOKED_AT)]
    if any(ending in RASTER_SUFFIXES for ending in endings):
        return "mosaic"
    raise _unusable(path, endings)


def _unusable(path: Path, endings: list[str]) -> SourceError:
    images = sum(ending in IMAGE_SUFFIXES for ending in endings)
    if images:
        return SourceError(
            f"source {path} holds {images} images and nothing that says where they are",
            hint="write a table with the columns file, lat, lon and size_m, and give that",
        )
    tables = sorted({ending for ending in endings if ending in (*TABLE_SUFFIXES, *ARCHIVE_KINDS)})
    if tables:
        return SourceError(
            f"source {path} is a folder with {', '.join(tables)} files in it",
            hint="give the file itself",
        )
    found = "files of no known kind" if endings else "no file"
    return SourceError(f"source {path} is a folder with {found}", hint=_KINDS_HINT)


def _refuse_data_set(path: Path) -> None:
    """Known data sets have places in names and lists, which another program reads."""
    for name, marks in _DATA_SETS.items():
        if any((path / mark).exists() for mark in marks):
            raise SourceError(
                f"source {path} looks like the data set {name}, whose images do not say where "
                "they are",
                hint=f"write its table with `python -m training satellite-table --data-set {name} "
                f"--data {path} --out tiles.csv` and give tiles.csv",
            )


def _files_below(folder: Path) -> Iterator[str]:
    for _, folders, files in os.walk(folder):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        yield from (one for one in files if not one.startswith("."))
