"""Small tile sets of a painting that is known everywhere, in every kind of store."""

import io
import sqlite3
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image
from pmtiles.tile import Compression, TileType, zxy_to_tileid
from pmtiles.writer import Writer

from crossfix.geodesy import LonLat, TileId, tile_at, tile_bounds, to_web_mercator

METADATA = {"name": "painting", "attribution": "painted <b>by hand</b>", "license": "CC0"}


@dataclass(frozen=True)
class Painting:
    """Smooth colours of the whole world, waves of a few tens of pixels at a zoom."""

    zoom: int
    wave_px: float = 60.0

    def at(self, lon, lat):
        """(..., 3) float colours in 28..228."""
        world_px = 256 * 2**self.zoom
        # Whole waves round the world: no seam at the antimeridian.
        turns = max(1, round(world_px / self.wave_px))
        x, y = (2 * np.pi * turns * share for share in to_web_mercator(lon, lat))
        bands = (np.sin(x) * np.cos(y), np.sin(x + 1) * np.sin(y + 2), np.cos(x + y))
        return 128 + 100 * np.stack(bands, axis=-1)

    def tile(self, tile, side_px=256):
        """(side, side, 3) uint8, the colours at the pixels' centres."""
        lon, lat = tile_pixel_centres(tile, side_px)
        return np.clip(self.at(lon, lat) + 0.5, 0, 255).astype(np.uint8)


def tile_pixel_centres(tile, side_px):
    """lon and lat, (side, side) each."""
    share = (np.arange(side_px) + 0.5) / side_px
    world = 2.0**tile.zoom
    lon = (tile.x + share) / world * 360 - 180
    lat = np.degrees(np.arctan(np.sinh(np.pi * (1 - 2 * (tile.y + share) / world))))
    return np.meshgrid(lon, lat)


def pixel_centres(bounds, side_px):
    """lon and lat of the pixels of a gallery tile, (side, side) each."""
    share = (np.arange(side_px) + 0.5) / side_px
    width = (bounds.east - bounds.west) % 360
    return np.meshgrid(
        bounds.west + share * width, bounds.north - share * (bounds.north - bounds.south)
    )


def patch(zoom, lon, lat, *, columns=3, rows=3):
    """Tiles around a place, x wrapped."""
    middle = tile_at(LonLat(lon, lat), zoom)
    left, top = middle.x - columns // 2, middle.y - rows // 2
    return [
        TileId(zoom, (left + column) % 2**zoom, top + row)
        for column in range(columns)
        for row in range(rows)
        if 0 <= top + row < 2**zoom
    ]


def encode(pixels, form="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def painted(tiles, painting, side_px=256, form="PNG"):
    """Tile to encoded image."""
    return {tile: encode(painting.tile(tile, side_px), form) for tile in tiles}


def write_folder(folder, images, *, flat=False, from_south=False, extension="png"):
    for tile, data in images.items():
        y = 2**tile.zoom - 1 - tile.y if from_south else tile.y
        stem = f"{tile.zoom}_{tile.x}_{y}" if flat else f"{tile.zoom}/{tile.x}/{y}"
        path = folder / f"{stem}.{extension}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def write_mbtiles(path, images, **metadata):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE metadata (name text, value text)")
    connection.execute(
        "CREATE TABLE tiles (zoom_level integer, tile_column integer, tile_row integer, "
        "tile_data blob)"
    )
    connection.execute(
        "CREATE UNIQUE INDEX tile_index ON tiles (zoom_level, tile_column, tile_row)"
    )
    pairs = {"format": "png", **METADATA, **metadata}.items()
    connection.executemany("INSERT INTO metadata VALUES (?, ?)", pairs)
    rows = ((t.zoom, t.x, 2**t.zoom - 1 - t.y, data) for t, data in images.items())
    connection.executemany("INSERT INTO tiles VALUES (?, ?, ?, ?)", rows)
    connection.commit()
    connection.close()
    return path


def write_pmtiles(path, images, *, tile_type=TileType.PNG, compression=Compression.NONE):
    with path.open("wb") as handle:
        writer = Writer(handle)
        for tile in sorted(images, key=lambda t: zxy_to_tileid(t.zoom, t.x, t.y)):
            writer.write_tile(zxy_to_tileid(tile.zoom, tile.x, tile.y), images[tile])
        writer.finalize({"tile_type": tile_type, "tile_compression": compression}, METADATA)
    return path


@dataclass
class Answer:
    """What the server says."""

    body: bytes = b""
    status: int = 200
    headers: dict = field(default_factory=dict)
    delay_s: float = 0.0
    declared_length: int | None = None
    pieces: int = 1  # the body trickles in so many, `delay_s` apart


class TileServer:
    """A server on this machine. `answer(path, times)` says what the n-th request gets."""

    def __init__(self, answer):
        self.requests = Counter()
        self.user_agents = set()
        self.moments = []
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                with outer._lock:
                    outer.requests[self.path] += 1
                    times = outer.requests[self.path]
                    outer.user_agents.add(self.headers["User-Agent"])
                    outer.moments.append(time.monotonic())
                outer._write(self, answer(self.path, times))

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = True
        self.host = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def count(self):
        return sum(self.requests.values())

    @staticmethod
    def _write(handler, answer):
        try:
            if answer.pieces == 1:
                time.sleep(answer.delay_s)
            handler.send_response(answer.status)
            length = len(answer.body) if answer.declared_length is None else answer.declared_length
            for name, value in {"Content-Length": str(length), **answer.headers}.items():
                handler.send_header(name, value)
            handler.end_headers()
            size = -(-len(answer.body) // answer.pieces) or 1
            for start in range(0, len(answer.body), size):
                handler.wfile.write(answer.body[start : start + size])
                handler.wfile.flush()
                time.sleep(answer.delay_s if answer.pieces > 1 else 0)
            handler.close_connection = answer.declared_length is not None
        except OSError:
            pass  # the client went away, as some tests want

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def serve_tiles(images):
    """A server of `/z/x/y.png`; anything else is 404."""
    named = {f"/{t.zoom}/{t.x}/{t.y}.png": data for t, data in images.items()}
    with TileServer(
        lambda path, _: Answer(named[path]) if path in named else Answer(b"none", 404)
    ) as server:
        yield server


def square_area(tiles):
    """A GeoJSON polygon a little inside the box of some tiles, which do not cross the seam."""
    boxes = [tile_bounds(tile) for tile in tiles]
    west, south = min(b.west for b in boxes), min(b.south for b in boxes)
    east, north = max(b.east for b in boxes), max(b.north for b in boxes)
    dx, dy = (east - west) * 1e-6, (north - south) * 1e-6
    west, south, east, north = west + dx, south + dy, east - dx, north - dy
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}
