"""A gallery in pieces, for what one machine's disk, memory or index cannot hold."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossfix.encoder import Encoder
from crossfix.errors import (
    CrossfixError,
    GalleryCorrupt,
    GalleryError,
    PriorOutsideGallery,
    TileNotFound,
)
from crossfix.gallery import Gallery, require_same_space, version_directory
from crossfix.gallery_manifest import MANIFEST_FILE
from crossfix.manifest import sha256_file
from crossfix.prior import Prior
from crossfix.sharded_gallery_fan_out import ShardAnswers, ask_shards, merge_results
from crossfix.sharded_gallery_manifest import EpochManifest, ShardEntry, read_epoch, shard_root
from crossfix.sharded_gallery_prior import touched
from crossfix.sharded_gallery_rows import ShardRows
from crossfix.vector_search import SearchResult, check_request

Float32 = NDArray[np.float32]
_MAX_THREADS = 64


@dataclass(frozen=True)
class ShardedSearchResult(SearchResult):
    """Global rows and scores, best first, and which shards they are from.

    Attributes:
        shards_total: of the epoch.
        shards_asked: those the prior touches; all without one.
        shards_answered: of those asked.
        failures: shard number -> what went wrong, in one sentence.
    """

    shards_total: int
    shards_asked: int
    shards_answered: int
    failures: dict[int, str]

    @property
    def complete(self) -> bool:
        """Whether every shard that was asked has answered."""
        return self.shards_answered == self.shards_asked


class ShardedGallery:
    """An opened epoch: its shards, searched as one gallery. Thread-safe.

    A row counts over all shards in their order, lost ones included: it is the row the tile has
    in the same gallery made in one piece.
    """

    def __init__(
        self,
        root: Path,
        manifest: EpochManifest,
        shards: dict[int, Gallery],
        lost: dict[int, str],
        *,
        strict: bool = False,
    ) -> None:
        self.root = root
        self.manifest = manifest
        self.shards = shards
        self.lost = lost
        self._strict = strict
        self._rows = ShardRows(manifest.shards)
        self._pool = ThreadPoolExecutor(min(len(manifest.shards), _MAX_THREADS), "shard")

    @classmethod
    def open(
        cls, root: Path, *, epoch: str | None = None, verify: bool = True, strict: bool = False
    ) -> "ShardedGallery":
        """Opens the live (or a named) epoch; shards that cannot be opened are lost.

        Args:
            verify: also checks the checksum of every file.
            strict: a lost shard is an error, here and in every search.

        Raises:
            GalleryNotFound: no sharded gallery or no such epoch there.
            GalleryCorrupt: the epoch is not valid, or a shard is not the one the epoch names.
            GalleryError: every shard is lost; with `strict`, one is.
        """
        manifest = read_epoch(root, epoch)
        shards: dict[int, Gallery] = {}
        lost: dict[int, str] = {}
        with ThreadPoolExecutor(min(len(manifest.shards), _MAX_THREADS)) as pool:
            opened = pool.map(
                lambda entry: open_shard(root, manifest, entry, verify=verify), manifest.shards
            )
            for number, found in enumerate(opened):
                if isinstance(found, Gallery):
                    shards[number] = found
                else:
                    lost[number] = found
        if lost and (strict or not shards):
            raise shards_lost(lost, len(manifest.shards))
        return cls(root, manifest, shards, lost, strict=strict)

    def close(self) -> None:
        """Ends the threads; what is being searched is still answered."""
        self._pool.shutdown(wait=False)

    def __enter__(self) -> "ShardedGallery":
        return self

    def __exit__(self, *_unused: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self.manifest.tile_count

    def require_encoder(self, encoder: Encoder) -> None:
        """Refuses the encoder of another space; see :func:`require_same_space`."""
        require_same_space(
            f"gallery epoch {self.manifest.epoch}",
            encoder_name=self.manifest.encoder_name,
            space_id=self.manifest.embedding_space_id,
            encoder=encoder,
        )

    def search(
        self,
        embeddings: Float32,
        k: int,
        *,
        prior: Prior | None = None,
        timeout_s: float | None = None,
    ) -> ShardedSearchResult:
        """The k most similar tiles of all shards; equal scores by the smaller row.

        Args:
            embeddings: (Q, D) float32 unit-norm.
            prior: only tiles whose centre lies inside; asks only the shards it touches.
            timeout_s: a shard that takes longer is lost to this search.

        Returns:
            rows and scores (Q, min(k, eligible tiles)), and how many shards they are from.

        Raises:
            InvalidParameter: embeddings of another shape, not finite, or k below 1.
            PriorOutsideGallery: every shard that may hold such a tile says it has none.
            GalleryError: no shard that was asked has answered; with `strict`, one has not.
        """
        embeddings = check_request(embeddings, k, dim=self.manifest.embedding_dim)
        asked = touched(self.manifest.shards, prior)
        open_shards = {number: self.shards[number] for number in asked if number in self.shards}
        answers = ask_shards(
            self._pool, open_shards, embeddings, k, prior=prior, timeout_s=timeout_s
        )
        lost = {number: self.lost[number] for number in asked if number in self.lost}
        failures = dict(sorted((lost | answers.failures).items()))
        self._require_answers(answers, failures, prior)
        found = merge_results(answers.results, self._rows.starts, len(embeddings), k)
        return ShardedSearchResult(
            rows=found.rows,
            scores=found.scores,
            shards_total=len(self.manifest.shards),
            shards_asked=len(asked),
            shards_answered=answers.answered,
            failures=failures,
        )

    def _require_answers(
        self, answers: ShardAnswers, failures: dict[int, str], prior: Prior | None
    ) -> None:
        if failures and (self._strict or not answers.results):
            raise shards_lost(failures, len(self.manifest.shards))
        if not answers.results and prior is not None:
            raise PriorOutsideGallery(
                f"no tile's centre lies in {prior.describe()}",
                hint="the epoch's manifest tells every shard's bounds; widen or drop the prior",
            )

    def locate(self, row: int) -> tuple[int, int]:
        """The shard number of a global row, and its row there.

        Raises:
            InvalidParameter: no such row.
        """
        return self._rows.locate(row)

    def global_row(self, shard: int, row: int) -> int:
        """The global row of a shard's row; the inverse of :meth:`locate`."""
        return self._rows.of(shard, row)

    def row_of(self, tile_id: str) -> int:
        """The global row of a tile.

        Raises:
            TileNotFound: no open shard has it.
        """
        for number, shard in self.shards.items():
            try:
                return self.global_row(number, shard.row_of(tile_id))
            except TileNotFound:
                continue
        missing = f" ({len(self.lost)} shards are lost)" if self.lost else ""
        raise TileNotFound(f"the gallery has no tile {tile_id!r}{missing}", hint="check the id")

    def tile_ids(self, rows: Sequence[int]) -> list[str]:
        """The ids of tiles by their global rows; errors as :meth:`picture`."""
        found = [self._of(row) for row in rows]
        return [gallery.tiles.ids[local] for gallery, local in found]

    def picture(self, row: int) -> bytes:
        """The small JPEG of a tile by its global row.

        Raises:
            InvalidParameter: no such row.
            GalleryError: its shard could not be opened.
        """
        gallery, local = self._of(row)
        return gallery.picture(local)

    def _of(self, row: int) -> tuple[Gallery, int]:
        shard, local = self.locate(int(row))
        if shard in self.lost:
            raise shards_lost({shard: self.lost[shard]}, len(self.manifest.shards))
        return self.shards[shard], local


