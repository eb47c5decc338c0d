"""What is in a gallery version: tiles, sources, licences, ground covered, files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from crossfix.errors import GalleryCorrupt, GalleryError, InvalidParameter
from crossfix.gallery_manifest import RECIPE_FILE, TILES_FILE, GalleryManifest, SourceInfo
from crossfix.manifest import read_model
from index_builder.inspection.coverage_map import draw_coverage
from index_builder.inspection.footprints import source_codes, write_footprints
from index_builder.inspection.ground_cover import Boxes, area_km2
from index_builder.pieces import find_pieces, join_manifests, list_names, read_tiles
from index_builder.recipe import GalleryRecipe
from index_builder.sources.kinds import without_secrets

Int64 = NDArray[np.int64]

MAP_FILE, FOOTPRINTS_FILE = "coverage.png", "footprints.geojson"
_LISTED = 5  # different credits of one source


@dataclass(frozen=True)
class SourceSummary:
    """Tiles of one source.

    Attributes:
        location: where its imagery was; empty where nobody wrote it down.
        sizes_m: number of tiles by side.
        attributions, licences: as its tiles have them, the most frequent first; at most a few.
        dates: the first and the last.
    """

    info: SourceInfo
    location: str
    tiles: int
    sizes_m: dict[float, int]
    attributions: tuple[str, ...]
    licences: tuple[str, ...]
    dates: tuple[str, ...]


@dataclass(frozen=True)
class GallerySummary:
    """One version.

    Attributes:
        area_km2: ground covered.
        area_is_exact: overlaps were counted once; else the area is too large.
        versions: how many are kept.
        shards: 1 for a gallery of one piece.
        has_grid: tiles were cut to sizes asked for, and overlap.
    """

    root: Path
    manifest: GalleryManifest
    is_live: bool
    versions: int
    shards: int
    has_grid: bool
    sources: tuple[SourceSummary, ...]
    area_km2: float
    area_is_exact: bool


@dataclass(frozen=True)
class VersionSummary:
    """A line of `versions`; `manifest` is None where it cannot be read."""

    name: str
    is_live: bool
    manifest: GalleryManifest | None


@dataclass(frozen=True)
class WrittenFiles:
    """A picture, and GeoJSON of so many features."""

    map: Path
    footprints: Path
    features: int


class Inspection:
    """A version opened without its vectors; memory grows by some 100 bytes a tile.

    Raises:
        GalleryNotFound: no gallery or no such version there.
        GalleryCorrupt: manifest or tiles cannot be read.
    """

    def __init__(self, root: Path, version: str | None = None) -> None:
        self._root = root
        self._known, self._live = list_names(root)
        self._name, pieces = find_pieces(root, version)
        self._shards = len(pieces)
        self.manifest = join_manifests(self._name, [piece.read_manifest() for piece in pieces])
        self._tiles = read_tiles(pieces)
        self._names = [info.name for info in self.manifest.sources]
        self._codes = source_codes(self._tiles, self._names)
        self._boxes = Boxes.of(self._tiles)
        self._recipe = _read_recipe(pieces[0].directory / RECIPE_FILE)

    def summarise(self) -> GallerySummary:
        """Counts and credits."""
        area, exact = area_km2(self._boxes)
        return GallerySummary(
            root=self._root,
            manifest=self.manifest,
            is_live=self._name == self._live,
            versions=len(self._known),
            shards=self._shards,
            has_grid=self._recipe is None or bool(self._recipe.tile_sizes_m),
            sources=tuple(
                self._source(code, info) for code, info in enumerate(self.manifest.sources)
            ),
            area_km2=area,
            area_is_exact=exact,
        )

    def _source(self, code: int, info: SourceInfo) -> SourceSummary:
        rows = np.flatnonzero(self._codes == code)
        sizes, counts = np.unique(self._tiles.size_m[rows].round(3), return_counts=True)
        dates = [text for text in _frequent(self._tiles.date, rows, most=None) if text]
        return SourceSummary(
            info=info,
            location=self._location(info.name),
            tiles=len(rows),
            sizes_m=dict(zip(sizes.tolist(), counts.tolist(), strict=True)),
            attributions=_frequent(self._tiles.attribution, rows, most=_LISTED),
            licences=_frequent(self._tiles.licence, rows, most=_LISTED),
            dates=tuple(sorted({min(dates), max(dates)})) if dates else (),
        )

    def _location(self, name: str) -> str:
        sources = () if self._recipe is None else self._recipe.sources
        found = (spec.location for spec in sources if spec.name == name)
        return without_secrets(next(found, ""))

    def write(self, folder: Path, *, limit: int, summary: GallerySummary) -> WrittenFiles:
        """Writes the map and the footprints.

        Args:
            limit: with more tiles than this, outlines of sources take their place.

        Raises:
            InvalidParameter: the folder is a file.
        """
        if folder.exists() and not folder.is_dir():
            raise InvalidParameter(
                f"{folder} is a file", hint="name a folder for the map and the footprints"
            )
        folder.mkdir(parents=True, exist_ok=True)
        drawn, written = folder / MAP_FILE, folder / FOOTPRINTS_FILE
        about = "about " if not summary.area_is_exact else ""
        draw_coverage(
            drawn,
            self._boxes,
            self._codes,
            self._names,
            title=f"{self._root.resolve().name}  {self.manifest.version}",
            subtitle=f"{len(self._tiles):,} tiles, {about}{summary.area_km2:,.4g} km2 of ground",
        )
        features = write_footprints(written, self._tiles, self._names, limit=limit)
        return WrittenFiles(drawn, written, features)


def _read_recipe(path: Path) -> GalleryRecipe | None:
    """None where an older builder left no recipe."""
    return read_model(path, GalleryRecipe, GalleryCorrupt) if path.is_file() else None


def _frequent(texts: Sequence[str], rows: Int64, *, most: int | None) -> tuple[str, ...]:
    """Different texts among some rows, the most frequent first."""
    if not len(rows):
        return ()
    counted = pc.value_counts(pa.array(texts, pa.string()).take(pa.array(rows)))
    pairs = zip(
        counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True
    )
    ordered = [str(text) for text, _ in sorted(pairs, key=lambda pair: (-pair[1], pair[0]))]
    return tuple(ordered[:most])


def count_sources(root: Path, version: str) -> dict[str, int]:
    """Tiles by source of a version, in the manifest's order."""
    _, pieces = find_pieces(root, version)
    counts = {info.name: 0 for info in pieces[0].read_manifest().sources}
    for piece in pieces:
        column = pq.read_table(piece.directory / TILES_FILE, columns=["source"]).column("source")
        for counted in pc.value_counts(pc.cast(column, pa.string())).to_pylist():
            counts[counted["values"]] = counts.get(counted["values"], 0) + counted["counts"]
    return counts


def summarise_versions(root: Path) -> list[VersionSummary]:
    """All versions of a gallery (epochs of a sharded one), oldest first.

    Raises:
        GalleryNotFound: no gallery there.
    """
    names, live = list_names(root)
    return [VersionSummary(name, name == live, _manifest(root, name)) for name in names]


def _manifest(root: Path, version: str) -> GalleryManifest | None:
    try:
        _, pieces = find_pieces(root, version)
        return join_manifests(version, [piece.read_manifest() for piece in pieces])
    except (GalleryError, OSError):
        return None
