"""Training recipes as frozen records: every key is required, none is guessed."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from crossfix.manifest import StrictModel
from crossfix.view import Interpolation, Rgb, ViewName, ViewSpec
from training.recipe_losses import LossRecipe, turns_tiles
from training.recipe_network import ModelRecipe
from training.recipe_optimiser import OptimiserRecipe, ScheduleRecipe
from training.recipe_tiles import PolarTiles, TileCrop

MODEL_FILE = "encoder.onnx"

Mode = Literal["correct", "paper"]
DatasetName = Literal[
    "sample_world", "cvusa", "cvact", "vigor_same_area", "vigor_cross_area", "university1652"
]
_SHARE = Field(ge=0, le=1)


class TownRecipe(StrictModel):
    """How tiles are cut from the satellite images of `sample_world` towns.

    Attributes:
        tile_offset_share: the truth lies uniformly in a disc of this many tile sides round the
            tile's centre.
        tile_scale_jitter: tiles are this share larger or smaller at random.
        validation_towns: towns held out of `--data` when no `--val` is given.
    """

    tile_size_m: float = Field(gt=0)
    tile_offset_share: float = Field(ge=0, le=0.5)
    tile_scale_jitter: float = Field(ge=0, lt=1)
    validation_towns: int = Field(ge=0)


class DataRecipe(StrictModel):
    """What data set is read, and what its views look like to the encoder.

    Attributes:
        dataset: which reader (`training.datasets.registry`).
        query_views: which kinds of photos are trained on.
        ground_kind: `panorama`, north in the centre; `street`: perspective, heading unknown.
        ground_elevation_top_deg, ground_elevation_bottom_deg: what the panoramas show; not used
            for `street`.
        validation_share: of the training tiles, held out to choose the best weights by; towns
            have `validation_towns` instead.
        add_mirrored: evaluation adds to each image's features those of its mirror image
            (University-1652's test); an exported encoder does not.
        mean, std: per channel, in units of 0..1: pixel values p of 0..255 become
            (p / 255 - mean) / std. A std of 1/255 subtracts the mean from 0..255 and divides by
            nothing.
        tile_crop: cuts a random centred square out of training tiles, or null.
        polar_tiles: reads satellite tiles from polar files in training and evaluation, or null.
        google_photos: the street view of University-1652 is trained on `train/google`, too.
        towns: for `sample_world` only, null for the others.
    """

    dataset: DatasetName
    query_views: tuple[ViewName, ...] = Field(min_length=1)
    tile_px: int = Field(gt=0)
    ground_kind: Literal["panorama", "street"]
    ground_height_px: int = Field(gt=0)
    ground_width_px: int = Field(gt=0)
    ground_elevation_top_deg: float
    ground_elevation_bottom_deg: float
    drone_px: int = Field(gt=0)
    mean: Rgb
    std: Rgb
    interpolation: Interpolation
    validation_share: float = Field(ge=0, lt=1)
    add_mirrored: bool
    google_photos: bool
    tile_crop: TileCrop | None
    polar_tiles: PolarTiles | None
    towns: TownRecipe | None

    @model_validator(mode="after")
    def _towns_belong_to_the_sample_world(self) -> Self:
        if (self.dataset == "sample_world") != (self.towns is not None):
            raise ValueError("data.towns is for sample_world, which needs it; null for the others")
        return self

    @model_validator(mode="after")
    def _google_photos_are_street_photos(self) -> Self:
        street = self.dataset == "university1652" and "ground" in self.query_views
        if self.google_photos and not street:
            raise ValueError("data.google_photos is for university1652 with the ground view")
        return self


class BatchedAugmentation(StrictModel):
    """Our augmentation of whole batches; cheap enough for small images on a CPU.

    Probabilities are per sample; colour draws are independent for photo and tile.

    Attributes:
        colour_strength: half-range of brightness, contrast, saturation, channel gains and gamma.
        dropout_cells: side of the grid of which `dropout_share` cells are blanked.
        limited_view_probability: a panorama keeps only a window of azimuths (street photos).
        heading_noise_deg: half-range of a random roll of ground photos (compass error).
        drone_zoom_min: smallest share of a drone photo's side that a random crop keeps.
    """

    kind: Literal["batched"]
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


class Sample4GeoAugmentation(StrictModel):
    """The published augmentation, image by image at full parameters (official code, 2023).

    Order: flip of both images in step, JPEG compression, resize, colour, blur or sharpen, one of
    two dropouts, turn of both in step. Mode `paper` compresses image files at full size, before
    the resize; all else is compressed after it. Ranges that the recipes never change live with
    the code.

    Attributes:
        rotate_probability: of a synchronous turn by 90, 180 or 270 degrees; 0 for drone data.
        tile_random_turn: the tile alone is turned by a random multiple of 90 degrees
            (University-1652, where drone photos have any heading).
        jpeg_quality_min, jpeg_quality_max: of a recompression.
        colour_strength: half-range of brightness, contrast, saturation and hue.
        blur_or_sharpen_probability, dropout_probability: that one of the two is applied.
        photo_grid_dropout_ratio, tile_grid_dropout_ratio: side of a hole over the grid's unit.
    """

    kind: Literal["sample4geo"]
    flip_probability: float = _SHARE
    rotate_probability: float = _SHARE
    tile_random_turn: bool
    jpeg_probability: float = _SHARE
    jpeg_quality_min: int = Field(ge=1, le=100)
    jpeg_quality_max: int = Field(ge=1, le=100)
    colour_probability: float = _SHARE
    colour_strength: float = Field(ge=0, le=0.5)
    blur_or_sharpen_probability: float = _SHARE
    dropout_probability: float = _SHARE
    photo_grid_dropout_ratio: float = Field(gt=0, lt=1)
    tile_grid_dropout_ratio: float = Field(gt=0, lt=1)


class PadCropAugmentation(StrictModel):
    """That of University-1652's baseline (Zheng et al., ACM MM 2020); photo and tile apart.

    Attributes:
        pad_px: the edge is repeated so far, then an image of the old size is cut out at random.
        tile_turn_deg: tiles are turned by up to so many degrees either way; black outside.
    """

    kind: Literal["pad_crop"]
    pad_px: int = Field(ge=0)
    flip_probability: float = _SHARE
    tile_turn_deg: float = Field(ge=0, le=180)


AugmentationRecipe = Annotated[
    BatchedAugmentation | Sample4GeoAugmentation | PadCropAugmentation, Field(discriminator="kind")
]


class SamplingRecipe(StrictModel):
    """How batches are put together (Sample4Geo, ICCV 2023, section 3.2).

    Attributes:
        batch_size: pairs whose loss is taken together, over all processes.
        strategy: `random`; `gps`: geographic neighbours; `gps_then_dss`: neighbours by embedding
            similarity once there is a trained encoder.
        start_epoch: epochs of random batches before the strategy begins.
        neighbour_select: neighbours added per anchor, half nearest, half drawn from the rest.
        neighbour_range: how many neighbours are considered.
        refresh_every: epochs between similarity passes; the first `refresh_every` use GPS.
        exclude_within_m: photos nearer than this to each other never share a batch, because
            their tiles show the same ground and are no negatives; 0 keeps all.
    """

    batch_size: int = Field(ge=2)
    strategy: Literal["random", "gps", "gps_then_dss"]
    start_epoch: int = Field(ge=0)
    neighbour_select: int = Field(ge=0)
    neighbour_range: int = Field(ge=0)
    refresh_every: int = Field(ge=1)
    exclude_within_m: float = Field(ge=0)


class RuntimeRecipe(StrictModel):
    """Where and how it runs.

    Attributes:
        threads: of torch on a CPU; 0 leaves torch's choice.
        workers: processes that load images; 0 loads in the training process.
        precision: of the network's arithmetic; weights and loss stay in fp32.
        gradient_checkpointing: forgets activations and computes them again.
        compile: `torch.compile` of the network.
        micro_batch: images that pass the network at once, per process; the loss is still taken
            over the whole batch (Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size
            under Memory Limited Setup"). Null: all at once.
        max_minutes: a time budget the schedule is fitted into, or null. A run with a budget
            depends on the machine's speed and is not repeatable to the last bit.
        checkpoint_minutes: between checkpoints; one is also written after every epoch.
        ema_decay: of the averaged weights that are evaluated and exported, or null.
        collapse_after_steps: the loss must by then have left that of embeddings which are all
            alike, ln(batch) for InfoNCE; 0 switches the guard off. Nothing is checked where that
            loss is not known: with a guide, and with some settings of HER.
        log_every_steps: a line of metrics after so many steps.
        pictured_queries: queries drawn with their five best tiles at every evaluation.
    """

    seed: int
    device: Literal["auto", "cpu", "cuda"]
    threads: int = Field(ge=0)
    workers: int = Field(ge=0)
    precision: Literal["bf16", "fp16", "fp32"]
    channels_last: bool
    gradient_checkpointing: bool
    compile: bool
    micro_batch: int | None = Field(gt=0)
    max_minutes: float | None = Field(gt=0)
    checkpoint_minutes: float = Field(gt=0)
    evaluate_every: int = Field(ge=0)
    ema_decay: float | None = Field(ge=0, lt=1)
    collapse_after_steps: int = Field(ge=0)
    log_every_steps: int = Field(ge=1)
    pictured_queries: int = Field(ge=0)


class Recipe(StrictModel):
    """Everything that decides a training run, besides the data.

    Attributes:
        mode: `paper` reproduces the official code's behaviour where it is mistaken, `correct`
            does it right; `docs/training.md` has the table of differences.
    """

    name: str
    mode: Mode
    model: ModelRecipe
    data: DataRecipe
    augmentation: AugmentationRecipe
    sampling: SamplingRecipe
    loss: LossRecipe
    optimiser: OptimiserRecipe
    schedule: ScheduleRecipe
    runtime: RuntimeRecipe

    @model_validator(mode="after")
    def _tiles_are_turned_once(self) -> Self:
        keys = ("tile_random_turn", "tile_turn_deg")
        turning = [key for key in keys if getattr(self.augmentation, key, False)]
        if turning and turns_tiles(self.loss):
            raise ValueError(
                "loss.orientation_weight turns the tiles itself; set "
                f"augmentation.{turning[0]} to {'false' if turning == ['tile_random_turn'] else 0}"
            )
        return self

    @model_validator(mode="after")
    def _polar_tiles_are_for_panoramas(self) -> Self:
        transform, data = self.model.tile_transform, self.data
        panoramas = "ground" in data.query_views and data.ground_kind == "panorama"
        if not panoramas and (transform.kind == "polar" or self.model.guide_weight):
            key = "kind polar" if transform.kind == "polar" else "guide_weight"
            raise ValueError(
                f"model.tile_transform.{key} makes tiles look like panoramas, and no view of the "
                "recipe is one; set it to none, or guide_weight to 0"
            )
        return self

    @model_validator(mode="after")
    def _tiles_come_from_files_that_suit(self) -> Self:
        data, town = self.data, self.data.dataset == "sample_world"
        if data.tile_crop and (town or data.polar_tiles or self.augmentation.kind == "sample4geo"):
            raise ValueError(
                "data.tile_crop is for plain tiles in files and another augmentation than "
                "sample4geo; set it to null"
            )
        if data.polar_tiles is None:
            return self
        transform = self.model.tile_transform
        if town or transform.kind != "polar" or transform.height_px == transform.width_px:
            raise ValueError(
                "data.polar_tiles are files of panoramas' places for a model.tile_transform of "
                "kind polar that is not square; set it to null"
            )
        turning = ("rotate_probability", "tile_random_turn", "tile_turn_deg")
        if turns_tiles(self.loss) or any(getattr(self.augmentation, k, 0) for k in turning):
            raise ValueError(
                "data.polar_tiles cannot be turned; set "
                f"augmentation.{turning[0]} and the like, and loss.orientation_weight, to 0"
            )
        return self

    @property
    def towns(self) -> TownRecipe:
        """The town group; only for recipes of `sample_world`."""
        if self.data.towns is None:
            raise ValueError(f"recipe {self.name} is not of sample_world")
        return self.data.towns

    def views(self) -> dict[ViewName, ViewSpec]:
        """The preprocessing of the satellite view and of each query view."""
        specs = {"satellite": self._satellite, "ground": self._ground, "drone": self._drone}
        return {name: specs[name]() for name in self._view_names()}

    def polar_spec(self) -> ViewSpec:
        """The preprocessing of `data.polar_tiles`: resized to what the transform would give."""
        transform = self.model.tile_transform
        if transform.kind != "polar":
            raise ValueError(f"recipe {self.name} has no polar tiles")
        size = {"height_px": transform.height_px, "width_px": transform.width_px}
        return self._satellite().model_copy(update=size)

    def for_plain_tiles(self) -> "Recipe":
        """The recipe that reads plain tiles, which is what its exported encoder takes."""
        return self.model_copy(update={"data": self.data.model_copy(update={"polar_tiles": None})})

    def _view_names(self) -> tuple[ViewName, ...]:
        return ("satellite", *self.data.query_views)

    def model_file(self, view: ViewName) -> str:
        """The ONNX file that serves a view: one for all, or named after the views it serves."""
        paths = {name: self.model.path_of(name) for name in self._view_names()}
        served = [name for name, path in paths.items() if path == paths[view]]
        return MODEL_FILE if len(served) == len(paths) else f"{'_'.join(served)}.onnx"

    def _satellite(self) -> ViewSpec:
        return self._spec(
            "satellite", self.data.tile_px, self.data.tile_px,
            projection="nadir", fit="squash", heading="north_up",
        )  # fmt: skip

    def _ground(self) -> ViewSpec:
        if self.data.ground_kind == "street":
            return self._spec(
                "ground", self.data.ground_height_px, self.data.ground_width_px,
                projection="oblique", fit="center_crop", heading="any",
            )  # fmt: skip
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
            view=view, model_file=self.model_file(view), height_px=height_px,
            width_px=width_px,
            mean=self.data.mean, std=self.data.std, interpolation=self.data.interpolation, **rest,
        )  # fmt: skip
