"""Which format a file is, and what its container says: by content, before any decoding.

Each reader walks its container in bounded time, finds the size and the metadata, and hands the
decoder only what pixels need. What follows a file's end (a ZIP, a page, a second image) is never
looked at.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from crossfix.errors import UnreadableImage, UnsupportedImageFormat
from crossfix.images_exif import EXIF_DIRECTORY, ORIENTATION, Entries, TiffBlock

FormatName = Literal["JPEG", "PNG", "WEBP", "TIFF", "HEIF"]
FORMATS: tuple[FormatName, ...] = ("JPEG", "PNG", "WEBP", "TIFF", "HEIF")
ACCEPTED = "JPEG, PNG, WebP, TIFF, HEIC"
DAMAGED = "the image is damaged or cut short and cannot be decoded"
MAX_PIECES = 20_000  # segments or chunks of one file
MAX_JPEG_SCANS = 64  # progressive files have about 10; each costs a pass over all pixels
MAX_PROFILE_BYTES = 4_000_000

_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_OTHERS = {
    b"GIF8": "a GIF",
    b"%PDF": "a PDF document",
    b"BM": "a BMP image",
    b"PK\x03\x04": "a ZIP archive",
    b"\x00\x00\x00\x0cJXL ": "a JPEG XL image",
    b"\xff\x0a": "a JPEG XL image",
    b"\x00\x00\x00\x0cjP": "a JPEG 2000 image",
}
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOFn; the others are tables
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # ends a scan's data; 00 and RSTn do not


@dataclass(frozen=True)
class Container:
    """One image file, taken apart.

    Attributes:
        width_px, height_px: as stored; (0, 0) where only the decoder can tell (HEIF).
        data: what the decoder is given.
        exif, xmp: metadata, empty without.
    """

    format: FormatName
    width_px: int
    height_px: int
    data: bytes
    exif: bytes = b""
    xmp: bytes = b""


def damaged(what: str = DAMAGED) -> UnreadableImage:
    """The error for what starts like an image and is none to its end."""
    return UnreadableImage(what, hint="send the complete, original file")


def sniff(data: bytes) -> FormatName:
    """The format by the first bytes; what the sender declares does not matter.

    Raises:
        UnsupportedImageFormat: none of the accepted ones.
    """
    if data[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS:
        return "HEIF"
    name = next((name for magic, name in _OTHERS.items() if data.startswith(magic)), "")
    if data[4:12] in (b"ftypavif", b"ftypavis"):
        name = "an AVIF image"
    raise UnsupportedImageFormat(
        f"the file is {name}, which is not accepted"
        if name
        else "the bytes are not an image of an accepted format",
        hint=f"send one of {ACCEPTED}",
    )


def take_apart(data: bytes) -> Container:
    """Reads a file's container.

    Raises:
        UnsupportedImageFormat: not an accepted format.
        UnreadableImage: its structure is damaged, or made to cost without end.
    """
    kind = sniff(data)
    try:
        if kind == "JPEG":
            return _jpeg(data)
        if kind == "PNG":
            return _png(data)
        if kind == "WEBP":
            return _webp(data)
        if kind == "TIFF":
            return _tiff(data)
    except (struct.error, IndexError, ValueError) as problem:
        raise damaged() from problem
    return Container("HEIF", 0, 0, data)


def _jpeg(data: bytes) -> Container:
    """Keeps what decodes pixels (and colour: JFIF, ICC, Adobe); metadata is read by us alone."""
    kept, exif, xmp, size, components = [data[:2]], b"", b"", (0, 0), 0
    for marker, at, end in _jpeg_segments(data):
        body = data[at + 4 : at + 18]
        if marker in _FRAMES:
            height, width, components = struct.unpack(">HHB", body[1:6])
            # A progressive frame comes in many scans whatever its first one holds.
            size, components = (width, height), components if marker in (0xC0, 0xC1) else 255
        elif marker == 0xE1 and body[:6] == b"Exif\0\0" and not exif:
            exif = data[at + 4 : end]
        elif marker == 0xE1 and body.startswith(b"http://ns.ado") and not xmp:
            xmp = data[at + 4 : end]
        if marker == 0xDA:
            # One scan of everything is all the decoder reads; else it reads to the end.
            end = len(data) if body[0] == components else _end_of_scans(data, at)
        if marker not in range(0xE0, 0xF0) or _is_colour(marker, body):
            kept.append(data[at:end])
    if components == 0:
        raise damaged()
    return Container("JPEG", *size, b"".join(kept), exif, xmp)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of the header's segments, the first start-of-scan last."""
    at = 2
    for _ in range(MAX_PIECES):
        if data[at] != 0xFF:
            raise damaged()
        marker, end = data[at + 1], at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if end < at + 4 or end > len(data) or marker in (0xD8, 0xD9):
            raise damaged()
        yield marker, at, end
        if marker == 0xDA:
            return
        at = end
    raise damaged("the JPEG has far too many segments")


def _is_colour(marker: int, body: bytes) -> bool:
    return marker in (0xE0, 0xEE) or (marker == 0xE2 and body.startswith(b"ICC_PROFILE\0"))


