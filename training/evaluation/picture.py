"""A contact sheet: queries, the best tiles found for each, and what was right."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from crossfix.images import UInt8
from training.evaluation.report import SplitResult

Rgb = tuple[int, int, int]

HEIGHT_PX, MAX_WIDTH_PX = 160, 480
FRAME_PX, GAP_PX, LINE_PX, TEXT_PX = 5, 10, 17, 13
CAPTION_PX = 2 * LINE_PX + 4
SHOWN_TILES = 5
BLACK, WHITE, GREY = (20, 20, 20), (255, 255, 255), (100, 100, 100)
RIGHT, WRONG, SEMI = (30, 150, 70), (205, 50, 45), (235, 185, 30)
WORDS = {RIGHT: "right", WRONG: "", SEMI: "semi-positive"}


@dataclass(frozen=True)
class _Panel:
    """An image in a frame with two lines of text below."""

    pixels: UInt8
    frame: Rgb
    lines: tuple[str, str]


def draw_top(result: SplitResult, path: Path, *, queries: int, seed: int = 0) -> None:
    """Draws some queries with their five best tiles as a PNG.

    A row is a query, its tiles (framed green: right, yellow: semi-positive, red: wrong) with
    score and name, and at the end the right tile with its rank where none of the five is right.

    Args:
        queries: how many, drawn at random; the same ones for the same split and seed.

    Raises:
        DataError: an image cannot be read.
    """
    chosen = chosen_queries(len(result.ranking.ranks), queries, seed)
    rows = [list(_panels(result, query)) for query in chosen]
    path.parent.mkdir(parents=True, exist_ok=True)
    _sheet(rows, _title(result)).save(path)


def chosen_queries(count: int, wanted: int, seed: int) -> list[int]:
    """Up to `wanted` of `count` queries, drawn at random, ascending."""
    drawn = np.random.default_rng(seed).choice(count, min(wanted, count), replace=False)
    return sorted(int(i) for i in drawn)


def _title(result: SplitResult) -> str:
    split, found = result.split, result.ranking.ranks
    share = 100 * float((found < 1).mean()) if len(found) else 0.0
    return (
        f"{split.name} ({split.protocol}): R@1 {share:.1f} % of {len(found)} queries, "
        f"{len(split.gallery)} in the gallery"
    )


def _panels(result: SplitResult, query: int) -> Iterator[_Panel]:
    split, ranking = result.split, result.ranking
    right = set(split.positives.of(query).tolist())
    semi = set() if split.semi_positives is None else set(split.semi_positives.of(query).tolist())
    rank = int(ranking.ranks[query]) + 1
    head = f"query, right tile ranked {rank}" if right else "query, no tile is right"
    image = split.image_of_query(query)
    yield _Panel(split.queries.read(image), BLACK, (head, split.queries.name(image)))
    best = ranking.top_indices[query, :SHOWN_TILES].tolist()
    for place, tile in enumerate(best, start=1):
        frame = RIGHT if tile in right else SEMI if tile in semi else WRONG
        head = f"{place}: {ranking.top_scores[query, place - 1]:.3f} {WORDS[frame]}"
        yield _Panel(split.gallery.read(tile), frame, (head.rstrip(), split.gallery.name(tile)))
    if right and not right & set(best):
        tile = int(ranking.best_positive[query])
        score = ranking.best_positive_score[query]
        head = f"right, rank {rank}: {score:.3f}"
        yield _Panel(split.gallery.read(tile), RIGHT, (head, split.gallery.name(tile)))


def _sheet(rows: list[list[_Panel]], title: str) -> Image.Image:
    font = ImageFont.load_default(TEXT_PX)
    pictures = [[_draw_panel(panel, font) for panel in row] for row in rows]
    columns = max((len(row) for row in pictures), default=0)
    widths = [
        max(row[i].width for row in pictures if len(row) > i) + GAP_PX for i in range(columns)
    ]
    heights = [max(picture.height for picture in row) + GAP_PX for row in pictures]
    top = GAP_PX + LINE_PX + GAP_PX
    width = max(GAP_PX + sum(widths), 2 * GAP_PX + int(font.getlength(title)))
    sheet = Image.new("RGB", (width, top + sum(heights)), WHITE)
    ImageDraw.Draw(sheet).text((GAP_PX, GAP_PX), title, fill=BLACK, font=font)
    for row, height in zip(pictures, heights, strict=True):
        left = GAP_PX
        for picture, step in zip(row, widths, strict=False):
            sheet.paste(picture, (left, top))
            left += step
        top += height
    return sheet


def _draw_panel(panel: _Panel, font: Any) -> Image.Image:  # noqa: ANN401
    height, width = panel.pixels.shape[:2]
    scale = min(HEIGHT_PX / height, MAX_WIDTH_PX / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = Image.fromarray(panel.pixels).resize(size, Image.Resampling.BICUBIC)
    framed = Image.new("RGB", (size[0] + 2 * FRAME_PX, size[1] + 2 * FRAME_PX), panel.frame)
    framed.paste(image, (FRAME_PX, FRAME_PX))
    whole = Image.new("RGB", (framed.width, framed.height + CAPTION_PX), WHITE)
    whole.paste(framed)
    draw = ImageDraw.Draw(whole)
    for number, (line, colour) in enumerate(zip(panel.lines, (BLACK, GREY), strict=True)):
        text = _shortened(line, font, whole.width)
        draw.text((0, framed.height + 2 + number * LINE_PX), text, fill=colour, font=font)
    return whole


def _shortened(text: str, font: Any, width_px: int) -> str:  # noqa: ANN401
    """The end of a text that fits: file names differ at their end."""
    if font.getlength(text) <= width_px:
        return text
    while text and font.getlength(f"..{text}") > width_px:
        text = text[1:]
    return f"..{text}"
