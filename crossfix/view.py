"""A view's preprocessing as data: what the encoder expects of each kind of image."""

from typing import Literal, Self

from pydantic import Field, model_validator

from crossfix.manifest import StrictModel

ViewName = Literal["satellite", "ground", "drone"]
QUERY_VIEWS: tuple[ViewName, ...] = ("ground", "drone")

Rgb = tuple[float, float, float]

# `sampled_bilinear` reads four pixels whatever the reduction, as OpenCV does and official
# Sample4Geo weights expect; the others average over all pixels (Pillow).
Interpolation = Literal["bicubic", "bilinear", "sampled_bilinear"]


class ViewSpec(StrictModel):
    """How images of one view become the encoder's input.

    Attributes:
        model_file: the ONNX file that serves this view; views may share one.
        height_px, width_px: the input tensor's size.
        projection: what the encoder was trained on: `nadir` map tiles, `equirectangular`
            360-degree panoramas, `oblique` perspective photos from the air.
        fit: `squash` to the size; `center_crop` to its aspect first; `panorama_canvas`: panoramas
            are cut to the elevation range, perspective photos are placed by their field of view.
        elevation_top_deg, elevation_bottom_deg: the canvas's vertical range; only for
            `panorama_canvas`.
        mean, std: per channel, in units of 0..1.
        heading: `north_up` tiles, `north_centre` panoramas (centre column looks north), `any`.
    """

    view: ViewName
    model_file: str
    height_px: int = Field(gt=0)
    width_px: int = Field(gt=0)
    projection: Literal["nadir", "equirectangular", "oblique"]
    fit: Literal["squash", "center_crop", "panorama_canvas"]
    elevation_top_deg: float | None = Field(default=None, gt=-90, le=90)
    elevation_bottom_deg: float | None = Field(default=None, ge=-90, lt=90)
    mean: Rgb
    std: Rgb
    interpolation: Interpolation = "bicubic"
    heading: Literal["north_up", "north_centre", "any"]

    @model_validator(mode="after")
    def _canvas_has_a_range(self) -> Self:
        top, bottom = self.elevation_top_deg, self.elevation_bottom_deg
        if self.fit == "panorama_canvas":
            if top is None or bottom is None or top <= bottom:
                raise ValueError("panorama_canvas needs elevation_top_deg > elevation_bottom_deg")
        elif top is not None or bottom is not None:
            raise ValueError("an elevation range is only for panorama_canvas")
        return self

    @property
    def decode_px(self) -> int | None:
        """What the shorter side of a photo must have after decoding; None for the whole photo.

        Averaging filters do not care whether a JPEG was decoded at half its size; four-pixel
        sampling does.
        """
        if self.interpolation == "sampled_bilinear":
            return None
        return max(self.height_px, self.width_px)

    @property
    def elevation_deg(self) -> tuple[float, float]:
        """(top, bottom) of a panorama canvas."""
        if self.elevation_top_deg is None or self.elevation_bottom_deg is None:
            raise ValueError(f"view {self.view} has no elevation range")
        return self.elevation_top_deg, self.elevation_bottom_deg
