"""The one form every data set is read into: sets of images, training pairs, evaluation splits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from crossfix.images import UInt8
from crossfix.matches import Matches
from crossfix.view import ViewName, ViewSpec

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


class ImageSet(Protocol):
    """Images of one view, read one at a time; safe to copy into a loading process."""

    @property
    def spec(self) -> ViewSpec:
        """The preprocessing that `read` applies."""

    def __len__(self) -> int: ...

    def read(self, index: int, rng: Generator | None = None) -> UInt8:
        """One image as the encoder's pixels, (h, w, 3) uint8 of the spec's size.

        Args:
            rng: for sets that cut their images: shifts and scales the cut at random. None gives
                the plain image.

        Raises:
            DataError: the image cannot be read; the message names the file.
        """

    def name(self, index: int) -> str:
        """What people call the image: its file below the data set's folder."""


@dataclass(frozen=True)
class Positions:
    """Where items are on the ground.

    Attributes:
        kind: `lonlat`: WGS84 degrees; `plane_m`: metres east and north in one plane.
        xy: (N, 2) float64, (lon, lat) or (x, y).
    """

    kind: Literal["lonlat", "plane_m"]
    xy: Float64

    def __len__(self) -> int:
        return len(self.xy)

    def select(self, chosen: Int64) -> "Positions":
        """The positions of some items, in the given order."""
        return Positions(self.kind, self.xy[chosen])


@dataclass(frozen=True)
class PairTable:
    """Training pairs of one query view: N photos, each with the one tile that is its positive.

    Attributes:
        reference: (N,) index of each photo's tile.
        positions: of the R tiles; None where a data set has none.
        semi_positives: (N, S) tiles that also show the photo's place and are neither positive
            nor negative, -1 for none; S may be 0.
    """

    view: ViewName
    queries: ImageSet
    tiles: ImageSet
    reference: Int64
    positions: Positions | None
    semi_positives: Int64

    def __len__(self) -> int:
        return len(self.reference)


@dataclass(frozen=True)
class EvaluationSplit:
    """Queries against a gallery under a named protocol. Views may be any; directions both.

    Attributes:
        name: of data set, part and direction, e.g. `vigor cross-area test`.
        protocol: what counts as right, in words, e.g. `id-exact`, `within 5 m`.
        positives: Q rows of right gallery indices; a row may be empty (it counts as a miss).
        semi_positives: Q rows that the hit rate leaves out of the ranking; or None.
        percent_of: the gallery size that R@1% is a percentage of (usually the gallery's own).
        query_positions, gallery_positions: for metres; both of one kind, or None.
        kinds: (Q,) names of groups reported separately, or None.
        query_groups: where several images ask together (multi-query): Q rows of indices into
            `queries`, whose embeddings are averaged; None where every image asks alone.
    """

    name: str
    protocol: str
    queries: ImageSet
    gallery: ImageSet
    positives: Matches
    semi_positives: Matches | None
    percent_of: int
    query_positions: Positions | None
    gallery_positions: Positions | None
    kinds: NDArray[np.str_] | None
    query_groups: Matches | None = None

    def image_of_query(self, query: int) -> int:
        """The index of a query's (first) image in `queries`."""
        return query if self.query_groups is None else int(self.query_groups.of(query)[0])


@dataclass(frozen=True)
class DatasetCard:
    """What a data set is: shown by `python -m training datasets` and kept with every run.

    Attributes:
        counts: what is in it, as published, and what was found in the folder.
        layout: lines of text on the files that are looked for.
        protocols: that `evaluate --protocol` takes, the usual one first; a recipe without some
            view has fewer.
    """

    name: str
    source: str
    licence: str
    counts: Mapping[str, str]
    layout: Sequence[str]
    protocols: Sequence[str] = ()


class Dataset(Protocol):
    """A data set opened at its folder. Opening reads lists, not images."""

    @property
    def card(self) -> DatasetCard:
        """Source, licence, counts, layout."""

    @property
    def protocols(self) -> tuple[str, ...]:
        """Names that `evaluation` takes; the first is the usual one."""

    def training(self) -> Mapping[ViewName, PairTable]:
        """The training pairs per query view.

        Raises:
            DataError: lists or images are missing.
        """

    def evaluation(self, protocol: str) -> list[EvaluationSplit]:
        """The test (or validation) splits of a protocol.

        Raises:
            DataError: no such protocol, or lists or images are missing.
        """
