"""From what was typed to what shall be done."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crossfix.errors import InvalidParameter
from index_builder.arguments import INDEX_KINDS
from index_builder.build import BuildRequest
from index_builder.changes_file import read_changes
from index_builder.recipe import (
    GalleryRecipe,
    IndexRequest,
    read_geometry,
    read_recipe,
    settle_sources,
)
from index_builder.sources.confinement import Confinement
from index_builder.sources.spec import DATE_HINT, SourceSpec, is_iso_date
from index_builder.update import Changes, UpdateRequest

_OF_THE_RECIPE = {
    "sources": "--source", "tile_sizes_m": "--tile-size-m", "overlap": "--overlap",
    "area": "--area", "attribution": "--attribution", "licence": "--licence", "date": "--date",
    "kind": "--kind", "zoom": "--zoom", "requests_per_s": "--requests-per-s", "cache": "--cache",
    "index": "--index", "recall": "--recall", "index_memory_gb": "--index-memory-gb",
}  # fmt: skip
_OF_A_SOURCE = ("attribution", "licence", "date", "kind", "zoom", "requests_per_s", "cache")


def build_request(arguments: argparse.Namespace, *, out: Path) -> BuildRequest:
    """What `plan` and `build` ask for.

    Raises:
        InvalidParameter: impossible values, or a recipe and flags that belong in it.
        RecipeError: the recipe's file is wrong.
    """
    return BuildRequest(
        encoder_dir=arguments.encoder,
        recipe=_recipe(arguments),
        out=out,
        keep=getattr(arguments, "keep", 3),
        shards=getattr(arguments, "shards", 1),
        within=_within(arguments),
        **_running(arguments),
    )


def update_request(arguments: argparse.Namespace) -> UpdateRequest:
    """What `update` asks for.

    Raises:
        InvalidParameter: impossible values, or flags that need another one.
    """
    within = _within(arguments)
    changes, reread = _changes(arguments, within), bool(arguments.reread)
    if arguments.changes is not None:
        if changes != Changes() or reread:
            raise InvalidParameter(
                "--changes cannot be combined with other changes", hint="write them into the file"
            )
        told = read_changes(arguments.changes, within)
        changes, reread = told.changes, told.reread
    return UpdateRequest(
        encoder_dir=arguments.encoder,
        gallery=arguments.gallery,
        changes=changes,
        keep=arguments.keep,
        reread=reread,
        shards=_shards_of_update(arguments.shards),
        within=within,
        **_running(arguments),
    )


def _changes(arguments: argparse.Namespace, within: Confinement) -> Changes:
    if not arguments.sources:
        _refuse_given(arguments, _OF_A_SOURCE, "goes with --add-source", "name a source to add")
    return Changes(
        add=tuple(_sources(arguments)),
        remove=tuple(arguments.remove_source),
        retire=tuple(read_geometry(path, within) for path in arguments.retire),
        restore=arguments.restore,
        area=None if arguments.area is None else read_geometry(arguments.area, within),
        everywhere=arguments.everywhere,
        index=_index(arguments),
    )


def _shards_of_update(count: int) -> int:
    if count < 0:
        raise InvalidParameter(f"--shards {count} is not a number of shards", hint="give 2 or more")
    return count


def _within(arguments: argparse.Namespace) -> Confinement:
    roots = getattr(arguments, "within", [])
    if roots and arguments.engine != "local":
        raise InvalidParameter(
            "--within goes with --engine local only: other machines have other files",
            hint="leave one of them out",
        )
    return Confinement.of(tuple(roots))


def _running(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "skip_unreadable": arguments.skip_unreadable,
        "readers": arguments.readers,
        "threads": arguments.threads,
        "device": arguments.device,
        "batch_size": arguments.batch_size,
        "engine": arguments.engine,
        "ray_address": arguments.ray_address,
        "workers": arguments.workers,
    }


def _recipe(arguments: argparse.Namespace) -> GalleryRecipe:
    if arguments.recipe is not None:
        _refuse_given(
            arguments, tuple(_OF_THE_RECIPE), "cannot be combined with --recipe",
            "write it into the recipe",
        )  # fmt: skip
        return read_recipe(arguments.recipe, _within(arguments))
    if not arguments.sources:
        raise InvalidParameter("no imagery was named", hint="give --source, or --recipe")
    return GalleryRecipe(
        sources=settle_sources(_sources(arguments), Path.cwd()),
        tile_sizes_m=tuple(arguments.tile_sizes_m or ()),
        overlap=0.5 if arguments.overlap is None else arguments.overlap,
        area=None if arguments.area is None else read_geometry(arguments.area, _within(arguments)),
        index=_index(arguments) or IndexRequest(),
    )


def _refuse_given(
    arguments: argparse.Namespace, names: Sequence[str], what: str, hint: str
) -> None:
    for name in names:
        if getattr(arguments, name) is not None and getattr(arguments, name) != []:
            raise InvalidParameter(f"{_OF_THE_RECIPE[name]} {what}", hint=hint)


def _sources(arguments: argparse.Namespace) -> list[SourceSpec]:
    said = {
        name: getattr(arguments, name)
        for name in _OF_A_SOURCE
        if getattr(arguments, name) is not None
    }
    _check_range("--zoom", said.get("zoom"), 0, 30)
    _check_range("--requests-per-s", said.get("requests_per_s"), 1e-6, 1000)
    if not is_iso_date(said.get("date", "")):
        raise InvalidParameter(f"--date {said['date']} is no date", hint=DATE_HINT)
    return [SourceSpec(location=location, **said) for location in arguments.sources if location]


def _index(arguments: argparse.Namespace) -> IndexRequest | None:
    """None where nothing was said about searching."""
    said = {
        "kind": None if arguments.index is None else INDEX_KINDS[arguments.index],
        "recall_at_10": arguments.recall,
        "memory_gb": arguments.index_memory_gb,
    }
    given = {name: value for name, value in said.items() if value is not None}
    _check_range("--recall", arguments.recall, 1e-9, 1)
    _check_range("--index-memory-gb", arguments.index_memory_gb, 1e-9, 1e9)
    return IndexRequest(**given) if given else None


def _check_range(flag: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise InvalidParameter(
            f"{flag} {value:g} is out of range", hint=f"give {low:g} to {high:g}"
        )