def open_shard(
    root: Path, manifest: EpochManifest, entry: ShardEntry, *, verify: bool
) -> Gallery | str:
    """The shard, or one sentence why it is lost.

    Raises:
        GalleryCorrupt: it is another shard than the one the epoch names.
    """
    directory = version_directory(shard_root(root, entry), entry.version)
    try:
        found = sha256_file(directory / MANIFEST_FILE)
    except OSError as problem:
        return f"{directory} cannot be read: {problem.strerror}"
    if found != entry.manifest_sha256:
        raise GalleryCorrupt(
            f"{directory} is not the shard that epoch {manifest.epoch} names: its manifest has "
            "another checksum",
            hint="all shards must be of one epoch; copy the epoch's own, or build again",
        )
    try:
        gallery = Gallery.open_directory(directory, verify=verify)
    except (CrossfixError, OSError) as problem:
        return str(problem)
    if len(gallery) != entry.tile_count or (
        gallery.manifest.embedding_space_id != manifest.embedding_space_id
    ):
        raise GalleryCorrupt(
            f"{directory} contradicts epoch {manifest.epoch} in its count or embedding space",
            hint="build the gallery again",
        )
    return gallery


def shards_lost(failures: Mapping[int, str], total: int) -> GalleryError:
    """The error that says so; it names the first."""
    number, why = next(iter(sorted(failures.items())))
    return GalleryError(
        f"{len(failures)} of {total} shards did not answer; shard {number}: {why}",
        hint="bring the shards' disks back, or build the gallery again",
    )
