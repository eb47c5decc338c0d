"""Rows looked up many at once are those looked up one after the other."""

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfix.tile_texts import RowLookup, Texts


@given(
    st.lists(st.text("abé", max_size=4), max_size=40),
    st.lists(st.text("abé", max_size=4), max_size=40),
    st.integers(1, 9),
)
@settings(deadline=None)
def test_many_rows_equal_one_after_the_other(there, wanted, chunk):
    chunks = [there[start : start + chunk] for start in range(0, len(there), chunk)]
    lookup = RowLookup(Texts.of(pa.chunked_array(chunks, pa.string())))
    plain = [lookup.find(text) for text in wanted]
    assert lookup.find_many(wanted).tolist() == [-1 if row is None else row for row in plain]
