"""What a caller may ask of a rebuild."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from service.rebuild.areas import require_area

RECIPE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*\.(ya?ml|json)$"
MAX_SOURCES = 100
Geometry = dict[str, Any]
Text = Annotated[str, Field(max_length=500)]
SourceName = Annotated[str, Field(min_length=1, max_length=200)]
FileKind = Literal["auto", "raster", "mosaic", "xyz", "tms", "mbtiles", "pmtiles", "table"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OrderedSource(_Strict):
    """One source of imagery below the `rebuild_roots`.

    Attributes:
        location: a file or folder, counted from one of the roots.
    """

    location: str = Field(
        min_length=1,
        max_length=1000,
        description="File or folder of imagery, counted from one of the rebuild_roots.",
    )
    kind: FileKind = Field(default="auto", description="`auto` tells by looking.")
    attribution: Text = Field(default="", description="Whom to credit.")
    licence: Text = Field(default="", description="For example CC-BY-4.0.")
    date: Annotated[str, Field(max_length=60)] = Field(default="", description="As ISO 8601.")
    name: Annotated[str, Field(max_length=200)] = Field(
        default="", description="What its tiles are called; default from the location."
    )
    zoom: int | None = Field(
        default=None, ge=0, le=30, description="Level of a tile set that is read."
    )


class OrderedChanges(_Strict):
    """Changes of the live version; without any, its imagery is looked at for what has changed."""

    add: list[OrderedSource] = Field(
        default=[], max_length=MAX_SOURCES, description="Sources to add."
    )
    remove: list[SourceName] = Field(
        default=[], max_length=MAX_SOURCES, description="Names of sources to remove."
    )
    retire: list[Geometry] = Field(
        default=[],
        max_length=MAX_SOURCES,
        description="GeoJSON polygons; tiles whose centre lies in one are dropped.",
    )
    reread: bool = Field(
        default=False, description="Compare pixels even of files that look unchanged."
    )

    @field_validator("retire")
    @classmethod
    def _retired_are_areas(cls, retire: list[Geometry]) -> list[Geometry]:
        for one in retire:
            require_area(one)
        return retire


class RebuildOrder(_Strict):
    """Exactly one of `recipe`, `sources` and `update`.

    Attributes:
        recipe: file name of a recipe in the folder `rebuild_recipes`.
        sources: imagery below `rebuild_roots`; goes with `tile_sizes_m`, `overlap`, `area`.
        update: changes of the live version.
    """

    recipe: str | None = Field(
        default=None,
        max_length=200,
        pattern=RECIPE_NAME,
        description="File name of a recipe in the folder rebuild_recipes.",
    )
    sources: list[OrderedSource] | None = Field(
        default=None, min_length=1, max_length=MAX_SOURCES, description="Imagery of the gallery."
    )
    tile_sizes_m: list[Annotated[float, Field(ge=1, le=20_000)]] = Field(
        default=[], max_length=20, description="Sides of tiles on the ground, in metres."
    )
    overlap: float | None = Field(
        default=None,
        ge=0,
        le=0.95,
        description="Share of the side shared with the neighbour; default 0.5.",
    )
    area: Geometry | None = Field(
        default=None, description="GeoJSON polygon; only tiles that touch it are made."
    )
    update: OrderedChanges | None = Field(default=None, description="Changes of the live version.")

    @field_validator("area")
    @classmethod
    def _area_is_one(cls, area: Geometry | None) -> Geometry | None:
        if area is not None:
            require_area(area)
        return area

    @model_validator(mode="after")
    def _one_form(self) -> "RebuildOrder":
        forms = [self.recipe, self.sources, self.update]
        if sum(form is not None for form in forms) != 1:
            raise ValueError("give exactly one of recipe, sources and update")
        told = self.tile_sizes_m or self.overlap is not None or self.area is not None
        if told and self.sources is None:
            raise ValueError("tile_sizes_m, overlap and area go with sources")
        return self

    @property
    def is_trusted(self) -> bool:
        """Whether an operator wrote what it names: a recipe may name any imagery."""
        return self.recipe is not None


def inline_schema(model: type[BaseModel]) -> dict[str, Any]:
    """A model's JSON schema without references, for a body that FastAPI does not read itself."""
    schema = model.model_json_schema()
    parts = schema.pop("$defs", {})

    def resolve(node: Any) -> Any:  # noqa: ANN401 - any JSON value
        if isinstance(node, list):
            return [resolve(one) for one in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            named = parts[str(node["$ref"]).rpartition("/")[2]]
            return resolve({**named, **{k: v for k, v in node.items() if k != "$ref"}})
        return {name: resolve(one) for name, one in node.items()}

    resolved: dict[str, Any] = resolve(schema)
    return resolved
