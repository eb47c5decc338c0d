"""What a gallery is made of, as data: sources, tiling, area and the index asked for."""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator

from crossfix.errors import RecipeError
from crossfix.gallery_manifest import IndexKind
from crossfix.manifest import StrictModel
from index_builder.sources.area import Area
from index_builder.sources.spec import SourceSpec
from index_builder.sources.tiling import check_tile_size, stride_share


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


def read_recipe(path: Path) -> GalleryRecipe:
    """Reads a recipe from YAML (or JSON, which is YAML); relative paths count from its folder.

    Raises:
        RecipeError: not YAML, an unknown key or an impossible value; names it.
    """
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
        return GalleryRecipe.model_validate(value)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
        raise RecipeError(f"recipe {path} cannot be read: {problem}", hint="give YAML") from problem
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise RecipeError(
            f"recipe {path} is not valid: {where}: {first['msg']}",
            hint="docs/galleries.md lists every key",
        ) from problem
