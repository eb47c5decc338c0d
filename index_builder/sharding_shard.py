"""The files of one shard: cut out of an assembled version, or taken over from an older one."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from crossfix.errors import GalleryCorrupt
from crossfix.gallery_manifest import (
    INDEX_FILE,
    MANIFEST_FILE,
    PICTURES_FILE,
    RECIPE_FILE,
    TILES_FILE,
    VECTORS_FILE,
    GalleryManifest,
    IndexInfo,
)
from crossfix.manifest import FileEntry, read_model, write_json_atomic
from index_builder.assembly.bounds import find_bounds
from index_builder.indexing.build_index import build_index
from index_builder.publish import new_version_name
from index_builder.recipe import GalleryRecipe, IndexRequest
from index_builder.sharding_split import ShardCut, hash_cut, write_cut, write_left_out

_BOX = ("west", "south", "east", "north")
_TILE_FILES = (VECTORS_FILE, TILES_FILE, PICTURES_FILE)
# What must be equal besides the tiles themselves for pictures and index to be the same.
_MADE_BY = ("embedding_space_id", "embedding_dim", "builder_revision", "computed_on")


@dataclass(frozen=True)
class ShardMaker:
    """Writes the shards of one epoch.

    Attributes:
        assembled: the version that is cut.
        whole: what its manifest would say were it published in one piece.
        index: asked for in every shard.
        threads: for making indexes.
    """

    assembled: Path
    whole: GalleryManifest
    index: IndexRequest
    threads: int

    def write(self, cut: ShardCut, built: Path, shard_root: Path) -> GalleryManifest:
        """Writes a shard's rows and makes its index.

        Args:
            built: an empty directory.
            shard_root: of the gallery it will be published in.
        """
        write_cut(self.assembled, cut, built, dim=self.whole.embedding_dim)
        index = self._make_index(cut, built)
        boxes = pq.read_table(built / TILES_FILE, columns=[*_BOX, "size_m"])
        content_hash = hash_cut(built, ShardCut.all_of(cut.tile_count), self.whole.embedding_dim)
        about = {
            "index": index,
            "bounds": find_bounds(*(boxes.column(name).to_numpy() for name in _BOX)),
            "tile_sizes_m": np.unique(boxes.column("size_m").to_numpy().round(3)).tolist(),
            "content_hash": content_hash,
        }
        return self._finish(cut, built, shard_root, about, {})

    def take_over(
        self, old: Path, cut: ShardCut, built: Path, shard_root: Path
    ) -> GalleryManifest | None:
        """Links a shard's files to those of an older version; None where its tiles differ.

        The new version stands for itself: it says the new recipe and sources, and whatever becomes
        of the older one, the files stay while one of the two has them.

        Args:
            old: its directory.
        """
        before = read_model(old / MANIFEST_FILE, GalleryManifest, GalleryCorrupt)
        if before.tile_count != cut.tile_count or any(
            getattr(before, name) != getattr(self.whole, name) for name in _MADE_BY
        ):
            return None
        if before.content_hash != hash_cut(self.assembled, cut, self.whole.embedding_dim):
            return None
        names = [*_TILE_FILES]
        same_index = self._was_asked(old)
        if same_index and (old / INDEX_FILE).is_file():
            names.append(INDEX_FILE)
        for name in names:
            _link(old / name, built / name)
        write_left_out(self.assembled, cut, built)
        kept = {name: before.files[name] for name in names}
        about = {
            "index": before.index if same_index else self._make_index(cut, built),
            "bounds": before.bounds,
            "tile_sizes_m": before.tile_sizes_m,
            "content_hash": before.content_hash,
        }
        return self._finish(cut, built, shard_root, about, kept)

    def _was_asked(self, old: Path) -> bool:
        """Whether the older version's index was made as this one's would be."""
        recipe = old / RECIPE_FILE
        if not recipe.is_file():
            return False
        return read_model(recipe, GalleryRecipe, GalleryCorrupt).index == self.index

    def _make_index(self, cut: ShardCut, built: Path) -> IndexInfo:
        dim = self.whole.embedding_dim
        return build_index(built, cut.tile_count, dim, self.index, threads=self.threads)

    def _finish(
        self,
        cut: ShardCut,
        built: Path,
        shard_root: Path,
        about: dict[str, Any],
        known: dict[str, FileEntry],
    ) -> GalleryManifest:
        """Adds recipe and manifest.

        Args:
            known: files whose checksums need not be computed again.
        """
        if (self.assembled / RECIPE_FILE).is_file():
            shutil.copyfile(self.assembled / RECIPE_FILE, built / RECIPE_FILE)
        files = {
            path.name: known.get(path.name) or FileEntry.of(path)
            for path in sorted(built.iterdir())
        }
        named = {
            "version": new_version_name(shard_root, about["content_hash"]),
            "tile_count": cut.tile_count,
            "files": files,
        }
        manifest = self.whole.model_copy(update=about | named)
        write_json_atomic(built / MANIFEST_FILE, manifest.model_dump(mode="json"))
        return manifest


def _link(source: Path, target: Path) -> None:
    """A second name for a file that nobody changes; a copy where the file system has none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
