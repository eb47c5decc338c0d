"""The made-up galleries of the benchmarks have the order and the spread they claim."""

import numpy as np
import pytest

from benchmarks.synthetic_embeddings import SHARED, Spread, iterate_rows, make_photos, places
from crossfix.geodesy import distance_m, morton_code


@pytest.fixture(scope="module")
def rows():
    return next(iterate_rows(Spread.named("demo", 64), 8192))


def test_places_are_in_morton_order_and_a_tile_apart():
    lon, lat = places(5000)
    assert (np.diff(morton_code(lon, lat).astype(np.float64)) > 0).all()
    apart_m = distance_m(lon[::4], lat[::4], lon[1::4], lat[1::4])
    assert ((apart_m > 45) & (apart_m < 60)).all()


def test_vectors_have_the_demo_encoders_mean_and_few_dimensions(rows):
    assert rows.shape == (8192, 64)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    centred = rows - rows.mean(axis=0)
    shares = np.linalg.eigvalsh(centred.T @ centred)[::-1]
    assert shares[:8].sum() / shares.sum() > 0.97
    assert np.linalg.norm(rows.mean(axis=0)) == pytest.approx(0.66, abs=0.05)


def test_neighbours_are_as_alike_as_neighbouring_tiles(rows):
    centred = rows - rows.mean(axis=0)
    alike = (centred[::4] * centred[1::4]).sum() / (centred[::4] ** 2).sum()
    assert alike == pytest.approx(sum(share for _, share in SHARED), abs=0.05)


def test_photos_are_like_tiles_but_none_of_them(rows):
    photos = make_photos(Spread.named("demo", 64), rows.astype(np.float16), 200)
    best = (photos @ rows.T).max(axis=1)
    assert 0.9 < np.median(best) < 0.999
