"""From what a caller calls a place to a path below the roots; nothing is said of other places."""

import re
from collections.abc import Sequence
from pathlib import Path

from crossfix.errors import InvalidParameter

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_HINT = "give a file or folder counted from one of the rebuild_roots, without '..'"


def find_location(location: str, roots: Sequence[Path]) -> Path:
    """The one place that a location names; symlinks are followed and must stay below the root.

    Raises:
        InvalidParameter: absolute, an address, with `..`, or nothing of the name below any root.
            The sentence is the same whether or not there is something outside.
    """
    _require_plain(location)
    for root in roots:
        found = _below(root, location)
        if found is not None:
            return found
    raise InvalidParameter(
        f"there is no imagery {location!r} in the rebuild_roots",
        hint="check the name; it counts from one of the roots, and links may not lead out of it",
    )


def find_recipe(name: str, folder: Path) -> Path:
    """A recipe's file, directly in the folder.

    Raises:
        InvalidParameter: there is none of this name.
    """
    found = _below(folder, name) if "/" not in name else None
    if found is None or not found.is_file():
        raise InvalidParameter(
            f"there is no recipe {name!r} in the folder rebuild_recipes", hint="check the name"
        )
    return found


def _require_plain(location: str) -> None:
    parts = location.split("/")
    wrong = (
        location.startswith(("/", "~", "\\"))
        or "\\" in location
        or ".." in parts
        or _ADDRESS.match(location) is not None
        or any(ord(letter) < 32 or ord(letter) == 127 for letter in location)
    )
    if wrong:
        raise InvalidParameter(f"location {location!r} cannot be used", hint=_HINT)


def _below(root: Path, location: str) -> Path | None:
    """The resolved path if it exists below the root."""
    try:
        top = root.resolve(strict=True)
        found = (top / location).resolve(strict=True)
    except (OSError, RuntimeError, ValueError):  # not there, a loop of links, an odd name
        return None
    usable = found.is_file() or found.is_dir()  # a pipe would be waited for
    return found if usable and found.is_relative_to(top) else None
