"""The published nearest tiles, found by a tree, against a plain haversine fed with degrees."""

import math

import numpy as np
import pytest

from training.datasets.split import Positions
from training.sampling.neighbours import ground_neighbours

RADIUS_M = 6_371_008.8


def haversine(a, b):
    """The angle between two (lon, lat), with the numbers taken as radians whatever they are."""
    (lon_a, lat_a), (lon_b, lat_b) = a, b
    half = (
        math.sin((lat_b - lat_a) / 2) ** 2
        + math.cos(lat_a) * math.cos(lat_b) * math.sin((lon_b - lon_a) / 2) ** 2
    )
    return 2 * math.asin(math.sqrt(min(1.0, max(0.0, half))))


def sorted_plainly(places, count):
    """Rows of nearest others, and all angles."""
    angles = np.array([[haversine(a, b) for b in places] for a in places])
    np.fill_diagonal(angles, np.inf)
    return np.argsort(angles, axis=1)[:, :count], angles


def places(kind):
    rng = np.random.default_rng(7)
    if kind == "country":
        return rng.uniform([-124, 25], [-67, 49], (250, 2))
    if kind == "cities":
        centres = np.array([[-73.98, 40.75], [-122.33, 47.61]])[rng.integers(0, 2, 250)]
        return centres + rng.normal(0, 0.03, (250, 2))
    return rng.uniform([-180, -90], [180, 90], (250, 2))


@pytest.mark.parametrize("kind", ["country", "cities", "world"])
def test_the_tree_over_degrees_has_the_haversines_order(kind):
    xy = places(kind)
    found = ground_neighbours(Positions("lonlat", xy), 40, exclude_within_m=0, mode="paper")
    expected, _ = sorted_plainly(xy, 40)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("kind", ["country", "cities", "world"])
def test_correct_mode_has_the_order_of_the_haversine_over_radians(kind):
    xy = places(kind)
    found = ground_neighbours(Positions("lonlat", xy), 40, exclude_within_m=0, mode="correct")
    expected, _ = sorted_plainly(np.radians(xy), 40)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("turn", [[2 * math.pi, 0.0], [0.0, 2 * math.pi]])
def test_places_two_pi_degrees_apart_pass_for_the_same_place(turn):
    here, far, near = [-100.0, 40.0], np.add([-100.0, 40.0], turn), [-99.99, 40.0]
    positions = Positions("lonlat", np.array([here, far, near]))
    paper = ground_neighbours(positions, 2, exclude_within_m=0, mode="paper")
    correct = ground_neighbours(positions, 2, exclude_within_m=0, mode="correct")
    assert haversine(here, far) == pytest.approx(0, abs=1e-6)
    assert paper[0].tolist() == [1, 2]
    assert correct[0].tolist() == [2, 1]


def test_places_too_near_are_left_out_by_true_metres_in_both_modes():
    xy = places("cities")
    radius_m = 1500.0
    for mode, angles in (("paper", xy), ("correct", np.radians(xy))):
        found = ground_neighbours(Positions("lonlat", xy), 30, exclude_within_m=radius_m, mode=mode)
        _, order_by = sorted_plainly(angles, 1)
        _, true = sorted_plainly(np.radians(xy), 1)
        for i in range(len(xy)):
            order_by[i, true[i] * RADIUS_M <= radius_m] = np.inf
            expected = np.argsort(order_by[i])[: min(30, np.isfinite(order_by[i]).sum())]
            assert found[i][found[i] >= 0].tolist() == expected.tolist()
