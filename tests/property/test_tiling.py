"""The grid: everything is covered, strides are what was asked for, sides are metres."""

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from crossfix.errors import InvalidParameter
from crossfix.geodesy import LocalFrame, LonLat, distance_m
from index_builder.sources.tiling import Extent, plan_rows, stride_share

overlaps = st.integers(0, 90).map(lambda percent: percent / 100)


@st.composite
def extents(draw):
    lat = draw(st.floats(-80, 80))
    lon = draw(st.floats(-179, 179))
    lon_deg, lat_deg = LocalFrame(LonLat(0.0, lat)).to_lonlat(
        draw(st.floats(20, 1500)), draw(st.floats(20, 1500))
    )
    return Extent(lon, lat, lon + float(lon_deg), float(lat_deg))


@given(extent=extents(), size_m=st.floats(30, 400), overlap=overlaps)
def test_the_grid_covers_the_extent(extent, size_m, overlap):
    stride_m = float(stride_share(overlap)) * size_m
    assume((1500 / stride_m) ** 2 < 4000)
    rows = plan_rows(extent, size_m, overlap)
    tolerance = 1e-9
    half = rows[0].height_deg / 2
    assert rows[0].lat - half <= extent.south + tolerance
    assert rows[-1].lat + half >= extent.north - tolerance
    for below, above in pairwise(rows):
        assert above.lat - below.lat <= below.height_deg * (1 + 1e-6)
    for row in rows:
        last = row.first_lon + (row.columns - 1) * row.step_lon
        assert row.first_lon - row.width_deg / 2 <= extent.west + tolerance
        assert last + row.width_deg / 2 >= extent.east - tolerance
        assert row.step_lon <= row.width_deg * (1 + 1e-9)


@given(extent=extents(), size_m=st.floats(30, 400), overlap=overlaps)
def test_no_tile_reaches_more_than_half_a_stride_over_the_edge(extent, size_m, overlap):
    rows = plan_rows(extent, size_m, overlap)
    stride_deg = float(stride_share(overlap)) * rows[0].height_deg
    if len(rows) > 1:
        assert extent.south - (rows[0].lat - rows[0].height_deg / 2) <= stride_deg / 2 + 1e-9


@given(extent=extents(), size_m=st.floats(30, 400), overlap=overlaps)
def test_sides_and_strides_are_metres(extent, size_m, overlap):
    row = plan_rows(extent, size_m, overlap)[0]
    side = distance_m(row.first_lon, row.lat, row.first_lon + row.width_deg, row.lat)
    assert side == pytest.approx(size_m, rel=1e-4)
    high = distance_m(0, row.lat - row.height_deg / 2, 0, row.lat + row.height_deg / 2)
    assert high == pytest.approx(size_m, rel=1e-4)
    assert row.step_lon / row.width_deg == pytest.approx(1 - overlap, rel=1e-6)


@given(st.one_of(st.floats(max_value=-1e-9), st.floats(min_value=0.951), st.just(float("nan"))))
def test_other_overlaps_are_refused(overlap):
    with pytest.raises(InvalidParameter):
        stride_share(overlap)
