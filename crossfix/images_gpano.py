"""Panoramas that say so: the GPano words in XMP of phones and 360-degree cameras.

Reference: Google's Photo Sphere XMP metadata, namespace http://ns.google.com/photos/1.0/panorama/.
"""

import math
import re
from dataclasses import dataclass

MAX_XMP_BYTES = 1_000_000
_WORD = re.compile(
    rb"(?<!/)GPano:([A-Za-z]{1,40})\s{0,9}(?:=\s{0,9}[\"']([^\"'<>]{0,60})[\"']|>\s{0,20}([^<>]{0,60})<)"
)
_SAME_ASPECT = 0.03  # how far a resized panorama's aspect may be off through rounding


@dataclass(frozen=True)
class PanoramaCrop:
    """Which part of an equirectangular sphere an image shows, in shares of the whole sphere.

    Attributes:
        left, width: share of 360 degrees; the sphere's centre column is at 0.5.
        top, height: share of 180 degrees, from straight up.
        heading_deg: compass direction of the sphere's centre column, or None.
    """

    left: float
    top: float
    width: float
    height: float
    heading_deg: float | None

    @property
    def is_round(self) -> bool:
        """Whether it goes all the way round."""
        return self.width >= 0.99


def read_gpano(xmp: bytes, width_px: int, height_px: int) -> PanoramaCrop | None:
    """The crop an XMP packet declares for an image of this size as stored.

    None without GPano, for other projections, and when the words contradict the image, as after
    cutting it with a program that does not know them.
    """
    words = _words(xmp)
    if words.get("ProjectionType", "equirectangular").lower() != "equirectangular":
        return None
    sizes = [
        _number(words.get(name, default))
        for name, default in (
            ("FullPanoWidthPixels", ""),
            ("FullPanoHeightPixels", ""),
            ("CroppedAreaImageWidthPixels", words.get("FullPanoWidthPixels", "")),
            ("CroppedAreaImageHeightPixels", words.get("FullPanoHeightPixels", "")),
            ("CroppedAreaLeftPixels", "0"),
            ("CroppedAreaTopPixels", "0"),
        )
    ]
    full_w, full_h, crop_w, crop_h, left, top = sizes
    if min(full_w, full_h, crop_w, crop_h) < 1 or min(left, top) < 0:
        return None
    if left + crop_w > full_w * 1.001 or top + crop_h > full_h * 1.001:
        return None
    if abs(math.log((width_px / height_px) / (crop_w / crop_h))) > _SAME_ASPECT:
        return None
    heading = _number(words.get("PoseHeadingDegrees", ""))
    return PanoramaCrop(
        left=left / full_w,
        top=top / full_h,
        width=crop_w / full_w,
        height=crop_h / full_h,
        heading_deg=heading % 360 if -360 <= heading <= 360 else None,
    )


def _words(xmp: bytes) -> dict[str, str]:
    found = _WORD.finditer(xmp[:MAX_XMP_BYTES])
    return {match[1].decode("ascii"): _text(match[2] or match[3] or b"") for match in found}


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _number(text: str) -> float:
    """A finite number, else -1000, which no word allows."""
    try:
        value = float(text.strip())
    except ValueError:
        return -1000.0
    return value if math.isfinite(value) and abs(value) < 1e9 else -1000.0
