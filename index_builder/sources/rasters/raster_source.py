"""Tiles cut from one georeferenced raster: any coordinate system, any number type."""

from pathlib import Path

from index_builder.sources.confinement import ANYWHERE, Confinement
from index_builder.sources.rasters.block_source import BlockSource
from index_builder.sources.rasters.file_states import hash_file_states
from index_builder.sources.rasters.mosaic import Mosaic
from index_builder.sources.rasters.raster import inspect_rasters
from index_builder.sources.spec import SourceSpec


class RasterSource(BlockSource):
    """A raster file as a `TileSource`; its tiles are centred on it.

    Raises:
        SourceError: the file cannot be used.
    """

    def __init__(
        self, spec: SourceSpec, *, name: str, tile_px: int, within: Confinement = ANYWHERE
    ) -> None:
        self._path = Path(spec.location)
        super().__init__(
            spec,
            Mosaic(inspect_rasters([self._path], within), within=within),
            name=name,
            label=f"raster {self._path}",
            kind="raster",
            tile_px=tile_px,
            anchored=False,
        )

    def fingerprint(self) -> str:
        """Of the file, and of those it refers to (overviews, a VRT's rasters)."""
        (facts,) = self._mosaic.facts
        return hash_file_states(facts.files, under=self._path.parent)
