"""Real tiles of OpenAerialMap: zooms agree with each other, places with the table beside them."""

import csv
from pathlib import Path

import numpy as np
import pytest

from crossfix.geodesy import TileId
from index_builder.sources.spec import SourceSpec
from index_builder.sources.tile_sets.decoded_tiles import DecodedTiles
from index_builder.sources.tile_sets.tile_image import decode_tile
from index_builder.sources.tile_sets.tile_set_opening import open_tile_set
from index_builder.sources.tile_sets.xyz_store import XyzStore
from tests.tiny_tile_sets import pixel_centres

SETS = Path(__file__).resolve().parents[2].parent / "shared/imagery/openaerialmap_xyz_tiles"
PLACES = ("banepa_nepal", "kampala", "zanzibar")

pytestmark = pytest.mark.skipif(
    not SETS.is_dir(), reason=f"no real tiles: {SETS.name} is not beside the repository"
)


def table_of(place):
    with (SETS / place / "tiles.csv").open(encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            yield row.pop("file"), {name: float(value) for name, value in row.items()}


class OnlyZoom:
    """A store that has forgotten its other levels."""

    def __init__(self, store, zoom):
        self.get, self.place, self.zooms = store.get, store.place, (zoom,)


def grey(image):
    return np.asarray(image.convert("L"), np.float64)


@pytest.mark.parametrize("place", PLACES)
def test_every_coarse_tile_is_its_shrunk_children(place):
    store = XyzStore(SETS / place / "tiles")
    assert store.zooms == (19, 20, 21)
    shrunk = DecodedTiles(OnlyZoom(store, 21), zoom=21, side_px=256)
    compared = 0
    for x, y in np.concatenate(list(store.tiles(19))).tolist():
        tile = TileId(19, x, y)
        given, made = grey(decode_tile(store.get(tile), where="")), grey(shrunk.get(tile))
        if given.std() > 1:
            assert np.corrcoef(given.ravel(), made.ravel())[0, 1] > 0.95, tile
            compared += 1
    assert compared >= 7


@pytest.mark.parametrize("place", PLACES)
def test_own_tiles_lie_where_the_table_says(place):
    table = {f"{row['z']:.0f}-{row['x']:.0f}-{row['y']:.0f}": row for _, row in table_of(place)}
    for zoom in (19, 20, 21):
        location = str(SETS / place / "tiles")
        source = open_tile_set(SourceSpec(location=location, zoom=zoom), name="oam", tile_px=256)
        plans = list(source.plan(None, 0.0))
        assert len(plans) == sum(row["z"] == zoom for row in table.values())
        for plan in plans:
            row = table[plan.tile_id.removeprefix("oam-z").replace("x", "").replace("y", "")]
            for side in ("north", "south", "west", "east"):
                assert getattr(plan.bounds, side) == pytest.approx(row[side], abs=6e-9)
            assert (plan.lon, plan.lat) == pytest.approx((row["lon"], row["lat"]), abs=2e-8)
            assert plan.resolution_m == pytest.approx(row["gsd_m_per_px"], rel=7e-3)


def sample_by_table(rows, images, lon, lat):
    """Colours at places, bilinear, by the table's bounds alone; NaN outside and at edges."""
    found = np.full((*lon.shape, 3), np.nan)
    for name, row in rows:
        if not (row["west"] < lon.max() and lon.min() < row["east"]):
            continue
        if not (row["south"] < lat.max() and lat.min() < row["north"]):
            continue
        x = (lon - row["west"]) / (row["east"] - row["west"]) * 256 - 0.5
        y = (row["north"] - lat) / (row["north"] - row["south"]) * 256 - 0.5
        inside = (x >= 0) & (x < 255) & (y >= 0) & (y < 255)
        if inside.any():
            column, row_above = x[inside].astype(int), y[inside].astype(int)
            right, down = (x[inside] % 1)[:, None], (y[inside] % 1)[:, None]
            image = images(name)
            above = image[row_above, column] * (1 - right) + image[row_above, column + 1] * right
            below = (
                image[row_above + 1, column] * (1 - right)
                + image[row_above + 1, column + 1] * right
            )
            found[inside] = above * (1 - down) + below * down
    return found


@pytest.mark.parametrize("place", PLACES)
def test_cut_squares_lie_where_the_table_says(place):
    """The shift that fits best, against colours looked up by the table."""
    folder = SETS / place / "tiles"
    source = open_tile_set(SourceSpec(location=str(folder)), name="oam", tile_px=256)
    rows = [(name, row) for name, row in table_of(place) if row["z"] == 21]
    compared = 0
    for plan in list(source.plan(17.0, 0.0))[:: len(rows) // 12]:
        square = source.read(plan)
        side = len(square)
        expected = sample_by_table(
            rows,
            lambda name: np.asarray(
                decode_tile((folder / name).read_bytes(), where=name).convert("RGB"), np.float64
            ),
            *pixel_centres(plan.bounds, side),
        )
        down, right, _ = np.gradient(expected)
        known = np.isfinite(expected + down + right).all(axis=2)
        if known.mean() < 0.8 or square[known].std() < 5:
            continue
        slopes = np.stack([right[known].ravel(), down[known].ravel()], axis=1)
        difference = (expected - square)[known].ravel()
        moved, *_ = np.linalg.lstsq(slopes, difference, rcond=None)
        assert np.abs(moved).max() < 0.1, plan.tile_id
        compared += 1
    assert compared >= 4
    source.close()
