"""Footprints of a gallery's tiles as GeoJSON (RFC 7946), written as they come."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
import shapely.affinity
from numpy.typing import NDArray
from shapely.geometry.polygon import orient

from crossfix.tile_table import TileTable
from index_builder.inspection.ground_cover import Boxes, outline

_BATCH = 4096
_DIGITS = 8  # a millimetre
_PROPERTIES = ("source", "date", "attribution", "licence")


def write_footprints(path: Path, tiles: TileTable, names: list[str], *, limit: int) -> int:
    """Writes one feature per tile, or one outline per source where there are more than `limit`.

    Polygons across the antimeridian are cut there into a MultiPolygon.

    Args:
        names: of the sources.

    Returns:
        the number of features.
    """
    features = _tiles(tiles) if len(tiles) <= limit else _outlines(tiles, names)
    count = 0
    with path.open("w", encoding="utf-8") as handle:
        handle.write('{"type": "FeatureCollection", "features": [\n')
        for feature in features:
            handle.write(",\n" if count else "")
            handle.write(json.dumps(feature, ensure_ascii=False, separators=(",", ":")))
            count += 1
        handle.write("\n]}\n")
    return count


def _tiles(tiles: TileTable) -> Iterator[dict[str, Any]]:
    for start in range(0, len(tiles), _BATCH):
        rows = slice(start, start + _BATCH)
        numbers = zip(
            *(getattr(tiles, name)[rows].tolist() for name in
              ("west", "south", "east", "north", "lon", "lat", "size_m", "resolution_m")),
            strict=True,
        )  # fmt: skip
        texts = zip(tiles.ids[rows], *(getattr(tiles, name)[rows] for name in _PROPERTIES),
                    strict=True)  # fmt: skip
        for (west, south, east, north, lon, lat, size_m, resolution_m), words in zip(
            numbers, texts, strict=True
        ):
            east = east if east >= west else east + 360
            properties = {
                "tile_id": words[0],
                "lon": round(lon, _DIGITS),
                "lat": round(lat, _DIGITS),
                "size_m": round(size_m, 3),
                "resolution_m": round(resolution_m, 4),
                **dict(zip(_PROPERTIES, words[1:], strict=True)),
            }
            yield _feature(_box_geometry(west, south, east, north), properties)


def _feature(geometry: dict[str, Any], properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def _box_geometry(west: float, south: float, east: float, north: float) -> dict[str, Any]:
    if east <= 180:
        return {"type": "Polygon", "coordinates": [_ring(west, south, east, north)]}
    halves = ((west, 180.0), (-180.0, east - 360))
    return {
        "type": "MultiPolygon",
        "coordinates": [[_ring(left, south, right, north)] for left, right in halves],
    }


def _ring(west: float, south: float, east: float, north: float) -> list[list[float]]:
    """Anticlockwise and closed."""
    corners = ((west, south), (east, south), (east, north), (west, north), (west, south))
    return [[round(x, _DIGITS), round(y, _DIGITS)] for x, y in corners]


def _outlines(tiles: TileTable, names: list[str]) -> Iterator[dict[str, Any]]:
    boxes, codes = Boxes.of(tiles), source_codes(tiles, names)
    for code, name in enumerate(names):
        inside = np.flatnonzero(codes == code)
        if not len(inside):
            continue
        some = boxes.select(inside)
        found, exactly = outline(some), "around all tiles"
        if found is None:
            found = shapely.box(
                some.west.min(), some.south.min(), some.east.max(), some.north.max()
            )
            exactly = "bounding box, as the tiles are too many and too scattered"
        properties = {"source": name, "tiles": len(inside), "outline": exactly}
        yield _feature(split_at_antimeridian(found), properties)


def split_at_antimeridian(geometry: Any) -> dict[str, Any]:  # noqa: ANN401
    """GeoJSON of a geometry whose longitudes go on beyond 180, cut there (RFC 7946, 3.1.9)."""
    world = shapely.box(-180, -90, 180, 90)
    west, _, east, _ = (float(side) for side in shapely.bounds(geometry))
    parts: list[Any] = []
    for turn in range(math.floor((west + 180) / 360), math.floor((east + 180) / 360) + 1):
        moved = shapely.affinity.translate(geometry, xoff=-360.0 * turn)
        inside = shapely.set_precision(shapely.intersection(moved, world), 10.0**-_DIGITS)
        parts += [one for one in shapely.get_parts(inside) if one.geom_type == "Polygon"]
    whole = shapely.multipolygons([orient(one) for one in parts])
    geojson: dict[str, Any] = json.loads(shapely.to_geojson(whole))
    return geojson


def source_codes(tiles: TileTable, names: list[str]) -> NDArray[np.int64]:
    """(N,) index into `names` of each tile's source; -1 where it is not among them."""
    column = pa.array(tiles.source, pa.string())
    found = pc.fill_null(pc.index_in(column, pa.array(names, pa.string())), -1)
    return np.asarray(found).astype(np.int64)
