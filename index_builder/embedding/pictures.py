"""What is kept of a tile's pixels besides the embedding: a hash, and a picture for people."""

import hashlib
import io

import numpy as np
from PIL import Image

from index_builder.sources.source import UInt8

PICTURE_PX = 256
PICTURE_QUALITY = 85


def hash_pixels(pixels: UInt8) -> str:
    """Tells whether a tile's imagery has changed: 128 bits over shape and values."""
    digest = hashlib.blake2b(str(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def encode_picture(pixels: UInt8) -> bytes:
    """A JPEG for people to look at, at most `PICTURE_PX` on its longer side."""
    image = Image.fromarray(pixels)
    image.thumbnail((PICTURE_PX, PICTURE_PX), Image.Resampling.BICUBIC, reducing_gap=3.0)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=PICTURE_QUALITY)
    return buffer.getvalue()
