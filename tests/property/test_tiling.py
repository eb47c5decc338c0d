"""Overlaps and strides."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfix.errors import InvalidParameter
from index_builder.sources.grid.tiling import stride_share


@given(st.integers(0, 95))
def test_a_stride_is_what_the_overlap_leaves(percent):
    assert float(stride_share(percent / 100)) == pytest.approx(1 - percent / 100, abs=1e-9)


@given(st.one_of(st.floats(max_value=-1e-9), st.floats(min_value=0.951), st.just(float("nan"))))
def test_other_overlaps_are_refused(overlap):
    with pytest.raises(InvalidParameter):
        stride_share(overlap)
