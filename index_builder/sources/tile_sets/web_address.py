"""An address template with `{z}`, `{x}`, `{y}` (or the names of WMTS) to a tile's address."""

import os
import re
from urllib.parse import urlsplit

from crossfix.errors import SourceError
from crossfix.geodesy import TileId

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_SUBDOMAINS = "abc"
_SAME_AS = {"tilematrix": "z", "tilecol": "x", "tilerow": "y"}
_EXAMPLE = "for example https://tiles.example.org/{z}/{x}/{y}.png"


class WebAddress:
    """A checked template; `${NAME}` stands for an environment variable, so that keys stay secret.

    Placeholders: `{z}` or `{TileMatrix}`; `{x}` or `{TileCol}`; `{y}` or `{TileRow}`, or `{-y}`
    for rows counted from the south; `{s}` for the servers a, b, c.

    Attributes:
        template: as given, so without the secrets.
        host: scheme, host and port, which messages may show.

    Raises:
        SourceError: not http(s), an unknown placeholder, or one of z, x, y is missing.
    """

    def __init__(self, template: str) -> None:
        self.template = template
        self._full = _VARIABLE.sub(_read_variable, template)
        try:
            parts = urlsplit(self._full)
            self.host = f"{parts.scheme}://{parts.hostname}" + (
                f":{parts.port}" if parts.port else ""
            )
        except ValueError as problem:
            raise SourceError(
                f"the tile server's address is malformed: {problem}", hint=_EXAMPLE
            ) from problem
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise SourceError(
                f"tile server {self.host} is not an http(s) address without a user name",
                hint=_EXAMPLE,
            )
        self._check_placeholders()

    def _check_placeholders(self) -> None:
        names = {_plain(name) for name in _PLACEHOLDER.findall(self._full)}
        unknown = sorted(names - {"z", "x", "y", "-y", "s"})
        if unknown:
            raise SourceError(
                f"tile server {self.host}: {{{unknown[0]}}} in its address is not known",
                hint="use {z}, {x}, {y} (or {-y}), {TileMatrix}, {TileCol}, {TileRow}, {s}",
            )
        rows = names & {"y", "-y"}
        if not {"z", "x"} <= names or len(rows) != 1:
            raise SourceError(
                f"tile server {self.host}: its address does not name z, x and y each", hint=_EXAMPLE
            )

    def of(self, tile: TileId) -> str:
        """The tile's address."""
        values = {
            "z": tile.zoom,
            "x": tile.x,
            "y": tile.y,
            "-y": 2**tile.zoom - 1 - tile.y,
            "s": _SUBDOMAINS[(tile.x + tile.y) % len(_SUBDOMAINS)],
        }
        return _PLACEHOLDER.sub(lambda found: str(values[_plain(found[1])]), self._full)


def _read_variable(found: re.Match[str]) -> str:
    value = os.environ.get(found[1])
    if value is None:
        raise SourceError(
            f"the tile server's address needs the environment variable {found[1]}",
            hint="it is not set; set it, or write its value into the address",
        )
    return value


def _plain(name: str) -> str:
    return _SAME_AS.get(name.lower(), name.lower())
