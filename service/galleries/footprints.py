"""Tiles of the live gallery in a box, as GeoJSON for people who look at maps."""

from typing import Any

from crossfix.tile_table import TileTable
from service.galleries.addresses import picture_url
from service.galleries.box import Box
from service.galleries.outlines import box_outline
from service.galleries.snapshot import Snapshot

__all__ = ["MOST_FOOTPRINTS", "Box", "footprints"]

MOST_FOOTPRINTS = 5000


def footprints(
    snapshot: Snapshot, box: Box | None, *, limit: int, root_path: str
) -> dict[str, Any]:
    """A FeatureCollection of the tiles in a box.

    Args:
        box: None for the whole gallery.
        limit: more than that are thinned out evenly; `left_off` says how many.
        root_path: the prefix a proxy serves us under.
    """
    found = snapshot.gallery.in_box(box, limit)
    return {
        "type": "FeatureCollection",
        "features": [
            _feature(found.tiles, row, snapshot.version, root_path) for row in found.at.tolist()
        ],
        "gallery_version": snapshot.version,
        "tiles_in_box": found.count,
        "left_off": found.count - len(found.at),
        "shards_missing": found.reach.shards_missing,
    }


def _feature(tiles: TileTable, row: int, version: str, root_path: str) -> dict[str, Any]:
    tile_id = tiles.ids[row]
    west, south = float(tiles.west[row]), float(tiles.south[row])
    east, north = float(tiles.east[row]), float(tiles.north[row])
    return {
        "type": "Feature",
        "id": tile_id,
        "geometry": box_outline(west=west, south=south, east=east, north=north),
        "properties": {
            "tile_id": tile_id,
            "lat": float(tiles.lat[row]),
            "lon": float(tiles.lon[row]),
            "size_m": float(tiles.size_m[row]),
            "date": tiles.date[row],
            "attribution": tiles.attribution[row],
            "licence": tiles.licence[row],
            "picture_url": picture_url(tile_id, version, root_path),
        },
    }
