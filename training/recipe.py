"""Training recipes: YAML files read into frozen records; every key is required, none is guessed."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError

from crossfix.errors import RecipeError
from crossfix.manifest import StrictModel
from crossfix.view import Rgb, ViewName, ViewSpec

MODEL_FILE = "encoder.onnx"
_SHARE = Field(ge=0, le=1)


class ModelRecipe(StrictModel):
    """The network.

    Attributes:
        name: a timm model name.
        kwargs: passed to timm as they are (depths, dims, kernel_sizes, ...).
        embedding_dim: of a linear projection; null keeps the pooled features.
        orientation_maps: adds three input channels holding each pixel's compass direction and
            distance (Liu and Li, CVPR 2019, "Lending Orientation to Neural Networks").
    """

    name: str
    kwargs: dict[str, Any]
    pretrained: bool
    embedding_dim: int | None = Field(gt=0)
    orientation_maps: bool


class DataRecipe(StrictModel):
    """What the views are, and how tiles are cut around the truth.

    Attributes:
        query_views: which kinds of photos are trained on.
        tile_offset_share: the truth lies uniformly in a disc of this many tile sides round the
            tile's centre.
        tile_scale_jitter: tiles are this share larger or smaller at random.
        validation_towns: towns held out of `--data` when no `--val` is given.
    """

    query_views: tuple[ViewName, ...] = Field(min_length=1)
    tile_size_m: float = Field(gt=0)
    tile_px: int = Field(gt=0)
    tile_offset_share: float = Field(ge=0, le=0.5)
    tile_scale_jitter: float = Field(ge=0, lt=1)
    ground_height_px: int = Field(gt=0)
    ground_width_px: int = Field(gt=0)
    ground_elevation_top_deg: float
    ground_elevation_bottom_deg: float
    drone_px: int = Field(gt=0)
    mean: Rgb
    std: Rgb
    interpolation: Literal["bicubic", "bilinear"]
    validation_towns: int = Field(ge=0)


class AugmentationRecipe(StrictModel):
    """Probabilities are per sample; `colour` draws are independent for photo and tile.

    Attributes:
        colour_strength: half-range of brightness, contrast, saturation, channel gains and gamma.
        dropout_cells: side of the grid of which `dropout_share` cells are blanked.
        limited_view_probability: a panorama keeps only a window of azimuths (street photos).
        heading_noise_deg: half-range of a random roll of ground photos (compass error).
        drone_zoom_min: smallest share of a drone photo's side that a random crop keeps.
    """

    flip_probability: float = _SHARE
    rotate_probability: float = _SHARE
    colour_probability: float = _SHARE
    colour_strength: float = _SHARE
    gray_probability: float = _SHARE
    blur_probability: float = _SHARE
    dropout_probability: float = _SHARE
    dropout_share: float = _SHARE
    dropout_cells: int = Field(gt=0)
    limited_view_probability: float = _SHARE
    limited_view_min_deg: float = Field(gt=0, le=360)
    limited_view_max_deg: float = Field(gt=0, le=360)
    heading_noise_deg: float = Field(ge=0, le=180)
    drone_zoom_min: float = Field(gt=0, le=1)


class SamplingRecipe(StrictModel):
    """How batches are put together (Sample4Geo, ICCV 2023, section 3.2).

    Attributes:
        strategy: `random`; `gps`: geographic neighbours; `gps_then_dss`: neighbours by embedding
            similarity once there is a trained encoder.
        start_epoch: epochs of random batches before the strategy begins.
        neighbour_select: neighbours added per anchor, half nearest, half drawn from the rest.
        neighbour_range: how many neighbours are considered.
        refresh_every: epochs between similarity passes; the first `refresh_every` use GPS.
        exclude_within_m: photos nearer than this to each other never share a batch, because
            their tiles show the same ground and are no negatives.
    """

    batch_size: int = Field(ge=2)
    strategy: Literal["random", "gps", "gps_then_dss"]
    start_epoch: int = Field(ge=0)
    neighbour_select: int = Field(ge=0)
    neighbour_range: int = Field(ge=0)
    refresh_every: int = Field(ge=1)
    exclude_within_m: float = Field(ge=0)


class LossRecipe(StrictModel):
    """Symmetric InfoNCE."""

    label_smoothing: float = Field(ge=0, lt=1)
    initial_temperature: float = Field(gt=0)
    max_scale: float = Field(gt=1)


class OptimiserRecipe(StrictModel):
    """AdamW; biases, norms and the temperature are not decayed."""

    lr: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    beta2: float = Field(gt=0, lt=1)
    clip_norm: float = Field(gt=0)


class ScheduleRecipe(StrictModel):
    """Linear warm-up, then a cosine down to `final_lr_share` of the rate."""

    epochs: int = Field(ge=1)
    warmup_steps: int = Field(ge=0)
    final_lr_share: float = _SHARE


class RuntimeRecipe(StrictModel):
    """Where and how it runs.

    Attributes:
        max_minutes: a time budget the schedule is fitted into, or null.
        ema_decay: of the averaged weights that are evaluated and exported, or null.
        collapse_after_steps: the loss must have left ln(batch) by then; 0 switches the guard off.
    """

    seed: int
    device: Literal["auto", "cpu", "cuda"]
    threads: int = Field(ge=0)
    precision: Literal["bf16", "fp32"]
    channels_last: bool
    max_minutes: float | None = Field(gt=0)
    checkpoint_minutes: float = Field(gt=0)
    evaluate_every: int = Field(ge=0)
    ema_decay: float | None = Field(ge=0, lt=1)
    collapse_after_steps: int = Field(ge=0)


class Recipe(StrictModel):
    """Everything that decides a training run, besides the data."""

    name: str
    model: ModelRecipe
    data: DataRecipe
    augmentation: AugmentationRecipe
    sampling: SamplingRecipe
    loss: LossRecipe
    optimiser: OptimiserRecipe
    schedule: ScheduleRecipe
    runtime: RuntimeRecipe

    def views(self) -> dict[ViewName, ViewSpec]:
        """The preprocessing of the satellite view and of each query view."""
        specs = {"satellite": self._satellite, "ground": self._ground, "drone": self._drone}
        return {name: specs[name]() for name in ("satellite", *self.data.query_views)}

    def _satellite(self) -> ViewSpec:
        return self._spec(
            "satellite", self.data.tile_px, self.data.tile_px,
            projection="nadir", fit="squash", heading="north_up",
        )  # fmt: skip

    def _ground(self) -> ViewSpec:
        return self._spec(
            "ground", self.data.ground_height_px, self.data.ground_width_px,
            projection="equirectangular", fit="panorama_canvas", heading="north_centre",
            elevation_top_deg=self.data.ground_elevation_top_deg,
            elevation_bottom_deg=self.data.ground_elevation_bottom_deg,
        )  # fmt: skip

    def _drone(self) -> ViewSpec:
        return self._spec(
            "drone", self.data.drone_px, self.data.drone_px,
            projection="oblique", fit="center_crop", heading="any",
        )  # fmt: skip

    def _spec(self, view: ViewName, height_px: int, width_px: int, **rest: Any) -> ViewSpec:  # noqa: ANN401
        return ViewSpec(
            view=view, model_file=MODEL_FILE, height_px=height_px, width_px=width_px,
            mean=self.data.mean, std=self.data.std, interpolation=self.data.interpolation, **rest,
        )  # fmt: skip


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe file.

    Args:
        path: a YAML file with all keys of `Recipe`.
        overrides: `group.key=value`, values in YAML spelling.

    Raises:
        RecipeError: not readable, an unknown or missing key, or an impossible value.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as problem:
        raise RecipeError(
            f"recipe {path} cannot be read as YAML", hint="give an existing recipe file"
        ) from problem
    if not isinstance(content, dict):
        raise RecipeError(f"recipe {path} is not a mapping", hint="start from recipes/demo.yaml")
    for override in overrides:
        _apply_override(content, override)
    return recipe_of(content, source=str(path))


def recipe_of(content: Mapping[str, Any], *, source: str) -> Recipe:
    """Checks a mapping and freezes it.

    Raises:
        RecipeError: naming the first wrong key.
    """
    try:
        return Recipe.model_validate(dict(content))
    except ValidationError as problem:
        first = problem.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        what = {"missing": "is missing", "extra_forbidden": "is not known"}.get(
            first["type"], f"is wrong: {first['msg']}"
        )
        raise RecipeError(
            f"recipe {source}: key {key} {what}", hint="compare with recipes/demo.yaml"
        ) from problem


def _apply_override(content: dict[str, Any], override: str) -> None:
    name, separator, text = override.partition("=")
    *groups, key = name.split(".")
    target: Any = content
    for group in groups:
        target = target.get(group) if isinstance(target, dict) else None
    if not separator or not isinstance(target, dict):
        raise RecipeError(
            f"override {override!r} names no key of the recipe", hint="write group.key=value"
        )
    target[key] = yaml.load(text, _NumberLoader)


class _NumberLoader(yaml.SafeLoader):
    """YAML 1.1 reads 3e-3 as text; people who type it mean a number."""


_NumberLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", __import__("re").compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)  # fmt: skip


def run_record(recipe: Recipe) -> dict[str, Any]:
    """The resolved recipe with the code's revision and the libraries' versions, as JSON."""
    libraries = ("torch", "timm", "numpy", "pillow", "onnx", "onnxruntime")
    return {
        "recipe": recipe.model_dump(mode="json"),
        "revision": git_revision(),
        "libraries": dict(_versions(libraries)),
    }


def git_revision() -> str:
    """The checkout's commit, with `-dirty` when files differ; `unknown` outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def _versions(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        try:
            yield name, version(name)
        except ModuleNotFoundError:
            yield name, "absent"
