"""The builder's sentences without the paths of this machine."""

import re
from collections.abc import Iterable
from pathlib import Path

_ABSOLUTE = re.compile(r"(?<![\w./:-])/(?:[^\s/'\",;:()]+/)+")
LONGEST = 500


class PathScrubber:
    """Replaces folders by what a caller may know of them.

    Args:
        hidden: folders, and what they are called instead; the longest path goes first.
    """

    def __init__(self, hidden: Iterable[tuple[Path, str]]) -> None:
        spelled = {
            (str(form), name) for path, name in hidden for form in (path.absolute(), _real(path))
        }
        self._hidden = sorted(
            ((path, name) for path, name in spelled if path != "/"),
            key=lambda pair: -len(pair[0]),
        )

    def clean(self, sentence: str) -> str:
        """One line, at most `LONGEST` letters; of unknown absolute paths only the last part."""
        text = " ".join(sentence.split())
        for path, name in self._hidden:
            below = f"{name}/" if name else ""
            text = text.replace(f"{path}/", below)
            text = re.sub(rf"{re.escape(path)}(?![\w.-])", name or "the folder", text)
        text = _ABSOLUTE.sub("", text)
        return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _real(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path.absolute()
