"""Changing a gallery: the live version's recipe, changed, and what did not change kept."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from crossfix.errors import GalleryCorrupt, GalleryError, InvalidParameter
from crossfix.gallery_manifest import RECIPE_FILE
from crossfix.manifest import read_model, verify_files
from crossfix.sharded_gallery_manifest import is_sharded, read_epoch
from index_builder.build import Base, BuildReport, BuildRequest, build_gallery
from index_builder.embedding import Progress
from index_builder.pieces import find_pieces, join_manifests
from index_builder.publish import Step, ignore_step
from index_builder.recipe import GalleryRecipe, IndexRequest, settle_sources
from index_builder.sharding_epochs import require_own_manifests
from index_builder.sources.confinement import ANYWHERE, Confinement
from index_builder.sources.spec import SourceSpec


@dataclass(frozen=True)
class Changes:
    """What shall be different; nothing here means: read what has changed in the imagery.

    Attributes:
        add: new sources.
        remove: names of sources, as `inspect` lists them.
        retire: GeoJSON geometries; tiles whose centre lies in one go.
        restore: forget all regions that were retired before.
        area: GeoJSON geometry that replaces the area of interest.
        everywhere: drop the area of interest.
        index: another way to search.
    """

    add: tuple[SourceSpec, ...] = ()
    remove: tuple[str, ...] = ()
    retire: tuple[dict[str, Any], ...] = ()
    restore: bool = False
    area: dict[str, Any] | None = None
    everywhere: bool = False
    index: IndexRequest | None = None


@dataclass(frozen=True)
class UpdateRequest:
    """What to update, and with what; the rest as in `BuildRequest`.

    Attributes:
        gallery: its root directory.
        reread: compare the pixels even of sources whose files have not changed.
        shards: how many a sharded gallery shall have; 0 is as many as it has.
    """

    encoder_dir: Path
    gallery: Path
    changes: Changes = Changes()
    keep: int = 3
    skip_unreadable: bool = False
    readers: int = 2
    threads: int = 0
    device: str = "auto"
    batch_size: int = 16
    reread: bool = False
    engine: Literal["local", "ray"] = "local"
    ray_address: str = ""
    workers: int = 0
    shards: int = 0
    within: Confinement = ANYWHERE


def update_gallery(
    request: UpdateRequest,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    step: Step = ignore_step,
) -> BuildReport:
    """Builds a changed version beside the live one and makes it live; equals a full rebuild.

    Tiles at the same place with the same pixels are taken over; those of sources whose files
    have not changed are not even read. With another encoder everything is embedded again.
    `BuildReport.changes` counts what was embedded, reused, added and retired.

    Raises:
        GalleryNotFound: no gallery there.
        GalleryError: it has no recipe (format 1), or is damaged.
        InvalidParameter: a source to be removed is not in it, or none would be left; a region to
            be retired holds no tile.
        CrossfixError: as `build_gallery`.
    """
    base = _open_base(request)
    recipe = change_recipe(_read_recipe(base.directories[0]), request.changes)
    shared = {field.name for field in fields(BuildRequest)} & {
        field.name for field in fields(UpdateRequest)
    }
    same = {name: getattr(request, name) for name in shared}
    same["shards"] = request.shards or len(base.directories)
    build = BuildRequest(recipe=recipe, out=request.gallery, **same)
    return build_gallery(build, on_progress=on_progress, step=step, base=base)


def change_recipe(recipe: GalleryRecipe, changes: Changes) -> GalleryRecipe:
    """The recipe of the next version; sources that stay keep their names.

    Raises:
        InvalidParameter: a source to be removed is not in it, or none would be left.
    """
    names = [spec.name for spec in recipe.sources]
    for name in changes.remove:
        if name not in names:
            raise InvalidParameter(
                f"the gallery has no source {name!r}", hint=f"it has {', '.join(names)}"
            )
    kept = [spec for spec in recipe.sources if spec.name not in changes.remove]
    taken = [spec.name for spec in kept]
    sources = (*kept, *settle_sources(changes.add, Path.cwd(), taken=taken))
    if not sources:
        raise InvalidParameter(
            "the gallery would have no source left", hint="add another one in the same update"
        )
    area = recipe.area if changes.area is None else changes.area
    return GalleryRecipe(
        sources=sources,
        tile_sizes_m=recipe.tile_sizes_m,
        overlap=recipe.overlap,
        area=None if changes.everywhere else area,
        retired=(*(() if changes.restore else recipe.retired), *changes.retire),
        index=changes.index or recipe.index,
    )


def _open_base(request: UpdateRequest) -> Base:
    root = request.gallery
    name, pieces = find_pieces(root)
    manifests = [piece.read_manifest() for piece in pieces]
    whole = join_manifests(name, manifests)
    if is_sharded(root):
        epoch = read_epoch(root, name)
        require_own_manifests(root, epoch)
        whole = whole.model_copy(update={"content_hash": epoch.content_hash})
    for piece, manifest in zip(pieces, manifests, strict=True):
        verify_files(piece.directory, manifest.files, GalleryCorrupt)  # damage must not be copied
    directories = tuple(piece.directory for piece in pieces)
    return Base(whole, directories, reread=request.reread, retiring=len(request.changes.retire))


def _read_recipe(directory: Path) -> GalleryRecipe:
    if not (directory / RECIPE_FILE).is_file():
        raise GalleryError(
            f"gallery version {directory} has no {RECIPE_FILE}: an older builder made it",
            hint="build the gallery once more; from then on it can be updated",
        )
    return read_model(directory / RECIPE_FILE, GalleryRecipe, GalleryCorrupt)
