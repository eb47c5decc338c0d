"""Bytes of a map tile to pixels, with what is transparent kept apart."""

import io
import struct

from PIL import Image

from crossfix.errors import SourceError
from index_builder.sources.tile_sets.tile_store import refuse_vector_tiles

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_SIDE_PX = 4096
_VECTOR_STARTS = (b"\x1f\x8b", b"\x1a")  # gzip, and the first field of a Mapbox vector tile
_PLAIN_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
_DECODE_PROBLEMS = (OSError, ValueError, SyntaxError, struct.error, EOFError, MemoryError)


def decode_tile(data: bytes, *, where: str) -> Image.Image:
    """A square image in mode RGB, or RGBA where it can be transparent.

    Args:
        where: the tile and its store, for messages.

    Raises:
        SourceError: not a PNG, JPEG or WebP, not square, too large, or damaged.
    """
    if not data:
        raise SourceError(f"{where} is empty (0 bytes)", hint="repair or remove it")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (*_DECODE_PROBLEMS, Image.DecompressionBombError) as problem:
        if data.startswith(_VECTOR_STARTS):
            raise refuse_vector_tiles(where) from problem
        raise SourceError(
            f"{where} is not an image (it starts with {data[:12]!r})",
            hint="tiles are PNG, JPEG or WebP",
        ) from problem
    if image.width != image.height or image.width > MAX_SIDE_PX or image.mode not in _PLAIN_MODES:
        raise SourceError(
            f"{where} is {image.width} x {image.height} pixels of kind {image.mode}",
            hint=f"tiles are square, at most {MAX_SIDE_PX} pixels, with 8 bits per colour",
        )
    return _load(image, where)


def _load(image: Image.Image, where: str) -> Image.Image:
    transparent = "A" in image.getbands() or "transparency" in image.info
    try:
        return image.convert("RGBA" if transparent else "RGB")
    except _DECODE_PROBLEMS as problem:
        raise SourceError(f"{where} is damaged: {problem}", hint="repair or remove it") from problem


def extension_of(data: bytes) -> str | None:
    """The usual ending of the format the bytes start with, without the dot."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return None
