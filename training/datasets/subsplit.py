"""Part of an evaluation split: chosen queries and gallery items, with every index adapted."""

import numpy as np

from crossfix.errors import DataError
from crossfix.matches import Matches
from training.datasets.image_files import select_images
from training.datasets.split import EvaluationSplit
from training.datasets.subtable import Bool, new_numbers


def subsplit(split: EvaluationSplit, *, queries: Bool, gallery: Bool) -> EvaluationSplit:
    """The queries and gallery items that are kept.

    Of images that ask together the others go on asking; a group without any goes. A query that
    loses all its positives stays, with an empty row. `percent_of` shrinks by the number of gallery
    items that go.

    Args:
        queries: (Q,), gallery: (R,) what is kept.

    Raises:
        DataError: no query or no gallery item is left.
    """
    if not (queries.any() and gallery.any()):
        what = "gallery image" if queries.any() else "query"
        raise DataError(
            f"no {what} of {split.name} is left to evaluate on", hint="get its images again"
        )
    asked, kept = np.flatnonzero(queries), np.flatnonzero(gallery)
    images, groups = asked, split.query_groups
    if groups is not None:
        new = new_numbers(queries)
        rows, members = groups.rows(), new[groups.columns]
        groups = Matches.from_pairs(rows[members >= 0], members[members >= 0], count=len(groups))
        queries = groups.counts() > 0
        asked = np.flatnonzero(queries)
        groups = groups.select(asked)
    semi = split.semi_positives
    places, tile_places = split.query_positions, split.gallery_positions
    return EvaluationSplit(
        name=split.name,
        protocol=split.protocol,
        queries=select_images(split.queries, images),
        gallery=select_images(split.gallery, kept),
        positives=_submatches(split.positives, queries, gallery),
        semi_positives=None if semi is None else _submatches(semi, queries, gallery),
        percent_of=split.percent_of - (len(gallery) - len(kept)),
        query_positions=None if places is None else places.select(asked),
        gallery_positions=None if tile_places is None else tile_places.select(kept),
        kinds=None if split.kinds is None else split.kinds[asked],
        query_groups=groups,
    )


def _submatches(matches: Matches, queries: Bool, gallery: Bool) -> Matches:
    rows = new_numbers(queries)[matches.rows()]
    columns = new_numbers(gallery)[matches.columns]
    both = (rows >= 0) & (columns >= 0)
    return Matches.from_pairs(rows[both], columns[both], count=int(queries.sum()))
