"""The manifest of an assembled version."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import crossfix
from crossfix.encoder import Encoder
from crossfix.gallery_manifest import (
    INDEX_FILE,
    MANIFEST_FILE,
    PICTURES_FILE,
    RECIPE_FILE,
    TILES_FILE,
    VECTORS_FILE,
    GalleryManifest,
    IndexInfo,
    SourceInfo,
)
from crossfix.manifest import FileEntry, write_json_atomic
from index_builder.assembly.assemble import Assembled
from index_builder.left_out import LEFT_OUT_FILE
from index_builder.recipe import GalleryRecipe

_FILES = (VECTORS_FILE, TILES_FILE, PICTURES_FILE, RECIPE_FILE, LEFT_OUT_FILE)


def write_recipe(directory: Path, recipe: GalleryRecipe) -> None:
    """Leaves in the version what it was made of, for updates."""
    write_json_atomic(directory / RECIPE_FILE, recipe.model_dump(mode="json"))


def write_manifest(
    directory: Path,
    version: str,
    assembled: Assembled,
    *,
    encoder: Encoder,
    recipe: GalleryRecipe,
    sources: Sequence[SourceInfo],
    index: IndexInfo,
    computed_on: str,
) -> GalleryManifest:
    """Describes the files of a version, the manifest being the last of them.

    Args:
        computed_on: see `GalleryManifest`.
    """
    names = [name for name in (*_FILES, INDEX_FILE) if (directory / name).is_file()]
    manifest = GalleryManifest(
        version=version,
        embedding_space_id=encoder.embedding_space_id,
        encoder_name=encoder.manifest.name,
        tile_count=assembled.tile_count,
        embedding_dim=encoder.embedding_dim,
        index=index,
        bounds=assembled.bounds,
        tile_sizes_m=assembled.tile_sizes_m,
        overlap=recipe.overlap,
        sources=list(sources),
        files={name: FileEntry.of(directory / name) for name in names},
        content_hash=assembled.content_hash,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        builder_revision=crossfix.__version__,
        computed_on=computed_on,
    )
    write_json_atomic(directory / MANIFEST_FILE, manifest.model_dump(mode="json"))
    return manifest
