"""Map tiles put together from the gallery's own pictures: a base map that needs no internet."""

import io
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crossfix.gallery import Gallery
from crossfix.geodesy import TileId
from service.galleries.map_index import MapIndex, SizeClass, world_boxes

if TYPE_CHECKING:
    from service.galleries.snapshot import Snapshot

SIDE_PX = 256
MAX_ZOOM = 22
MAX_PICTURES = 144  # of a mosaic at most; an overview behind it reads a few more
LOOKED_AT = 4096  # tiles considered for one map tile; more are an overview
SAMPLES_ACROSS = 8  # an overview's pictures along one side
SHAPE_ACROSS = 32  # an overview's steps along its edge
SMALLEST_PX = 64  # a size of tiles is fine enough for a zoom when it is this large on it
CACHED = 512

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class MapPicture:
    """A map tile of `SIDE_PX` pixels as a file: JPEG where it is full, else PNG.

    Attributes:
        is_complete: False where a shard that may have imagery here did not answer.
    """

    data: bytes
    media_type: str
    is_complete: bool = True


@dataclass(frozen=True)
class _Piece:
    """A gallery picture and where its edges (left, top, right, bottom) come, in pixels."""

    row: int
    box: Box

    @property
    def target(self) -> tuple[int, int, int, int]:
        """The whole pixels it fills; neighbours that share an edge leave no gap."""
        left, top = (min(max(round(edge), 0), SIDE_PX - 1) for edge in self.box[:2])
        right, bottom = (min(max(round(edge), 0), SIDE_PX) for edge in self.box[2:])
        return left, top, max(right, left + 1), max(bottom, top + 1)


class MapTiles:
    """Draws map tiles and remembers the last ones. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._version = ""
        self._drawn: OrderedDict[TileId, MapPicture] = OrderedDict()

    def remembered(self, version: str, tile: TileId) -> MapPicture | None:
        """The map tile, if it was drawn of this version lately."""
        with self._lock:
            if version != self._version or tile not in self._drawn:
                return None
            self._drawn.move_to_end(tile)
            return self._drawn[tile]

    def draw(self, snapshot: "Snapshot", tile: TileId) -> MapPicture:
        """The map tile as a file."""
        known = self.remembered(snapshot.version, tile)
        if known is not None:
            return known
        with self._lock:
            if snapshot.version != self._version:
                self._version = snapshot.version
                self._drawn.clear()
        painted = snapshot.gallery.paint(tile)
        picture = encoded(painted.canvas, is_complete=painted.is_complete)
        with self._lock:
            if snapshot.version == self._version and picture.is_complete:
                self._drawn[tile] = picture
                while len(self._drawn) > CACHED:
                    self._drawn.popitem(last=False)
        return picture


def paint(gallery: Gallery, index: MapIndex, tile: TileId) -> Image.Image:
    """A map tile of `SIDE_PX` pixels, RGBA, transparent where the gallery has no imagery."""
    pieces, is_whole = plan_pieces(gallery, index, tile)
    if is_whole:
        canvas = Image.new("RGBA", (SIDE_PX, SIDE_PX))
    else:
        canvas = _overview(gallery, index, tile)
    return _mosaic(gallery, pieces, canvas)


def plan_pieces(gallery: Gallery, index: MapIndex, tile: TileId) -> tuple[list[_Piece], bool]:
    """The pictures that cover a map tile, few and hardly overlapping, `MAX_PICTURES` at most.

    Returns:
        the pieces, and whether they cover it as far as the gallery does: sizes of tiles that are
        too dense for this zoom are left out, and an overview stands in for them.
    """
    free = np.ones((SIDE_PX, SIDE_PX), np.bool_)
    pieces: list[_Piece] = []
    is_whole = True
    for kind in _by_fitness(index.classes, tile.zoom):
        if not free.any():
            break
        rows = kind.near(tile, limit=LOOKED_AT)
        rest = free.copy()
        added = None if rows is None else _fill(rest, _placed(gallery, rows, tile))
        if added is None or len(pieces) + len(added) > MAX_PICTURES:
            is_whole = False
            continue
        pieces, free = pieces + added, rest
    return pieces, is_whole


def _fill(free: Bool, candidates: list[_Piece]) -> list[_Piece] | None:
    """Those that cover what they can of what is free, and marks it; None: they are too many."""
    taken: list[_Piece] = []
    for wanted_share in (0.3, 0.0):  # first those that overlap little, then what fills gaps
        for piece in candidates:
            if _take(free, piece, wanted_share):
                taken.append(piece)
                if len(taken) > MAX_PICTURES:
                    return None
    return taken


def _by_fitness(classes: list[SizeClass], zoom: int) -> list[SizeClass]:
    """The finest size that is still large enough on this zoom, then the coarser, then the finer."""
    large = [kind for kind in classes if kind.share * SIDE_PX * 2.0**zoom >= SMALLEST_PX]
    small = [kind for kind in classes if kind not in large]
    return large + small[::-1]


def _placed(gallery: Gallery, rows: NDArray[np.int64], tile: TileId) -> list[_Piece]:
    """The rows' pictures in pixels of the map tile, those that fit a lattice of their size first.

    Inside one gallery tile latitudes and Mercator rows differ by a straight line: the bend is
    height^2 tan(lat) / 8 R, a hundredth of a pixel for tiles of a kilometre.
    """
    if not len(rows):
        return []
    left, top, right, bottom = world_boxes(gallery.tiles, rows)
    count, scale = 2.0**tile.zoom, SIDE_PX * 2.0**tile.zoom
    around = np.round((tile.x + 0.5) / count - (left + right) / 2)  # the other side of 180 degrees
    boxes = np.stack([left + around, top, right + around, bottom], axis=1) * scale
    boxes -= np.array([tile.x, tile.y, tile.x, tile.y]) * float(SIDE_PX)
    inside = np.all(boxes[:, :2] < SIDE_PX, axis=1) & np.all(boxes[:, 2:] > 0, axis=1)
    side = (right - left).max()
    off = np.maximum(
        np.abs((left + right) / 2 / side % 1 - 0.5), np.abs((top + bottom) / 2 / side % 1 - 0.5)
    )
    order = np.argsort(off, kind="stable")
    return [_Piece(int(rows[i]), tuple(boxes[i].tolist())) for i in order[inside[order]].tolist()]


def _take(free: Bool, piece: _Piece, wanted_share: float) -> bool:
    """Marks a piece's pixels as covered, if more than a share of them were free."""
    left, top, right, bottom = piece.target
    part = free[top:bottom, left:right]
    if np.count_nonzero(part) <= wanted_share * part.size:
        return False
    part[:] = False
    return True


