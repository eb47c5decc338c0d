"""A source of random textures: fast, of any size, with empty and broken tiles where wanted."""

from crossfix.errors import SourceError
from crossfix.gallery_manifest import SourceInfo
from crossfix.geodesy import LocalFrame, LonLat
from index_builder.sources.source import TilePlan
from tests.tiny_encoder import random_texture

GROUP_TILES = 6


class MadeUpSource:
    """`count` tiles of 30 m on a grid seven wide.

    Attributes:
        seeds: what a tile's texture is made of; default its number.
        reads: numbers of the tiles that were read.
    """

    has_own_sizes = False

    def __init__(
        self, count=50, *, empty=(), broken=(), name="fake", seeds=None, fingerprint="f0", side=60
    ):
        self.count, self.empty, self.broken = count, set(empty), set(broken)
        self.name, self.seeds, self.state, self.side = name, seeds or {}, fingerprint, side
        self.reads = []

    def describe(self):
        return SourceInfo(
            name=self.name,
            attribution="",
            licence="",
            date="",
            crs="EPSG:4326",
            kind="raster",
            fingerprint=self.state,
        )

    def fingerprint(self):
        return self.state

    def plan(self, tile_size_m, overlap, area=None):  # noqa: ARG002
        size_m = tile_size_m or 30.0
        frame = LocalFrame(LonLat(20.0, 10.0))
        for index in range(self.count):
            lon, lat = frame.to_lonlat(index % 7 * size_m, index // 7 * size_m)
            place = LonLat(float(lon), float(lat))
            yield TilePlan(
                tile_id=f"{self.name}-{size_m:g}m-{index}",
                lon=place.lon,
                lat=place.lat,
                bounds=LocalFrame(place).square(size_m),
                size_m=size_m,
                resolution_m=None,
                date="",
                attribution="someone",
                licence="CC0-1.0",
                group=index // GROUP_TILES,
                place=index,
            )

    def read(self, plan):
        self.reads.append(plan.place)
        if plan.place in self.broken:
            raise SourceError(f"image {plan.place} is broken")
        if plan.place in self.empty:
            return None
        return random_texture(self.side, self.side, seed=self.seeds.get(plan.place, plan.place))

    def close(self):
        pass
