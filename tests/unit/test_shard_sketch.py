"""How many of a lost shard's tiles lie inside a prior, from a sketch of where they are."""

import numpy as np
import pytest

from crossfix.geodesy import LocalFrame, LonLat, morton_code
from crossfix.prior import Disc, Region
from service.galleries.shards.sketch import RUNS_AT_MOST, Sketch
from service.galleries.shards.tile_rows import TileRows, joined

CENTRE = LonLat(8.0, 50.0)
SIDE_M = 10_000.0


def town(count: int, *, centre: LonLat = CENTRE):
    """Tiles on a square, in Morton order."""
    east_m, north_m = np.random.default_rng(0).uniform(-SIDE_M / 2, SIDE_M / 2, (2, count))
    lon, lat = LocalFrame(centre).to_lonlat(east_m, north_m)
    lon = (lon + 180) % 360 - 180
    order = np.argsort(morton_code(lon, lat), kind="stable")
    lon, lat = lon[order], lat[order]
    numbers = np.stack([lon, lat, lon, lat, lon, lat, np.full(count, 50.0)])
    return joined([TileRows(numbers, tuple([""] * count for _ in range(4)))])


def square(centre: LonLat, half_deg: float, hole_deg: float = 0.0) -> Region:
    def ring(half: float) -> tuple[LonLat, ...]:
        return tuple(
            LonLat((centre.lon + x * half + 180) % 360 - 180, centre.lat + y * half)
            for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))
        )

    return Region((ring(half_deg), ring(hole_deg)) if hole_deg else (ring(half_deg),))


PRIORS = {
    "a small disc": Disc(LonLat(8.01, 50.01), 400.0),
    "a large disc": Disc(LonLat(8.03, 49.98), 3000.0),
    "all of it": Disc(CENTRE, 30_000.0),
    "half the Earth": Disc(LonLat(20.0, 40.0), 5_000_000.0),
    "a square with a hole": square(CENTRE, 0.03, 0.02),
    "only the edge": Disc(LonLat(8.0, 50.055), 1500.0),
}


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_many_tiles_are_counted_within_a_few_percent(prior):
    tiles = town(40_000)
    sketch = Sketch.of(tiles)
    assert len(sketch.counts) == RUNS_AT_MOST
    assert sketch.counts.sum() == 40_000
    expected = int(prior.contains(tiles.lon, tiles.lat).sum())
    assert expected > 50
    assert sketch.count_inside(prior) == pytest.approx(expected, rel=0.08, abs=5 * expected**0.5)
    assert sketch.may_hold(prior)


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_few_tiles_are_counted_exactly(prior):
    tiles = town(300)
    expected = int(prior.contains(tiles.lon, tiles.lat).sum())
    assert Sketch.of(tiles).count_inside(prior) == pytest.approx(expected)


def test_tiles_on_both_sides_of_the_antimeridian_are_counted():
    centre = LonLat(180.0, 10.0)
    tiles = town(40_000, centre=centre)
    for prior in (Disc(centre, 2000.0), square(centre, 0.02)):
        expected = int(prior.contains(tiles.lon, tiles.lat).sum())
        assert Sketch.of(tiles).count_inside(prior) == pytest.approx(expected, rel=0.1)


def test_a_prior_elsewhere_holds_none_and_is_known_to():
    sketch, away = Sketch.of(town(1000)), Disc(LonLat(8.2, 50.0), 1000.0)
    assert sketch.count_inside(away) == 0
    assert not sketch.may_hold(away)
    assert Sketch.of(town(1)).counts.tolist() == [1]
