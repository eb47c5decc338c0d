"""EXIF without surprises: a handful of tags, read in bounded time and memory.

Pillow copies every value an EXIF block declares, and thousands of entries may declare the same
megabytes; here only the wanted values are read. Places (the GPS directory) are never looked at:
an answer must come from the pixels.

Tags: Exif 2.32 (CIPA DC-008); layout: TIFF 6.0, section 2, and BigTIFF.
"""

import math
import struct
from dataclasses import dataclass

MAX_ENTRIES = 4096  # of one directory; cameras write below 100

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
          16: 8, 17: 8, 18: 8}  # fmt: skip
_NUMBERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I",
            16: "Q", 17: "q", 18: "Q"}  # fmt: skip

ORIENTATION, EXIF_DIRECTORY = 0x0112, 0x8769
ORIENTATIONS = range(1, 9)
_FOCAL_LENGTH, _FOCAL_35MM = 0x920A, 0xA405
_PLANE_X, _PLANE_Y, _PLANE_UNIT = 0xA20E, 0xA20F, 0xA210
_MM_PER_UNIT = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}  # inch, cm; and mm, um as some cameras write
FILM_DIAGONAL_MM = 43.2666
_FOCAL_35MM_RANGE = (4.0, 2000.0)
_SENSOR_MM_RANGE = (1.0, 100.0)


Entries = dict[int, tuple[int, int, int]]  # tag -> (type, count, where the value lies)


@dataclass(frozen=True)
class ExifFacts:
    """What a photo's header told.

    Attributes:
        orientation: 1..8; 1 when absent or impossible.
        focal_35mm: focal length in 35 mm film terms as written, or None.
        focal_mm: the lens's focal length, or None.
        pixel_mm: (width, height) of one pixel on the sensor, or None.
    """

    orientation: int = 1
    focal_35mm: float | None = None
    focal_mm: float | None = None
    pixel_mm: tuple[float, float] | None = None

    def focal_on_film(self, width_px: int, height_px: int) -> float | None:
        """Focal length in 35 mm film terms of an image of this size; None when not known.

        As written, or from the sensor's size: both are about the frame's diagonal (CIPA DCG-001).
        """
        found = self.focal_35mm
        if found is None and self.focal_mm is not None and self.pixel_mm is not None:
            diagonal_mm = math.hypot(width_px * self.pixel_mm[0], height_px * self.pixel_mm[1])
            if _SENSOR_MM_RANGE[0] <= diagonal_mm <= _SENSOR_MM_RANGE[1]:
                found = self.focal_mm * FILM_DIAGONAL_MM / diagonal_mm
        if found is None or not _FOCAL_35MM_RANGE[0] <= found <= _FOCAL_35MM_RANGE[1]:
            return None
        return found


class TiffBlock:
    """A block in TIFF layout: directories of tagged values.

    Raises:
        ValueError: it does not begin like one.
    """

    def __init__(self, data: bytes) -> None:
        order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
        if order is None or len(data) < 8:
            raise ValueError("no TIFF header")
        self._data, self._order = data, order
        version = self._number("H", 2)
        if version not in (42, 43):
            raise ValueError("no TIFF header")
        self._is_big = version == 43
        self.first = int(self._number("Q", 8) if self._is_big else self._number("I", 4))

    def _number(self, code: str, at: int) -> float:
        try:
            value: float = struct.unpack_from(self._order + code, self._data, at)[0]
        except struct.error:
            raise ValueError("the block is cut short") from None
        return value

    def directory(self, at: int) -> Entries:
        """The entries at an offset; those of unknown type are left out.

        Raises:
            ValueError: it lies outside the block or has too many entries.
        """
        counter, step, inline = ("Q", 20, 8) if self._is_big else ("H", 12, 4)
        count = int(self._number(counter, at))
        if count > MAX_ENTRIES:
            raise ValueError("a directory has too many entries")
        start = at + struct.calcsize("<" + counter)
        entries: Entries = {}
        for place in range(start, start + count * step, step):
            tag, kind = int(self._number("H", place)), int(self._number("H", place + 2))
            items = int(self._number("Q" if self._is_big else "I", place + 4))
            if kind not in _SIZES:
                continue
            value_at = place + step - inline
            if items * _SIZES[kind] > inline:
                value_at = int(self._number("Q" if self._is_big else "I", value_at))
            entries.setdefault(tag, (kind, items, value_at))
        return entries

    def value(self, entries: dict[int, tuple[int, int, int]], tag: int) -> float | None:
        """The first number of a tag; None when absent, not finite or no number."""
        kind, items, at = entries.get(tag, (0, 0, 0))
        try:
            if items < 1:
                return None
            if kind in (5, 10):
                code = "I" if kind == 5 else "i"
                below = self._number(code, at + 4)
                return self._number(code, at) / below if below else None
            found = self._number(_NUMBERS[kind], at)
        except (ValueError, KeyError):
            return None
        return found if math.isfinite(found) else None

    def raw(self, entries: dict[int, tuple[int, int, int]], tag: int) -> bytes:
        """The bytes of a tag as they are; empty when absent or cut short."""
        kind, items, at = entries.get(tag, (0, 0, 0))
        size = items * _SIZES.get(kind, 0)
        return bytes(self._data[at : at + size]) if at + size <= len(self._data) else b""

    @staticmethod
    def declared_bytes(entries: Entries) -> int:
        """What all values of a directory hold together."""
        return sum(items * _SIZES[kind] for kind, items, _ in entries.values())


def read_exif(data: bytes) -> ExifFacts:
    """The facts of an EXIF block, with or without its `Exif` prefix; damaged counts as absent."""
    try:
        block = TiffBlock(data[6:] if data[:6] == b"Exif\0\0" else data)
        main = block.directory(block.first)
    except ValueError:
        return ExifFacts()
    orientation = block.value(main, ORIENTATION) or 1.0
    facts = ExifFacts(orientation=int(orientation) if orientation in ORIENTATIONS else 1)
    pointer = block.value(main, EXIF_DIRECTORY)
    if pointer is None:
        return facts
    try:
        details = block.directory(int(pointer))
    except ValueError:
        return facts
    return ExifFacts(
        orientation=facts.orientation,
        focal_35mm=_positive(block.value(details, _FOCAL_35MM)),
        focal_mm=_positive(block.value(details, _FOCAL_LENGTH)),
        pixel_mm=_pixel_mm(block, details),
    )


def _positive(value: float | None) -> float | None:
    return value if value is not None and value > 0 else None


def _pixel_mm(block: TiffBlock, details: Entries) -> tuple[float, float] | None:
    across = _positive(block.value(details, _PLANE_X))
    down = _positive(block.value(details, _PLANE_Y)) or across
    unit = block.value(details, _PLANE_UNIT)
    unit_mm = _MM_PER_UNIT.get(int(unit) if unit is not None else 2)  # inch where not said
    if across is None or down is None or unit_mm is None:
        return None
    return unit_mm / across, unit_mm / down
