"""Documents lead somewhere: their links, the files they name and the results they quote exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path for folder in ("docs", "deploy", "results") for path in (ROOT / folder).rglob("*.md")
) + sorted(ROOT.glob("*.md"))
FENCED = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
NAMED = re.compile(r"`((?:\./|\.\./)?[\w@.*-]+(?:/[\w@.*-]+)*/?)`")
TRACKED_FOLDERS = {path.parts[len(ROOT.parts)] for path in ROOT.glob("*/*")}
MADE_BY_PROGRAMS = ("demo/out",)  # named, but not kept in the repository


def prose(document: Path) -> str:
    """The text without its blocks of commands."""
    return FENCED.sub("", document.read_text(encoding="utf-8"))


def anchors(document: Path) -> set[str]:
    """What the headings are called in links, by GitHub's rule."""
    heads = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.strip().lower()).replace(" ", "-") for head in heads}


def broken_links(document: Path) -> Iterator[str]:
    for link in LINK.findall(prose(document)):
        if "://" in link or link.startswith("mailto:"):
            continue
        place, _, anchor = link.partition("#")
        target = document.parent / place if place else document
        in_text = anchor and target.suffix == ".md"
        if not target.exists() or (in_text and anchor not in anchors(target)):
            yield link


def paths_of_ours(document: Path) -> Iterator[str]:
    """What stands in backticks and begins with a folder of the repository."""
    for name in NAMED.findall(prose(document)):
        folder, slash, _ = name.partition("/")
        if slash and folder in TRACKED_FOLDERS and not name.startswith(MADE_BY_PROGRAMS):
            yield name


def is_there(name: str) -> bool:
    return any(ROOT.glob(name.rstrip("/")))


def test_there_are_documents_links_and_paths_to_check() -> None:
    assert len(DOCUMENTS) > 20
    assert len(set(paths_of_ours(ROOT / "README.md"))) > 10
    assert "keys" in anchors(ROOT / "deploy/README.md")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(document) -> None:
    assert list(broken_links(document)) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_of_ours_that_is_named_exists(document) -> None:
    named = set(paths_of_ours(document))
    assert sorted(n for n in named if not n.startswith("results/") and not is_there(n)) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_result_that_is_quoted_was_recorded(document) -> None:
    named = set(paths_of_ours(document))
    assert sorted(n for n in named if n.startswith("results/") and not is_there(n)) == []


@pytest.mark.parametrize(
    "folder", sorted(path.name for path in (ROOT / "deploy").iterdir() if path.is_dir())
)
def test_the_operators_table_of_contents_has_every_folder(folder) -> None:
    if folder != "__pycache__":
        assert f"`{folder}/" in (ROOT / "deploy" / "README.md").read_text(encoding="utf-8")
