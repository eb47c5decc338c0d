"""Which rasters a mosaic is made of."""

import glob
from pathlib import Path

from crossfix.errors import SourceError
from index_builder.sources.confinement import ANYWHERE, Confinement

RASTER_SUFFIXES = frozenset(
    f".{one}" for one in "tif tiff gtiff vrt jp2 j2k img ntf nitf ecw sid".split()
)
_HINT = "give a folder of rasters, a text file that lists them, or a pattern such as maps/*.tif"


def find_rasters(location: str, within: Confinement = ANYWHERE) -> list[Path]:
    """The rasters of a mosaic, in the order in which they lie: the first on top.

    A folder (searched through all its levels) and a pattern give them by name; a text file gives
    them as it lists them, one a line, `#` for remarks, counted from the text file's own folder.

    Args:
        within: where they all must lie.

    Raises:
        SourceError: none found, or a listed one does not exist or lies outside.
    """
    path = Path(location)
    if path.is_dir():
        found = [
            one
            for one in sorted(path.rglob("*"))
            if one.suffix.lower() in RASTER_SUFFIXES
            and one.is_file()
            and not any(part.startswith(".") for part in one.relative_to(path).parts)
        ]
    elif path.is_file():
        found = _read_list(path, within)
    else:
        found = [Path(one) for one in sorted(glob.glob(location, recursive=True))]
        found = [one for one in found if one.is_file()]
    if not found:
        raise SourceError(f"mosaic {location} holds no raster", hint=_HINT)
    return found


def _read_list(path: Path, within: Confinement) -> list[Path]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "it is not in UTF-8"
        raise SourceError(f"list {path} cannot be read: {reason}", hint=_HINT) from problem
    found: list[Path] = []
    for number, line in enumerate(lines, start=1):
        name = line.strip()
        if not name or name.startswith("#"):
            continue
        raster = within.check(path.parent / name)
        if not raster.is_file():
            raise SourceError(
                f"list {path}, line {number}: {raster} does not exist",
                hint="one raster a line, counted from the list's own folder",
            )
        if raster not in found:
            found.append(raster)
    return found
