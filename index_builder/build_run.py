"""One build: embedding, assembling, indexing and publishing in a locked gallery."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import crossfix
from crossfix.errors import PublishError, SourceError
from crossfix.gallery import version_directory
from crossfix.gallery_manifest import RECIPE_FILE, GalleryManifest, IndexInfo
from crossfix.sharded_gallery_manifest import read_epoch
from index_builder.assembly.assemble import Assembled, assemble_version
from index_builder.assembly.changes import UpdateCounts, count_changes
from index_builder.assembly.description import write_manifest, write_recipe
from index_builder.build_request import Base, BuildReport, BuildRequest
from index_builder.embedding.engine import Engine
from index_builder.embedding.local_engine import LocalEngine
from index_builder.embedding.open_task import OpenTask
from index_builder.embedding.part_file import part_path, read_result
from index_builder.embedding.parts import Part, iterate_parts
from index_builder.embedding.preparation import Preparation
from index_builder.embedding.progress import EmbeddingStats, Progress
from index_builder.embedding.tally import Tally
from index_builder.embedding.task import EmbeddingTask
from index_builder.indexing.build_index import build_index
from index_builder.indexing.joining import least_exact
from index_builder.left_out import left_out_rows
from index_builder.pieces import find_pieces
from index_builder.publish import Staging, Step, new_version_name, publish

OnProgress = Callable[[Progress], None]

# What a build passes before the steps of publishing (`publish.STEPS`).
BUILD_STEPS = ("embedded", "assembled", "indexed")


class BuildRun:
    """One build; its gallery must be locked while it lasts."""

    def __init__(
        self,
        request: BuildRequest,
        preparation: Preparation,
        place: Staging,
        base: Base | None,
        on_progress: OnProgress | None,
        step: Step,
    ) -> None:
        self._request, self._preparation, self._place = request, preparation, place
        self._base, self._step = base, step
        self._kept_shards = 0
        self._tally = Tally(preparation.survey.tiles, on_progress)

    def finish(self) -> BuildReport:
        """Does what is left to do, and makes the version live; errors as `build_gallery`."""
        stats = self._embed()
        self._step("embedded")
        assembled = self._assemble(stats)
        self._step("assembled")
        changes = None
        if self._base is not None:
            old, new = self._base.directories, self._place.version
            changes = count_changes(old, new, reused=stats.reused)
            if self._equals_base(assembled):
                return self._report(self._base.manifest, stats, changes=changes, published=False)
        manifest = self._describe(assembled)
        self._step("indexed")
        manifest, removed = self._publish(manifest)
        return self._report(manifest, stats, removed=removed, changes=changes)

    def _embed(self) -> EmbeddingStats:
        request, preparation = self._request, self._preparation
        task = EmbeddingTask(
            encoder_dir=request.encoder_dir.absolute(),
            sources=preparation.recipe.sources,
            tile_px=preparation.tile_px,
            parts_directory=self._place.parts.absolute(),
            device=request.device,
            threads=request.threads,
            readers=request.readers,
            batch_size=request.batch_size,
            skip_unreadable=request.skip_unreadable,
            reuse_from=self._reused_directories(),
            reread=self._base is not None and self._base.reread,
            within=request.within,
        )
        parts = iterate_parts(preparation.sources, preparation.recipe)
        engine, encoders = self._choose_engine(task)
        engine.run(task, self._without_finished(parts), self._tally.add)
        stats = self._tally.finish(encoders)
        self._require_usable(stats)
        return stats

    def _reused_directories(self) -> tuple[Path, ...]:
        directories = () if self._base is None else self._base.directories
        return tuple(directory.absolute() for directory in directories)

    def _require_usable(self, stats: EmbeddingStats) -> None:
        preparation = self._preparation
        if self._tally.parts != preparation.survey.parts:
            raise PublishError(
                f"{self._tally.parts} of {preparation.survey.parts} parts were embedded",
                hint="build again: what is done stays done",
            )
        try:
            preparation.require_unchanged()
            if not stats.tiles:
                raise SourceError(
                    f"none of {preparation.survey.tiles} planned tiles holds an image "
                    f"({stats.empty_tiles} more than half empty, {len(stats.unreadable)} "
                    "unreadable)",
                    hint="use smaller tiles, or check the imagery's nodata value and the area",
                )
        except SourceError:
            self._place.discard_parts()  # nothing that a later build could use
            raise

    def _choose_engine(self, task: EmbeddingTask) -> tuple[Engine, int | None]:
        """The engine, and how many tiles it encodes at once where that is known."""
        if self._request.engine == "ray":
            from index_builder.engines.ray_engine import RayEngine

            return RayEngine(address=self._request.ray_address, workers=self._request.workers), None
        opened = OpenTask(
            task, encoder=self._preparation.encoder, sources=self._preparation.sources
        )
        return LocalEngine(opened, self._tally.tick), opened.lanes

    def _without_finished(self, parts: Iterator[Part]) -> Iterator[Part]:
        """Parts that an interrupted build has not finished; those it has are counted."""
        for part in parts:
            done = read_result(self._place.parts, part.number)
            if done is not None and (self._request.skip_unreadable or not done.unreadable):
                self._tally.add_resumed(done)
                continue
            part_path(self._place.parts, part.number).unlink(missing_ok=True)
            yield part

    def _assemble(self, stats: EmbeddingStats) -> Assembled:
        directory = self._place.fresh_version()
        write_recipe(directory, self._preparation.recipe)
        assembled = assemble_version(self._place.parts, self._preparation.survey.parts, directory)
        assert assembled.tile_count == stats.tiles
        return assembled

    def _equals_base(self, assembled: Assembled) -> bool:
        assert self._base is not None
        before = self._base.manifest
        preparation = self._preparation
        said_before = (before.embedding_space_id, before.builder_revision, before.computed_on)
        # What is not said anew would be embedded again by every update.
        said_now = (
            preparation.encoder.embedding_space_id,
            crossfix.__version__,
            preparation.computed_on,
        )
        return (
            before.content_hash == assembled.content_hash
            and len(self._base.directories) == self._request.shards
            and before.sources == preparation.infos
            and said_before == said_now
            and self._tells_what_base_tells()
        )

    def _tells_what_base_tells(self) -> bool:
        """Of its recipe, and of the tiles that were left out."""
        assert self._base is not None
        old, new = self._base.directories, self._place.version
        recipes = [directory / RECIPE_FILE for directory in (old[0], new)]
        return recipes[0].read_bytes() == recipes[1].read_bytes() and left_out_rows(
            old
        ) == left_out_rows([new])

    def _describe(self, assembled: Assembled) -> GalleryManifest:
        directory, preparation = self._place.version, self._preparation
        index = IndexInfo(kind="exact_f16", parameters={}, measured_recall_at_10=1.0)
        if self._request.shards == 1:  # each shard gets an index of its own
            index = build_index(
                directory,
                assembled.tile_count,
                preparation.encoder.embedding_dim,
                preparation.recipe.index,
                threads=self._request.threads or os.cpu_count() or 1,
            )
        return write_manifest(
            directory,
            new_version_name(self._request.out, assembled.content_hash),
            assembled,
            encoder=preparation.encoder,
            recipe=preparation.recipe,
            sources=preparation.infos,
            index=index,
            computed_on=preparation.computed_on,
        )

    def _publish(self, manifest: GalleryManifest) -> tuple[GalleryManifest, list[str]]:
        """What is live now, and the names of what was removed."""
        request, directory = self._request, self._place.version
        if request.shards == 1:
            return manifest, publish(
                request.out, directory, manifest.version, keep=request.keep, step=self._step
            )
        from index_builder.sharding import publish_sharded

        root = request.out
        epoch = publish_sharded(
            root,
            directory,
            manifest,
            shards=request.shards,
            index=self._preparation.recipe.index,
            threads=request.threads or os.cpu_count() or 1,
            keep=request.keep,
            old=None if self._base is None else read_epoch(root, self._base.manifest.version),
            step=self._step,
        )
        self._kept_shards = epoch.kept_shards
        _, pieces = find_pieces(root, epoch.manifest.epoch)
        index = least_exact(piece.read_manifest().index for piece in pieces)
        told = manifest.model_copy(update={"version": epoch.manifest.epoch, "index": index})
        return told, epoch.removed_epochs

    def _report(
        self,
        manifest: GalleryManifest,
        stats: EmbeddingStats,
        *,
        removed: Sequence[str] = (),
        changes: UpdateCounts | None = None,
        published: bool = True,
    ) -> BuildReport:
        root = self._request.out
        sharded = self._request.shards > 1
        return BuildReport(
            gallery=root,
            version=manifest.version,
            directory=root if sharded else version_directory(root, manifest.version),
            manifest=manifest,
            planned_tiles=self._preparation.survey.tiles,
            stats=stats,
            removed_versions=list(removed),
            changes=changes,
            published=published,
            shards=self._request.shards,
            kept_shards=self._kept_shards,
        )
