"""Many rasters as one source: tiles are cut over their union, on one grid."""

from pathlib import Path

from index_builder.sources.confinement import ANYWHERE, Confinement
from index_builder.sources.rasters.block_source import BlockSource
from index_builder.sources.rasters.file_states import hash_file_states
from index_builder.sources.rasters.mosaic import Mosaic
from index_builder.sources.rasters.mosaic_files import find_rasters
from index_builder.sources.rasters.raster import inspect_rasters
from index_builder.sources.spec import SourceSpec


class MosaicSource(BlockSource):
    """A folder, a list or a pattern of rasters as a `TileSource`; see `find_rasters`.

    They may differ in coordinate system, resolution and number type, and may overlap: where
    several have data, the first in the order of `find_rasters` is seen, and later ones fill what
    it leaves empty. A tile's date and attribution are those of the first raster that covers a
    twentieth of it. Tiles lie on a grid fixed to the Earth, so those of the old rasters stay the
    same when others are added.

    Raises:
        SourceError: nothing found, or a raster cannot be used.
    """

    def __init__(
        self, spec: SourceSpec, *, name: str, tile_px: int, within: Confinement = ANYWHERE
    ) -> None:
        files = find_rasters(spec.location, within)
        self._folder = Path(spec.location) if Path(spec.location).is_dir() else files[0].parent
        super().__init__(
            spec,
            Mosaic(inspect_rasters(files, within), within=within),
            name=name,
            label=f"mosaic {spec.location}",
            kind="mosaic",
            tile_px=tile_px,
            anchored=True,
        )

    def fingerprint(self) -> str:
        """Of all files, and of those they refer to, in the order in which they lie."""
        files = dict.fromkeys(file for facts in self._mosaic.facts for file in facts.files)
        return hash_file_states(files, under=self._folder)
