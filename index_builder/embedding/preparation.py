"""What a build finds out before it writes anything."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import crossfix
from crossfix.encoder import Encoder
from crossfix.errors import InvalidParameter, SourceError
from crossfix.gallery_manifest import SourceInfo
from crossfix.manifest import canonical_json
from index_builder.embedding.open_task import VIEW
from index_builder.embedding.parts import PartSurvey, iterate_parts, survey_parts
from index_builder.embedding.pictures import PICTURE_PX
from index_builder.recipe import GalleryRecipe, settle_sources
from index_builder.sources.confinement import ANYWHERE, Confinement
from index_builder.sources.opening import close_sources, open_sources
from index_builder.sources.source import TileSource

OVERSAMPLING = 2  # tiles are read this much finer than the encoder's input, which resizes itself
_PART_FORMAT = 1


@dataclass(frozen=True)
class Preparation:
    """Encoder and sources opened, all parts counted.

    Attributes:
        recipe: with absolute paths and names for all sources.
        infos: of the sources, as they were before anything was read.
        computed_on: device and batch size of the encoder's runs, wherever they are made; see
            `open_task.computed_on`.
        retired: tiles that each of the recipe's retired regions takes away.
    """

    recipe: GalleryRecipe
    encoder: Encoder
    sources: list[TileSource]
    infos: list[SourceInfo]
    survey: PartSurvey
    tile_px: int
    computed_on: str
    retired: tuple[int, ...] = ()

    def fingerprint(self, *, base: str, reread: bool) -> str:
        """Equal for builds whose parts are equal to the last bit, so that one resumes another.

        Args:
            base: the version tiles are taken over from; empty is none. Its tiles may be trusted
                without a look at the imagery, which another build would look at.
            reread: no fingerprint of a source is trusted.
        """
        told = {
            "part_format": _PART_FORMAT,
            "builder": crossfix.__version__,
            "plans": self.survey.digest,
            "sources": [[info.name, info.fingerprint] for info in self.infos],
            "space": self.encoder.embedding_space_id,
            "precision": "fp32",
            "computed_on": self.computed_on,
            "tile_px": self.tile_px,
            "base": base or "none",
            "reread": reread,
        }
        return hashlib.sha256(canonical_json(told).encode()).hexdigest()[:16]

    def require_unchanged(self) -> None:
        """Makes sure that all imagery is still what it was at the start.

        Raises:
            SourceError: naming the source that has changed.
        """
        for info, source in zip(self.infos, self.sources, strict=True):
            if source.fingerprint() != info.fingerprint:
                raise SourceError(
                    f"source {info.name} changed while it was read",
                    hint="build again when nothing writes it any more",
                )

    def require_retired(self, regions: int) -> None:
        """Makes sure that the last so many retired regions take tiles away.

        Raises:
            InvalidParameter: one takes none; tells where it is.
        """
        known = len(self.recipe.retired) - regions
        for number, area in enumerate(self.recipe.read_retired()):
            if number < known or self.retired[number]:
                continue
            box = area.bounds
            raise InvalidParameter(
                f"no tile's centre that is not retired already lies in the region lon "
                f"{box.west:.6f} to {box.east:.6f}, lat {box.south:.6f} to {box.north:.6f}",
                hint="nothing was changed; check the region to be retired: longitude goes first, "
                "and `inspect` tells where the gallery is",
            )


@contextmanager
def prepared(
    recipe: GalleryRecipe,
    encoder: Encoder,
    *,
    computed_on: str,
    within: Confinement = ANYWHERE,
) -> Iterator[Preparation]:
    """Opens sources and plans all their tiles once; closes them at the end.

    Args:
        computed_on: see `Preparation`.
        within: where all that is read must lie.

    Raises:
        SourceError: a source cannot be opened or planned.
        InvalidParameter: an impossible size, overlap or area.
    """
    settled = settle_sources(recipe.sources, Path.cwd())
    recipe = recipe.model_copy(update={"sources": settled})
    tile_px = tile_px_of(encoder)
    sources = open_sources(recipe.sources, tile_px=tile_px, within=within)
    taken: Counter[int] = Counter()
    try:
        survey = survey_parts(iterate_parts(sources, recipe, taken))
        yield Preparation(
            recipe=recipe,
            encoder=encoder,
            sources=sources,
            infos=[source.describe() for source in sources],
            survey=survey,
            tile_px=tile_px,
            computed_on=computed_on,
            retired=tuple(taken[number] for number in range(len(recipe.retired))),
        )
    finally:
        close_sources(sources)


def tile_px_of(encoder: Encoder) -> int:
    """Side in pixels up to which a tile's own resolution is of use.

    Raises:
        UnknownView: the encoder has no satellite view.
    """
    view = encoder.view(VIEW)
    return max(PICTURE_PX, OVERSAMPLING * max(view.height_px, view.width_px))
