"""Photos of every format, forms around them, and ways to spoil both that a seed repeats."""

import io
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

SAMPLES = Path(__file__).resolve().parents[1] / "tests" / "samples"
Mutation = Callable[[random.Random, bytes, list[bytes]], bytes]

_MAGIC = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_LANDMARKS = (
    b"IHDR", b"IDAT", b"iCCP", b"PLTE", b"tRNS", b"eXIf", b"\xff\xc0", b"\xff\xc2", b"\xff\xc4",
    b"\xff\xda", b"\xff\xdb", b"\xff\xe1", b"\xff\xe2", b"Exif", b"ICC_PROFILE", b"VP8 ", b"VP8L",
    b"VP8X", b"ANIM", b"ANMF", b"II*\0", b"ftyp", b"meta", b"iloc", b"ispe", b"hvcC", b"irot",
    b"colr", b"iinf", b"ipma", b"acsp", b"GPano",
)  # fmt: skip


def seeds() -> list[tuple[str, bytes]]:
    """(name, file) of all accepted formats in many guises; a few kilobytes each."""
    small = np.random.default_rng(0).integers(0, 256, (8, 10, 3), dtype=np.uint8)
    photo = Image.fromarray(small).resize((160, 120), Image.Resampling.BICUBIC)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0xA405] = 26
    deep = Image.fromarray(np.arange(160 * 120, dtype=np.uint16).reshape(120, 160))
    made: list[tuple[str, Image.Image, str, dict[str, Any]]] = [
        ("jpeg", photo, "JPEG", {}),
        ("jpeg_exif_icc", photo, "JPEG", {"exif": exif, "icc_profile": profile}),
        ("jpeg_progressive", photo, "JPEG", {"progressive": True}),
        ("jpeg_cmyk", photo.convert("CMYK"), "JPEG", {}),
        ("jpeg_grey", photo.convert("L"), "JPEG", {}),
        ("mpo", photo, "MPO", {"save_all": True, "append_images": [photo]}),
        ("png", photo, "PNG", {"exif": exif, "icc_profile": profile}),
        ("png_palette", photo.convert("P"), "PNG", {"transparency": 3}),
        ("png_alpha", photo.convert("RGBA"), "PNG", {}),
        ("png_16", deep, "PNG", {}),
        ("apng", photo, "PNG", {"save_all": True, "append_images": [photo.rotate(90)]}),
        ("webp", photo, "WEBP", {"exif": exif, "icc_profile": profile}),
        ("webp_lossless", photo.convert("RGBA"), "WEBP", {"lossless": True}),
        ("webp_motion", photo, "WEBP", {"save_all": True, "append_images": [photo.rotate(90)]}),
        ("tiff", photo, "TIFF", {"exif": exif, "icc_profile": profile}),
        ("tiff_lzw", photo, "TIFF", {"compression": "tiff_lzw"}),
        ("tiff_deflate_16", deep, "TIFF", {"compression": "tiff_adobe_deflate"}),
        ("tiff_jpeg", photo, "TIFF", {"compression": "jpeg"}),
        ("tiff_group4", photo.convert("1"), "TIFF", {"compression": "group4"}),
        ("tiff_pages", photo, "TIFF", {"save_all": True, "append_images": [photo]}),
    ]
    found = [(name, _encoded(image, kind, **options)) for name, image, kind, options in made]
    gpano = b"http://ns.adobe.com/xap/1.0/\0" + b'<x GPano:FullPanoWidthPixels="320"/>' * 9
    plain = found[0][1]
    panorama = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(gpano) + 2) + gpano + plain[2:]
    heic = [(path.stem, path.read_bytes()) for path in sorted(SAMPLES.glob("*.heic"))]
    return [*found, ("jpeg_gpano", panorama), *((f"heic_{name}", data) for name, data in heic)]


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:  # noqa: ANN401
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _flip_bits(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:  # noqa: ARG001
    spoiled = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        spoiled[rng.randrange(len(spoiled))] ^= 1 << rng.randrange(8)
    return bytes(spoiled)


def _cut(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:  # noqa: ARG001
    return data[: rng.randrange(len(data))]


def _splice(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    other = rng.choice(others)
    return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]


def _remove(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:  # noqa: ARG001
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.randrange(1, 200) :]


def _repeat(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:  # noqa: ARG001
    start = rng.randrange(len(data))
    piece = data[start : start + rng.randrange(1, 400)]
    return data[:start] + piece * rng.choice((2, 3, 50)) + data[start:]


def _magic_number(rng: random.Random, data: bytes, at: int) -> bytes:
    size: int = rng.choice((1, 2, 4))
    value: int = rng.choice(_MAGIC) % 256**size
    order: bool = rng.random() < 0.5
    return data[:at] + value.to_bytes(size, "big" if order else "little") + data[at + size :]


def _edit_header(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:  # noqa: ARG001
    for _ in range(rng.choice((1, 1, 2, 4))):
        data = _magic_number(rng, data, rng.randrange(min(len(data), 256)))
    return data


def _edit_near_landmark(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """Numbers beside the words that say how large, where and how many things are."""
    present: list[bytes] = [word for word in _LANDMARKS if word in data]
    if not present:
        return _edit_header(rng, data, others)
    at = data.index(rng.choice(present))
    for _ in range(rng.choice((1, 1, 3))):
        data = _magic_number(rng, data, min(len(data) - 1, max(0, at + rng.randrange(-8, 48))))
    return data


def _noise(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:  # noqa: ARG001
    return data[: rng.randrange(4, 40)] + rng.randbytes(rng.randrange(1, 3000))


def _twice(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    first = rng.choice(_SIMPLE)(rng, data, others) or data
    return rng.choice(_SIMPLE)(rng, first, others)


_SIMPLE: list[Mutation] = [
    _flip_bits, _cut, _splice, _remove, _repeat, _edit_header, _edit_near_landmark,
]  # fmt: skip
MUTATIONS: list[Mutation] = [*_SIMPLE, _edit_near_landmark, _edit_header, _noise, _twice]


def mutated(number: int, files: list[tuple[str, bytes]], seed: int = 0) -> tuple[str, bytes]:
    """(what it is, file) of the mutated image of this number; the same whenever asked for."""
    rng = random.Random(f"{seed}/{number}")
    name, data = files[number % len(files)]
    mutation = rng.choice(MUTATIONS)
    spoiled = mutation(rng, data, [other for _, other in files])
    return f"{name}/{mutation.__name__.strip('_')}", spoiled


_CHARSETS = (
    "", "; charset=utf-8", "; charset=punycode", "; charset=idna", "; charset=undefined",
    "; charset=unicode_escape", "; charset=utf-7", "; charset=utf-16", "; charset=zlib",
)  # fmt: skip
_NAMES = ("a.jpg", "ü.jpg", "\\ud800", "+2AA-", "xn--a", "..\\..\\a", '%22"', "a" * 300)
_FIELDS = ("k", "area", "lat", "view", "parameters", "image", "ü", "")
_VALUES = ("1", "drone", "[null]", '[{"area": {"type": "Polygon"}}]', "a" * 60_000, "\0ü\r\n--")


def mutated_form(
    number: int, files: list[tuple[str, bytes]], seed: int = 0
) -> tuple[str, str, bytes]:
    """(what it is, Content-Type, body): a multipart form around a photo, mostly spoiled."""
    rng = random.Random(f"form/{seed}/{number}")
    name, data = files[number % len(files)]
    charset = rng.choice(_CHARSETS)
    parts = [_part("image", data, rng.choice(_NAMES))] * rng.choice((1, 1, 1, 2))
    parts += [_part(rng.choice(_FIELDS), rng.choice(_VALUES).encode()) for _ in range(number % 3)]
    rng.shuffle(parts)
    body = b"".join(parts) + b"--xyz--\r\n"
    mutation = rng.choice((None, _flip_bits, _cut, _remove, _repeat, _edit_header))
    if mutation is not None:
        body = mutation(rng, body, [])
    spoiling = mutation.__name__.strip("_") if mutation is not None else "whole"
    return f"{name}/form/{spoiling}{charset}", f"multipart/form-data; boundary=xyz{charset}", body


def _part(name: str, data: bytes, file_name: str | None = None) -> bytes:
    named = "" if file_name is None else f'; filename="{file_name}"'
    head = f'--xyz\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
    return head.encode() + data + b"\r\n"