def _mosaic(gallery: Gallery, pieces: list[_Piece], canvas: Image.Image) -> Image.Image:
    for piece in sorted(pieces, key=lambda one: one.row):  # neighbours lie in one row group
        left, top, right, bottom = piece.target
        x0, y0, x1, y1 = piece.box
        with Image.open(io.BytesIO(gallery.picture(piece.row))) as picture:
            picture.draft("RGB", (max(1, round(x1 - x0)), max(1, round(y1 - y0))))
            wide, high = picture.size
            cut_x = _cut((left - x0) / (x1 - x0), (right - x0) / (x1 - x0), wide)
            cut_y = _cut((top - y0) / (y1 - y0), (bottom - y0) / (y1 - y0), high)
            part = picture.convert("RGB").resize(
                (right - left, bottom - top),
                Image.Resampling.BILINEAR,
                box=(cut_x[0], cut_y[0], cut_x[1], cut_y[1]),
            )
        canvas.paste(part, (left, top))
    return canvas


def _cut(first: float, last: float, size_px: int) -> tuple[float, float]:
    """Shares of a picture's side as pixels inside it, a pixel at least."""
    start = min(max(first * size_px, 0.0), size_px - 1.0)
    return start, max(min(last * size_px, float(size_px)), start + 1.0)


def _overview(gallery: Gallery, index: MapIndex, tile: TileId) -> Image.Image:
    """Where imagery is, in the mean colours of a few of its pictures."""
    colours = np.zeros((SAMPLES_ACROSS, SAMPLES_ACROSS, 4), np.float32)
    for i, row in _samples(index, tile):
        with Image.open(io.BytesIO(gallery.picture(row))) as picture:
            picture.draft("RGB", (16, 16))
            colours[divmod(i, SAMPLES_ACROSS)] = (*_mean(picture), 1.0)
    smooth = np.stack([_enlarged(colours[..., band]) for band in range(4)], axis=-1)
    rgb = smooth[..., :3] / np.maximum(smooth[..., 3:], 1e-6)
    shape = np.zeros(SHAPE_ACROSS**2, np.bool_)
    for kind in index.classes:
        starts, stops = kind.runs(*_cells(tile, SHAPE_ACROSS))
        shape |= stops > starts
    steps = np.kron(shape.reshape(SHAPE_ACROSS, -1), np.ones((8, 8), np.bool_))
    alpha = np.where(steps & (smooth[..., 3] > 0), 255.0, 0.0)
    pixels = np.concatenate([rgb, alpha[..., None]], axis=-1).clip(0, 255).astype(np.uint8)
    return Image.fromarray(pixels)


def _mean(picture: Image.Image) -> list[float]:
    pixels = np.asarray(picture.convert("RGB"), np.float32).reshape(-1, 3)
    return [float(value) for value in pixels.mean(axis=0)]


def _enlarged(band: NDArray[np.float32]) -> NDArray[np.float32]:
    size = (SIDE_PX, SIDE_PX)
    return np.asarray(Image.fromarray(band).resize(size, Image.Resampling.BILINEAR), np.float32)


def _samples(index: MapIndex, tile: TileId) -> Iterator[tuple[int, int]]:
    """(cell, row): of every cell of the overview that holds tiles the middle one, large first."""
    missing = np.ones(SAMPLES_ACROSS**2, np.bool_)
    for kind in reversed(index.classes):
        starts, stops = kind.runs(*_cells(tile, SAMPLES_ACROSS))
        for i in np.flatnonzero(missing & (stops > starts)).tolist():
            missing[i] = False
            yield i, int(kind.rows[(starts[i] + stops[i]) // 2])


def _cells(tile: TileId, across: int) -> tuple[int, NDArray[np.int64], NDArray[np.int64]]:
    """(zoom, x, y) of a map tile's across x across smaller cells, row by row."""
    y, x = np.divmod(np.arange(across**2, dtype=np.int64), across)
    return tile.zoom + across.bit_length() - 1, tile.x * across + x, tile.y * across + y


def encoded(canvas: Image.Image, *, is_complete: bool = True) -> MapPicture:
    """A painted map tile as a file."""
    buffer = io.BytesIO()
    if canvas.getchannel("A").getextrema()[0] == 255:
        canvas.convert("RGB").save(buffer, "JPEG", quality=82)
        return MapPicture(buffer.getvalue(), "image/jpeg", is_complete)
    canvas.save(buffer, "PNG", compress_level=4)
    return MapPicture(buffer.getvalue(), "image/png", is_complete)
