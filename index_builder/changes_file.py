"""Changes of a gallery as a file: what the flags of `update` say, and more about each source."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossfix.manifest import StrictModel
from index_builder.recipe import IndexRequest, place_sources, read_document
from index_builder.sources.confinement import ANYWHERE, Confinement
from index_builder.sources.spec import SourceSpec
from index_builder.update import Changes


class ChangesDocument(StrictModel):
    """Keys as the attributes of `Changes`; `reread` as in `UpdateRequest`."""

    add: tuple[SourceSpec, ...] = ()
    remove: tuple[str, ...] = ()
    retire: tuple[dict[str, Any], ...] = ()
    restore: bool = False
    area: dict[str, Any] | None = None
    everywhere: bool = False
    index: IndexRequest | None = None
    reread: bool = False


@dataclass(frozen=True)
class ReadChanges:
    """What a file of changes says."""

    changes: Changes
    reread: bool


def read_changes(path: Path, within: Confinement = ANYWHERE) -> ReadChanges:
    """Reads changes from YAML or JSON; relative paths count from its folder.

    `area` and `retire` may name GeoJSON files instead of holding geometries.

    Args:
        within: where files that it names must lie.

    Raises:
        RecipeError: not YAML, an unknown key or an impossible value; names it.
        SourceError: a file that it names lies outside.
    """
    told = read_document(path, ChangesDocument, what="changes", within=within)
    changes = Changes(
        add=place_sources(told.add, path.parent),
        remove=told.remove,
        retire=told.retire,
        restore=told.restore,
        area=told.area,
        everywhere=told.everywhere,
        index=told.index,
    )
    return ReadChanges(changes, told.reread)
