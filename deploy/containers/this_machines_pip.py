"""Writes a pip.conf that says what pip's configuration here says, for use inside a build.

`python3 this_machines_pip.py pip.conf` prints, one per line, the volumes a build needs for it:
package folders on this disk and the certificates that pip trusts.
"""

import ast
import configparser
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

USEFUL = ("index-url", "extra-index-url", "find-links", "trusted-host", "cert", "timeout", "proxy")


def settings_of(listing: str) -> dict[str, str]:
    """What `pip config list` printed, as option to value.

    An environment variable overrides a file, as in pip.
    """
    found: dict[str, str] = {}
    lines = [line.partition("=") for line in listing.splitlines() if "=" in line]
    for key, _, value in sorted(lines, key=lambda line: line[0].startswith(":env:")):
        option = key.rpartition(".")[2].removeprefix("default-")
        if option in USEFUL and not key.startswith("wheel"):
            found[option] = str(ast.literal_eval(value))
    return found


def volumes_of(settings: dict[str, str]) -> list[str]:
    """`FROM:TO:ro` of everything on this disk that the settings name."""
    words = " ".join(settings.values()).split()
    paths = [Path(unquote(urlsplit(word).path)) for word in words if _is_path(word)]
    # An index of links points beside itself (simple/ and files/), so its parent goes along.
    folders = {path.parent if path.name == "simple" else path for path in paths if path.exists()}
    return [f"{folder}:{folder}:ro" for folder in sorted(folders)]


def _is_path(word: str) -> bool:
    return word.startswith(("file://", "/"))


def main(target: Path) -> None:
    """Writes `target` and prints the volumes."""
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    settings = settings_of(listing)
    writer = configparser.RawConfigParser()
    writer["global"] = settings
    with target.open("w", encoding="utf-8") as handle:
        writer.write(handle)
    for volume in volumes_of(settings):
        sys.stdout.write(f"{volume}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
