"""One map of tiles on a plain graticule: projection, density, grid lines, scale bar."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from crossfix.geodesy import distance_m
from index_builder.inspection.ground_cover import Boxes

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Colour = tuple[int, int, int]

PAPER: Colour = (255, 255, 255)
INK: Colour = (40, 44, 52)
GRID: Colour = (222, 226, 231)
FRAME: Colour = (150, 156, 166)
OUTLINED = 4000  # tiles whose edges are drawn; more would be one dark patch
LABEL_PX = 16
_MARGIN = (112, 30, 24, 58)  # left, top, right, bottom, for the labels
_PADDING = 0.06  # of the longer side, between tiles and frame
_LEAST_PX, _LONELY_PX = 3, 7  # of a tile that would be smaller; where tiles are few and far apart
_LONELY_SHARE = 0.002  # of the map, covered
_LEAST_DEG = 1e-5
_ALPHA = (0.40, 0.88)  # of one tile, and of the most that lie on each other


@dataclass(frozen=True)
class Frame:
    """Where degrees are on the picture; x and y in pixels.

    Attributes:
        box: left, top, right, bottom of the map.
        west, north: of its upper left corner.
        px_per_lon, px_per_lat: scale.
    """

    box: tuple[int, int, int, int]
    west: float
    north: float
    px_per_lon: float
    px_per_lat: float

    @classmethod
    def around(cls, boxes: Boxes, area: tuple[int, int, int, int]) -> "Frame":
        """Fits tiles into an area of the picture, labels beside them, at one scale both ways."""
        left, top, right, bottom = (
            area[0] + _MARGIN[0], area[1] + _MARGIN[1], area[2] - _MARGIN[2], area[3] - _MARGIN[3],
        )  # fmt: skip
        west, east = float(boxes.west.min()), float(boxes.east.max())
        south, north = float(boxes.south.min()), float(boxes.north.max())
        squeeze = max(0.05, math.cos(math.radians((south + north) / 2)))
        pad = _PADDING * max((east - west) * squeeze, north - south, _LEAST_DEG)
        width = (east - west) * squeeze + 2 * pad
        height = north - south + 2 * pad
        scale = min((right - left) / width, (bottom - top) / height)
        spare_x = ((right - left) / scale - width) / 2
        spare_y = ((bottom - top) / scale - height) / 2
        return cls(
            box=(left, top, right, bottom),
            west=west - (pad + spare_x) / squeeze,
            north=north + pad + spare_y,
            px_per_lon=scale * squeeze,
            px_per_lat=scale,
        )

    def x(self, lon: Float64 | float) -> Float64:
        """Pixels from the left."""
        return np.asarray(self.box[0] + (np.asarray(lon) - self.west) * self.px_per_lon)

    def y(self, lat: Float64 | float) -> Float64:
        """Pixels from the top."""
        return np.asarray(self.box[1] + (self.north - np.asarray(lat)) * self.px_per_lat)

    @property
    def east(self) -> float:
        """Of its right side."""
        return self.west + (self.box[2] - self.box[0]) / self.px_per_lon

    @property
    def south(self) -> float:
        """Of its lower side."""
        return self.north - (self.box[3] - self.box[1]) / self.px_per_lat


def draw_panel(
    picture: Image.Image,
    area: tuple[int, int, int, int],
    boxes: Boxes,
    codes: Int64,
    colours: list[Colour],
) -> Frame:
    """Draws tiles into an area of the picture, coloured by source, darker where more overlap.

    Returns:
        where degrees are.
    """
    frame = Frame.around(boxes, area)
    _draw_grid(picture, frame)
    draw = ImageDraw.Draw(picture)
    for code in np.unique(codes):
        _draw_density(picture, frame, boxes.select(codes == code), colours[code % len(colours)])
    if len(boxes) <= OUTLINED:
        _draw_edges(picture, frame, boxes, codes, colours)
    draw.rectangle(frame.box, outline=FRAME)
    _draw_scale_bar(draw, frame)
    return frame


def _draw_density(picture: Image.Image, frame: Frame, boxes: Boxes, colour: Colour) -> None:
    counts = count_tiles(frame, boxes, least_px=_LEAST_PX)
    light, dark = _ALPHA
    if np.count_nonzero(counts) < _LONELY_SHARE * counts.size:
        counts, light = count_tiles(frame, boxes, least_px=_LONELY_PX), dark
    most = math.log1p(max(1, counts.max(initial=1)))
    alpha = np.where(
        counts > 0, light + (dark - light) * np.log1p(counts) / most if most > 0.7 else light, 0.0
    )
    mask = Image.fromarray((alpha * 255).astype(np.uint8))
    picture.paste(Image.new("RGB", mask.size, colour), frame.box[:2], mask)


def count_tiles(frame: Frame, boxes: Boxes, *, least_px: int = 1) -> Int64:
    """(height, width) how many tiles lie on each pixel; cost hardly grows with their number.

    Each tile adds one at two of its corners and takes one at the two others; running sums along
    both axes then give the counts.

    Args:
        least_px: side that smaller tiles are drawn with.
    """
    left, top, right, bottom = frame.box
    width, height = right - left, bottom - top
    x0, x1 = _pixels(frame.x(boxes.west) - left, frame.x(boxes.east) - left, width, least_px)
    y0, y1 = _pixels(frame.y(boxes.north) - top, frame.y(boxes.south) - top, height, least_px)
    steps = np.zeros((height + 1) * (width + 1), np.int64)
    for y, x, sign in ((y0, x0, 1), (y0, x1, -1), (y1, x0, -1), (y1, x1, 1)):
        steps += sign * np.bincount(y * (width + 1) + x, minlength=len(steps))
    counts = steps.reshape(height + 1, width + 1).cumsum(axis=0).cumsum(axis=1)
    return np.asarray(counts[:-1, :-1], np.int64)


def _pixels(low: Float64, high: Float64, size: int, least: int) -> tuple[Int64, Int64]:
    """First pixel and the one after the last."""
    spare = np.maximum(0.0, least - (high - low)) / 2
    first = np.clip(np.floor(low - spare), 0, size - 1).astype(np.int64)
    after = np.clip(np.ceil(high + spare), 1, size).astype(np.int64)
    return first, np.maximum(after, first + 1)


def _draw_edges(
    picture: Image.Image, frame: Frame, boxes: Boxes, codes: Int64, colours: list[Colour]
) -> None:
    """Thin, half transparent outlines."""
    layer = Image.new("RGBA", picture.size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    sides = (frame.x(boxes.west), frame.y(boxes.north), frame.x(boxes.east), frame.y(boxes.south))
    strength = 200 if len(boxes) <= 300 else 90
    for x0, y0, x1, y1, code in zip(*(side.tolist() for side in sides), codes, strict=True):
        if x1 - x0 >= 2 * _LEAST_PX:
            darker = tuple(int(0.6 * part) for part in colours[code % len(colours)])
            draw.rectangle((x0, y0, x1, y1), outline=(*darker, strength))
    picture.paste(layer, (0, 0), layer)


def _draw_grid(picture: Image.Image, frame: Frame) -> None:
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(LABEL_PX)
    left, top, right, bottom = frame.box
    for lon in grid_lines(frame.west, frame.east, most=max(3, (right - left) // 170)):
        x = float(frame.x(lon))
        draw.line((x, top, x, bottom), fill=GRID)
        draw.text((x, bottom + 6), _degrees(lon, "EW"), fill=INK, font=font, anchor="ma")
    for lat in grid_lines(frame.south, frame.north, most=max(3, (bottom - top) // 110)):
        y = float(frame.y(lat))
        draw.line((left, y, right, y), fill=GRID)
        draw.text((left - 8, y), _degrees(lat, "NS"), fill=INK, font=font, anchor="rm")


def grid_lines(low: float, high: float, *, most: int) -> list[float]:
    """Round numbers between two others, at most so many: steps of 1, 2 or 5 times a power of 10."""
    span = max(high - low, _LEAST_DEG)
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if span / step <= most)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [
        round(number * step, digits)
        for number in range(first, first + most + 1)
        if number * step <= high + 1e-9 * span
    ]


def _degrees(value: float, letters: str) -> str:
    if letters == "EW":
        value = (value + 180) % 360 - 180
    text = f"{abs(value):.7f}".rstrip("0").rstrip(".")
    return f"{text}°" + ("" if text == "0" else letters[value < 0])


def _draw_scale_bar(draw: ImageDraw.ImageDraw, frame: Frame) -> None:
    """A round number of metres, a sixth of the map or so, in its lower left corner."""
    left, top, right, bottom = frame.box
    lat = frame.north - (bottom - top) / frame.px_per_lat / 2
    # A pixel's worth of longitude, not the whole width: great circles leave the parallel.
    metres_per_px = float(distance_m(0.0, lat, 1 / frame.px_per_lon, lat))
    wanted = metres_per_px * (right - left) / 5
    power = 10.0 ** math.floor(math.log10(wanted))
    length_m = max(step for step in (power, 2 * power, 5 * power) if step <= wanted)
    length_px = length_m / metres_per_px
    said = f"{length_m / 1000:,.10g} km" if length_m >= 1000 else f"{length_m:.10g} m"
    font = ImageFont.load_default(LABEL_PX)
    x, y = left + 14, bottom - 14
    room = max(length_px, draw.textlength(said, font=font))
    draw.rectangle((x - 8, y - 30, x + room + 8, y + 8), fill=PAPER, outline=GRID)
    draw.line((x, y, x + length_px, y), fill=INK, width=2)
    for end in (x, x + length_px):
        draw.line((end, y - 5, end, y), fill=INK, width=2)
    draw.text((x, y - 8), said, fill=INK, font=font, anchor="ls")
