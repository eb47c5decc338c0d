"""A picture of where a gallery's tiles lie: one map, or several where they lie far apart."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from index_builder.inspection.coverage_clusters import Cluster, find_clusters
from index_builder.inspection.coverage_panel import INK, PAPER, Colour, Frame, draw_panel
from index_builder.inspection.ground_cover import Boxes

Int64 = NDArray[np.int64]

WIDTH_PX, HEIGHT_PX = 1600, 1100
# Okabe and Ito (2008), "Color universal design": told apart by the colour-blind, too.
COLOURS: list[Colour] = [
    (0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167),
    (230, 159, 0), (86, 180, 233), (120, 120, 120), (150, 120, 20),
]  # fmt: skip
_TITLE_PX, _TEXT_PX, _LINE_PX = 26, 17, 26
_MOST_PANELS = 8
_MOST_NAMES = 10


def draw_coverage(
    path: Path, boxes: Boxes, codes: Int64, names: list[str], *, title: str, subtitle: str
) -> None:
    """Writes a PNG.

    Args:
        codes: (N,) which of `names` each tile is from.
    """
    counts = np.bincount(codes, minlength=len(names))
    legend = _legend(names, counts)
    picture = Image.new("RGB", (WIDTH_PX, HEIGHT_PX + _LINE_PX * len(legend)), PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((24, 16), title, fill=INK, font=ImageFont.load_default(_TITLE_PX))
    draw.text((24, 50), subtitle, fill=INK, font=ImageFont.load_default(_TEXT_PX))
    _draw_legend(draw, legend)
    top = 84 + _LINE_PX * len(legend)
    clusters = find_clusters(boxes, most=_MOST_PANELS)
    far_apart = len(clusters) > 1
    areas = _areas(len(clusters) + far_apart, top, picture.height)
    if far_apart:
        frame = draw_panel(picture, areas.pop(0), boxes, codes, COLOURS)
        _number(draw, frame, clusters)
    for number, (cluster, area) in enumerate(zip(clusters, areas, strict=True), start=1):
        inside = codes[cluster.rows]
        frame = draw_panel(picture, area, boxes.select(cluster.rows), inside, COLOURS)
        if far_apart:
            _draw_heading(draw, frame, f"{number}: {_some(names, inside)}")
    picture.save(path)


def _number(draw: ImageDraw.ImageDraw, frame: Frame, clusters: list[Cluster]) -> None:
    """Numbers beside the places that have maps of their own."""
    font = ImageFont.load_default(_TEXT_PX)
    for number, one in enumerate(clusters, start=1):
        x, y = float(frame.x((one.west + one.east) / 2)), float(frame.y(one.north))
        draw.text((x + 6, y - 4), f"{number}", fill=INK, font=font, anchor="ls")


def _some(names: list[str], codes: Int64) -> str:
    found = [names[code] for code in np.unique(codes) if code >= 0]
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return f"{', '.join(found[:3])}{more}, {len(codes):,} tiles"


def _draw_heading(draw: ImageDraw.ImageDraw, frame: Frame, text: str) -> None:
    left, top, right, _ = frame.box
    font = ImageFont.load_default(_TEXT_PX)
    draw.text(((left + right) // 2, top - 8), text, fill=INK, font=font, anchor="ms")


def _legend(names: list[str], counts: Int64) -> list[tuple[Colour | None, str]]:
    rows: list[tuple[Colour | None, str]] = [
        (COLOURS[code % len(COLOURS)], f"{name}: {counts[code]:,} tiles")
        for code, name in enumerate(names[:_MOST_NAMES])
    ]
    if len(names) > _MOST_NAMES:
        rest = counts[_MOST_NAMES:].sum()
        rows.append((None, f"and {len(names) - _MOST_NAMES} more sources: {rest:,} tiles"))
    return rows


def _draw_legend(draw: ImageDraw.ImageDraw, legend: list[tuple[Colour | None, str]]) -> None:
    font = ImageFont.load_default(_TEXT_PX)
    for number, (colour, text) in enumerate(legend):
        y = 82 + number * _LINE_PX
        if colour is not None:
            draw.rectangle((24, y + 2, 40, y + 18), fill=colour)
        draw.text((50, y), text, fill=INK, font=font)


def _areas(count: int, top: int, bottom: int) -> list[tuple[int, int, int, int]]:
    """Parts of the picture, row by row."""
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    width, height = WIDTH_PX // columns, (bottom - top) // rows
    return [
        (
            width * (i % columns), top + height * (i // columns),
            width * (i % columns + 1), top + height * (i // columns + 1),
        )
        for i in range(count)
    ]  # fmt: skip
