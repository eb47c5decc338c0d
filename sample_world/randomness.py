"""Independent random streams: every part of a town draws from its own."""

from zlib import crc32

import numpy as np


def stream(seed: int, part: str) -> np.random.Generator:
    """Random numbers of one part of one town; adding a part never changes the others."""
    return np.random.default_rng([seed, crc32(part.encode())])
