"""One picture: each photo beside its best tiles, the right ones framed in green."""

import io
from collections.abc import Sequence
from pathlib import Path

import httpx
from PIL import Image, ImageDraw, ImageFont

from demo.answer import Answer

TILE_PX, GAP_PX, FRAME_PX, TITLE_PX = 180, 10, 5, 24
RIGHT, WRONG, PAPER, INK = (34, 160, 84), (205, 84, 60), (250, 250, 248), (30, 32, 36)
PHOTO_PX = 2 * TILE_PX


def draw_answers(url: str, answers: Sequence[Answer], path: Path) -> None:
    """Writes the picture; tile pictures come from the running service."""
    rows = [_draw_row(url, answer) for answer in answers]
    width = max(row.width for row in rows)
    sheet = Image.new("RGB", (width, sum(row.height for row in rows)), PAPER)
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    sheet.save(path)


def _draw_row(url: str, answer: Answer) -> Image.Image:
    matches = answer.body["matches"]
    width = 3 * GAP_PX + PHOTO_PX + len(matches) * (TILE_PX + GAP_PX)
    row = Image.new("RGB", (width, TITLE_PX + TILE_PX + 3 * GAP_PX + TITLE_PX), PAPER)
    draw = ImageDraw.Draw(row)
    draw.text((GAP_PX, GAP_PX), _title(answer), fill=INK, font=_font(15))
    photo = _fit(Image.open(answer.photo.path).convert("RGB"), PHOTO_PX, TILE_PX)
    top = TITLE_PX + GAP_PX
    row.paste(photo, (GAP_PX + (PHOTO_PX - photo.width) // 2, top + (TILE_PX - photo.height) // 2))
    left = 2 * GAP_PX + PHOTO_PX
    for match in matches:
        tile = Image.open(io.BytesIO(httpx.get(f"{url}{match['picture_url']}").content))
        colour = RIGHT if answer.is_right(match) else WRONG
        frame = Image.new("RGB", (TILE_PX, TILE_PX), colour)
        inner = TILE_PX - 2 * FRAME_PX
        frame.paste(tile.convert("RGB").resize((inner, inner)), (FRAME_PX, FRAME_PX))
        row.paste(frame, (left, top))
        draw.text(
            (left, top + TILE_PX + 3),
            f"{match['rank']}.  score {match['score']:.2f}   {answer.error_m(match):.0f} m off",
            fill=INK,
            font=_font(13),
        )
        left += TILE_PX + GAP_PX
    return row


def _title(answer: Answer) -> str:
    estimate = answer.body["estimate"]
    verdict = "refused (too unsure)" if estimate["refused"] else "answered"
    return (
        f"{answer.photo.kind}   estimate {answer.error_m(estimate):.0f} m from the truth, "
        f"confidence {estimate['confidence']:.2f}, {verdict}.   "
        "Right tiles are framed green."
    )


def _fit(image: Image.Image, width: int, height: int) -> Image.Image:
    scale = min(width / image.width, height / image.height)
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))


def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size_px)
