"""Whatever is left out of a training table, photos keep their tiles and semi-positives."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from crossfix.errors import DataError
from tests.unit.test_hold_out import table_of
from training.datasets.split import Positions
from training.datasets.unreadable import without


@st.composite
def tables_and_losses(draw):
    tiles = draw(st.integers(1, 8))
    one_tile = st.integers(0, tiles - 1)
    reference = draw(st.lists(one_tile, min_size=1, max_size=12))
    semi = [[draw(st.integers(-1, tiles - 1)) for _ in range(2)] for _ in reference]
    places = Positions("plane_m", np.arange(2.0 * tiles).reshape(tiles, 2))
    table = table_of(reference, tiles=tiles, semi=semi, positions=places)
    lost_photos = draw(st.sets(st.integers(0, len(reference) - 1)))
    return table, sorted(lost_photos), sorted(draw(st.sets(one_tile)))


@given(tables_and_losses())
def test_nothing_is_mixed_up(case):
    table, photos, tiles = case
    expected = [i for i in range(len(table))
                if i not in photos and int(table.reference[i]) not in tiles]  # fmt: skip
    try:
        kept = without(table, photos, tiles)
    except DataError:
        assert not expected
        return
    assert [kept.queries.name(i) for i in range(len(kept))] == [f"q{i}" for i in expected]
    left = [kept.tiles.name(i) for i in range(len(kept.tiles))]
    assert not {f"t{i}" for i in tiles} & set(left)
    for row, i in enumerate(expected):
        assert left[kept.reference[row]] == f"t{table.reference[i]}"
        for now, before in zip(kept.semi_positives[row], table.semi_positives[i], strict=True):
            assert now == -1 if f"t{before}" not in left else left[now] == f"t{before}"
    for name, place in zip(left, kept.positions.xy, strict=True):
        np.testing.assert_array_equal(place, table.positions.xy[int(name[1:])])
