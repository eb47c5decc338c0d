"""Ragged lists: rows and selections against plain Python lists."""

from hypothesis import given
from hypothesis import strategies as st

from crossfix.matches import Matches

LISTS = st.lists(st.lists(st.integers(0, 9)), max_size=8)


@given(lists=LISTS, data=st.data())
def test_selected_rows_equal_plain_lists(lists, data):
    plain = [sorted(set(row)) for row in lists]
    matches = Matches.from_lists(lists)
    chosen = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=12)) if lists else []
    found = matches.select(chosen)
    assert [found.of(i).tolist() for i in range(len(found))] == [plain[i] for i in chosen]


@given(lists=LISTS)
def test_every_entry_knows_its_row(lists):
    matches = Matches.from_lists(lists)
    pairs = list(zip(matches.rows().tolist(), matches.columns.tolist(), strict=True))
    assert pairs == [(i, c) for i, row in enumerate(lists) for c in sorted(set(row))]
