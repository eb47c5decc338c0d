"""Prints what an image needs: `python3 requirements_of.py pyproject.toml cpu serve`.

Run inside a build, where nothing but Python is at hand.
"""

import sys
import tomllib
from pathlib import Path


def requirements_of(pyproject: Path, extras: list[str]) -> list[str]:
    """The project's own requirements and those of `extras`, sorted, each once.

    Raises:
        SystemExit: there is no such extra.
    """
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    known = project["optional-dependencies"]
    if missing := [extra for extra in extras if extra not in known]:
        raise SystemExit(f"{pyproject} has no extra {missing[0]!r}; it has {', '.join(known)}")
    return sorted(
        set(project["dependencies"]).union(*(known[extra] for extra in extras)), key=str.lower
    )


if __name__ == "__main__":
    for wanted in requirements_of(Path(sys.argv[1]), sys.argv[2:]):
        sys.stdout.write(f"{wanted}\n")
