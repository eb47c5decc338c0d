"""A folder of tiles to a folder of polar tiles: for codes that read them from files."""

from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from crossfix.errors import CrossfixError, DataError
from crossfix.images import decode
from training.datasets.folder import IMAGE_SUFFIXES
from training.datasets.tile_files import STRETCH_KEY
from training.transforms.polar import polar_pixels


def write_polar_tiles(
    tiles: Path, out: Path, *, height_px: int, width_px: int, stretch: bool
) -> str:
    """Writes every image below a folder as a PNG of the same name in the same subfolder.

    Encoders with `tile_transform.kind: polar` need no such files; the transform is in them.

    Args:
        stretch: spreads each image over 0..255, as the scripts of SAFA and others did. A text in
            each file tells, so that recipes do not read the other kind.

    Raises:
        DataError: no images there, one is damaged or not square, or a file cannot be written.
    """
    found = sorted(path for path in tiles.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise DataError(f"{tiles} holds no images", hint="name a folder of satellite tiles")
    told = PngInfo()
    told.add_text(STRETCH_KEY, str(stretch))
    for path in found:
        target = (out / path.relative_to(tiles)).with_suffix(".png")
        try:
            pixels = polar_pixels(
                decode(path.read_bytes()).pixels,
                height_px=height_px, width_px=width_px, stretch=stretch,
            )  # fmt: skip
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.ascontiguousarray(pixels)).save(target, pnginfo=told)
        except (OSError, ValueError, CrossfixError) as problem:
            raise DataError(
                f"{path} cannot be made polar: {problem}", hint="tiles are square images"
            ) from problem
    return f"wrote {len(found):,} polar tiles of {width_px} x {height_px} pixels to {out}"
