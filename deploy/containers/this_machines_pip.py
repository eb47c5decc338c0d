"""Writes a pip.conf that says what pip's configuration here says, for use inside a build.

`python3 this_machines_pip.py pip.conf` prints, one per line, the volumes a build needs for it:
package folders on this disk and the certificates that pip trusts. With `--no-folders`, for Docker,
whose builds have no volumes, it leaves the folders out and prints the file of certificates, which
the build must see as /etc/pip-certificates.pem.
"""

import argparse
import ast
import configparser
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

CERTIFICATES = "/etc/pip-certificates.pem"
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


def without_folders(settings: dict[str, str]) -> dict[str, str]:
    """The settings less what lies on this disk; the certificates are where the build sees them."""
    kept = {
        option: " ".join(word for word in value.split() if not _is_path(word))
        for option, value in settings.items()
    }
    if "cert" in settings:
        kept["cert"] = CERTIFICATES
    return {option: value for option, value in kept.items() if value}


def _is_path(word: str) -> bool:
    return word.startswith(("file://", "/"))


def main() -> None:
    """Writes the file and prints the volumes, or the certificates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path)
    parser.add_argument("--no-folders", action="store_true")
    given = parser.parse_args()
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    settings = settings_of(listing)
    printed = [settings.get("cert", "")] if given.no_folders else volumes_of(settings)
    writer = configparser.RawConfigParser()
    writer["global"] = without_folders(settings) if given.no_folders else settings
    with given.target.open("w", encoding="utf-8") as handle:
        writer.write(handle)
    sys.stdout.write("".join(f"{line}\n" for line in printed if line))


if __name__ == "__main__":
    main()
