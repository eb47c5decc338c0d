"""`answer.txt` of the 160k challenge: per line of the query list ten gallery names, best first."""

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossfix.errors import DataError
from crossfix.matches import Matches
from crossfix.ranking import rank_queries
from training.datasets.university_160k import Challenge160k
from training.embedding import EmbedImages

NAMES_PER_LINE = 10
FILE, ARCHIVE_ENDING = "answer.txt", ".zip"


def best_ten(challenge: Challenge160k, embed: EmbedImages) -> NDArray[np.int64]:
    """(Q, 10) gallery indices of each query, best first; of equals the lower index first.

    Raises:
        DataError: an image cannot be read, or the gallery has fewer than ten.
        BrokenEmbeddings: they are not finite.
    """
    if len(challenge.gallery) < NAMES_PER_LINE:
        raise DataError(
            f"the gallery has {len(challenge.gallery)} images, and an answer names "
            f"{NAMES_PER_LINE} per query",
            hint="unpack the whole gallery_satellite_160k",
        )
    unknown = Matches.from_lists([[]] * len(challenge.queries))
    queries, gallery = embed(challenge.queries), embed(challenge.gallery)
    return rank_queries(queries, gallery, unknown, top=NAMES_PER_LINE).top_indices


def make_room(path: Path) -> None:
    """Makes the folder of an answer; told before hours of embedding, not after.

    Raises:
        DataError: an answer and its archive cannot be written there.
    """
    if path.suffix.lower() == ARCHIVE_ENDING:
        raise DataError(
            f"{path} would be the archive and its own content",
            hint=f"name the text file, {FILE}; the archive is written beside it",
        )
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for one in (path, path.with_suffix(ARCHIVE_ENDING)):
            existed = one.exists()
            one.open("ab").close()
            if not existed:
                one.unlink()


def write_answer(path: Path, best: NDArray[np.int64], stems: Sequence[str]) -> Path:
    """Writes the lines, and beside the file the archive that is handed in.

    Args:
        best: (Q, 10) indices into `stems`.

    Returns:
        The archive.

    Raises:
        DataError: they cannot be written.
    """
    make_room(path)
    lines = ["\t".join(stems[index] for index in row) for row in best]
    archive = path.with_suffix(ARCHIVE_ENDING)
    with _writing(path):
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
            target.write(path, FILE)
    return archive


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise DataError(
            f"{path} and its archive cannot be written: {problem.strerror}",
            hint="name a file in a folder you may write to",
        ) from problem


def check_answer(path: Path, challenge: Challenge160k) -> None:
    """Whether a file is an answer to the challenge, whoever wrote it.

    Raises:
        DataError: it is not; says which line and why.
    """
    known, expected = set(challenge.stems()), len(challenge.queries)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(f"{path} cannot be read as text", hint="name an answer.txt") from problem
    for number, line in enumerate(lines, 1):
        reason = _problem_of(line, known)
        if reason:
            raise DataError(
                f"line {number} of {path} {reason}",
                hint=f"a line is {NAMES_PER_LINE} names of gallery images without their endings, "
                "best first, with tabs between",
            )
    if len(lines) != expected:
        raise DataError(
            f"{path} has {len(lines)} lines, but the list has {expected} queries",
            hint="an answer has a line for each line of query_drone_name.txt",
        )


def _problem_of(line: str, known: set[str]) -> str:
    names = line.split("\t")
    if len(names) != NAMES_PER_LINE:
        return f"has {len(names)} names"
    if len(set(names)) != len(names):
        return "names an image twice"
    strange = [name for name in names if name not in known]
    return f"names {strange[0]!r}, which is not in the gallery" if strange else ""