def _end_of_scans(data: bytes, at: int) -> int:
    """Where a file of several scans ends, from its first; very many scans are refused."""
    scans = 0
    while True:
        found = _MARKER.search(data, at)
        if found is None:
            return len(data)
        marker, at = data[found.start() + 1], found.start()
        if marker == 0xD9:
            return at + 2
        scans += marker == 0xDA
        if scans > MAX_JPEG_SCANS:
            raise damaged("the JPEG has far too many scans")
        at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))


def _png(data: bytes) -> Container:
    """Keeps header, palette, transparency, colour profile and pixels."""
    if data[12:16] != b"IHDR":
        raise damaged()
    width, height = struct.unpack_from(">II", data, 16)
    kept, exif, xmp, at = [data[:8]], b"", b"", 8
    for _ in range(MAX_PIECES):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise damaged()
        if kind == b"eXIf":
            exif = data[at + 8 : end - 4]
        elif kind == b"iTXt" and data[at + 8 : at + 26] == b"XML:com.adobe.xmp\0":
            xmp = data[at + 8 : end - 4]
        elif kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND") or (
            kind == b"iCCP" and length <= MAX_PROFILE_BYTES
        ):
            kept.append(data[at:end])
        if kind == b"IEND":
            return Container("PNG", width, height, b"".join(kept), exif, xmp)
        at = end
    raise damaged("the PNG has far too many chunks")


def _webp(data: bytes) -> Container:
    """Finds the canvas size and the metadata; an animation's first frame is decoded."""
    whole = int.from_bytes(data[4:8], "little") + 8
    if whole > len(data) + 1:  # an odd size may lack its padding byte
        raise damaged()
    size, exif, xmp, at = (0, 0), b"", b"", 12
    for _ in range(MAX_PIECES):
        if at + 8 > min(whole, len(data)):
            break
        kind, length = struct.unpack_from("<4sI", data, at)
        body = data[at + 8 : at + 18]
        if size == (0, 0):
            size = _webp_size(kind, body)
        if kind == b"EXIF":
            exif = data[at + 8 : at + 8 + length]
        elif kind == b"XMP ":
            xmp = data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
    else:
        raise damaged("the WebP has far too many chunks")
    return Container("WEBP", *size, data[:whole], exif, xmp)


def _webp_size(kind: bytes, body: bytes) -> tuple[int, int]:
    """Of the first chunk, which is one of these three (RFC 9649)."""
    if kind == b"VP8X":
        width, height = (int.from_bytes(body[at : at + 3], "little") + 1 for at in (4, 7))
    elif kind == b"VP8L" and body[0] == 0x2F:
        packed = int.from_bytes(body[1:5], "little")
        width, height = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        width, height = (int.from_bytes(body[at : at + 2], "little") & 0x3FFF for at in (6, 8))
    else:
        raise damaged()
    return width, height


_SUBDIRECTORIES = (0x8769, 0x8825, 0xA005, 0x014A)  # those that Pillow reads as well
_BITS, _SAMPLES, _XMP, _COMPRESSION = 258, 277, 700, 259
# None, LZW, JPEG, Deflate twice, PackBits, Zstandard; fax codes are for paper.
_COMPRESSIONS = {1, 5, 7, 8, 32946, 32773, 50000}
_TILE_W, _TILE_H = 322, 323


def _tiff(data: bytes) -> Container:
    """The first directory. Values that share bytes, or a tile far beyond the image, are refused."""
    block = TiffBlock(data)
    entries = block.directory(block.first)
    declared = sum(block.declared_bytes(each) for each in _with_subdirectories(block, entries))
    if declared > 2 * len(data) + 65536:
        raise damaged("the TIFF's directories declare more than the file holds")
    width, height = (int(block.value(entries, tag) or 0) for tag in (256, 257))
    tile = (block.value(entries, _TILE_W) or 0) * (block.value(entries, _TILE_H) or 0)
    if tile > 4 * max(width * height, 2**20):
        raise damaged("the TIFF's tiles are far larger than its image")
    if (block.value(entries, _COMPRESSION) or 1) not in _COMPRESSIONS:
        raise damaged("the TIFF is compressed in a way that is not accepted")
    samples, bits = block.value(entries, _SAMPLES) or 1, block.value(entries, _BITS) or 1
    if samples * bits > 64:
        raise damaged("the TIFF holds more than 8 bytes per pixel")
    wanted = (ORIENTATION, EXIF_DIRECTORY)
    exif = data if any(tag in entries for tag in wanted) else b""
    return Container("TIFF", width, height, data, exif, block.raw(entries, _XMP))


def _with_subdirectories(block: TiffBlock, entries: Entries) -> list[Entries]:
    """The directory and those it points to; damaged ones count as empty."""
    found = [entries]
    for tag in _SUBDIRECTORIES:
        pointer = block.value(entries, tag)
        try:
            found += [] if pointer is None else [block.directory(int(pointer))]
        except ValueError:
            continue
    return found
