"""What a gallery is made of, as data: sources, tiling, area and the index asked for."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator

from crossfix.errors import InvalidParameter, RecipeError
from crossfix.gallery_manifest import IndexKind
from crossfix.manifest import ModelT, StrictModel
from index_builder.sources.confinement import ANYWHERE, Confinement
from index_builder.sources.grid.area import Area
from index_builder.sources.grid.tiling import check_tile_size, stride_share
from index_builder.sources.opening import name_sources
from index_builder.sources.spec import SourceSpec


class IndexRequest(StrictModel):
    """How the gallery shall be searched.

    Attributes:
        kind: `auto` chooses by the number of tiles and the memory.
        recall_at_10: share of the ten best tiles an approximate index must find.
        memory_gb: what the searching machine may spend on the index; None is no limit.
    """

    kind: IndexKind | Literal["auto"] = "auto"
    recall_at_10: float = Field(default=0.99, gt=0, le=1)
    memory_gb: float | None = Field(default=None, gt=0)


class GalleryRecipe(StrictModel):
    """Everything that decides which tiles a gallery holds; stored in every version.

    Attributes:
        tile_sizes_m: sides on the ground; several make a pyramid of scales. Empty where every
            source has sizes of its own.
        overlap: share of the side shared with the neighbour, 0..0.95.
        area: GeoJSON geometry; only tiles that touch it are made.
        retired: GeoJSON geometries; tiles whose centre lies in one are left out.
    """

    sources: tuple[SourceSpec, ...] = Field(min_length=1)
    tile_sizes_m: tuple[float, ...] = ()
    overlap: float = 0.5
    area: dict[str, Any] | None = None
    retired: tuple[dict[str, Any], ...] = ()
    index: IndexRequest = IndexRequest()

    @field_validator("tile_sizes_m")
    @classmethod
    def _sizes_usable(cls, sizes: tuple[float, ...]) -> tuple[float, ...]:
        for size in sizes:
            check_tile_size(size)
        return tuple(sorted(set(sizes)))

    @field_validator("sources")
    @classmethod
    def _names_differ(cls, sources: tuple[SourceSpec, ...]) -> tuple[SourceSpec, ...]:
        names = [spec.name for spec in sources if spec.name]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two sources are called {name!r}")
        return sources

    @field_validator("area")
    @classmethod
    def _area_usable(cls, area: dict[str, Any] | None) -> dict[str, Any] | None:
        if area is not None:
            Area.from_geojson(area)
        return area

    @field_validator("retired")
    @classmethod
    def _retired_usable(cls, retired: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        for one in retired:
            Area.from_geojson(one)
        return retired

    @field_validator("overlap")
    @classmethod
    def _overlap_usable(cls, overlap: float) -> float:
        stride_share(overlap)
        return overlap

    def read_area(self) -> Area | None:
        """The area of interest; None is everywhere."""
        return None if self.area is None else Area.from_geojson(self.area)

    def read_retired(self) -> list[Area]:
        """What is left out."""
        return [Area.from_geojson(one) for one in self.retired]


_AREAS = ("area", "retired", "retire")


class _Loader(yaml.SafeLoader):
    """Reads `2024-05-01` as the text it is."""


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_recipe(path: Path, within: Confinement = ANYWHERE) -> GalleryRecipe:
    """Reads a recipe from YAML (or JSON, which is YAML); relative paths count from its folder.

    `area` and `retired` may name GeoJSON files instead of holding geometries.

    Args:
        within: where files that it names must lie.

    Raises:
        RecipeError: not YAML, an unknown key or an impossible value; names it.
        SourceError: a file that it names lies outside.
    """
    recipe = read_document(path, GalleryRecipe, what="recipe", within=within)
    return recipe.model_copy(update={"sources": settle_sources(recipe.sources, path.parent)})


def read_document(
    path: Path, model: type[ModelT], *, what: str, within: Confinement = ANYWHERE
) -> ModelT:
    """Reads a YAML file, or a `.json` one, into a model; areas may be names of GeoJSON files.

    Args:
        what: what messages call it.

    Raises:
        RecipeError: not YAML or JSON, an unknown key or an impossible value; names it.
        SourceError: a file that it names lies outside.
    """
    value = _read_value(path, what)
    try:
        return model.model_validate(_with_areas_read(value, path.parent, within))
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise RecipeError(
            f"{what} {path} is not valid: {where}: {first['msg']}",
            hint="docs/galleries.md lists every key",
        ) from problem
    except InvalidParameter as problem:
        raise RecipeError(f"{what} {path} is not valid: {problem}", hint=problem.hint) from problem


def _read_value(path: Path, what: str) -> Any:  # noqa: ANN401 - whatever the file holds
    """What is wrong is told by its line and column only: the line itself may hold a secret."""
    kind = "JSON" if path.suffix.lower() == ".json" else "YAML"
    try:
        text = path.read_text(encoding="utf-8-sig")
        # YAML 1.1 reads some of JSON's numbers as texts, and not all of its texts.
        return (
            json.loads(text, parse_constant=_refuse_constant)
            if kind == "JSON"
            else yaml.load(text, _Loader)
        )
    except OSError as problem:
        reason = f"cannot be read: {problem.strerror}"
        raise RecipeError(f"{what} {path} {reason}", hint=f"give a {kind} file") from problem
    except (ValueError, yaml.YAMLError, RecursionError) as problem:
        raise RecipeError(
            f"{what} {path} cannot be read: it is not {kind}{_place_of(problem)}",
            hint=f"give {kind}",
        ) from problem


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _place_of(problem: Exception) -> str:
    if isinstance(problem, json.JSONDecodeError):
        return f", line {problem.lineno}, column {problem.colno}"
    mark = getattr(problem, "problem_mark", None)
    return f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""


def _with_areas_read(value: Any, folder: Path, within: Confinement) -> Any:  # noqa: ANN401 - whatever YAML held
    if not isinstance(value, dict):
        return value

    def read(one: Any) -> Any:  # noqa: ANN401
        return read_geometry(folder / one, within) if isinstance(one, str) else one

    known = {name: value[name] for name in _AREAS if name in value}
    return value | {
        name: [read(one) for one in given] if isinstance(given, list) else read(given)
        for name, given in known.items()
    }


def read_geometry(path: Path, within: Confinement = ANYWHERE) -> dict[str, Any]:
    """A GeoJSON file of polygons, checked.

    Raises:
        InvalidParameter: not there, not GeoJSON, or something else than polygons.
        SourceError: it lies outside.
    """
    within.check(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
        Area.from_geojson(value)
    except (OSError, ValueError, RecursionError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "it is not JSON"
        raise InvalidParameter(
            f"area {path} cannot be read: {reason}", hint="give a GeoJSON file of polygons"
        ) from problem
    except InvalidParameter as problem:
        raise InvalidParameter(f"area {path}: {problem}", hint=problem.hint) from problem
    geometry: dict[str, Any] = value
    return geometry


def place_sources(sources: Sequence[SourceSpec], folder: Path) -> tuple[SourceSpec, ...]:
    """Sources with absolute paths; relative ones count from the folder."""
    return tuple(
        spec.model_copy(
            update={
                "location": _absolute(spec.location, folder),
                "cache": _absolute(spec.cache, folder) if spec.cache else "",
            }
        )
        for spec in sources
    )


def settle_sources(
    sources: Sequence[SourceSpec], folder: Path, *, taken: Sequence[str] = ()
) -> tuple[SourceSpec, ...]:
    """Sources as a recipe keeps them: paths absolute, names given and different.

    So a later update finds them from any folder, and a source keeps its name, and its tiles their
    ids, when others come and go.

    Args:
        folder: what relative paths count from.
        taken: names of sources that are there already.
    """
    placed = place_sources(sources, folder)
    names = name_sources(placed, taken)
    return tuple(
        spec.model_copy(update={"name": name}) for spec, name in zip(placed, names, strict=True)
    )


def _absolute(location: str, folder: Path) -> str:
    if "://" in location:
        return location
    return os.path.abspath(folder / Path(location).expanduser())
