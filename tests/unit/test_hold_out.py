"""Validation cut from training data: nothing leaks, and indices are adapted."""

import numpy as np
import pytest

from crossfix.errors import DataError
from tests.tiny_datasets import write_vigor
from tests.unit.test_image_files import CVUSA, TINY
from training.datasets.hold_out import hold_out
from training.datasets.image_files import ImageFiles
from training.datasets.split import PairTable, Positions
from training.datasets.vigor import Vigor


def table_of(reference, *, tiles, positions=None, semi=None):
    count = len(reference)
    return PairTable(
        view="drone",
        queries=ImageFiles("q", tuple(f"q{i}" for i in range(count)), TINY["drone"]),
        tiles=ImageFiles("t", tuple(f"t{i}" for i in range(tiles)), TINY["satellite"]),
        reference=np.asarray(reference, np.int64),
        positions=positions,
        semi_positives=np.zeros((count, 0), np.int64) if semi is None else np.asarray(semi),
    )


def names(images):
    return [images.name(i) for i in range(len(images))]


def on_a_line(count, step_m):
    xy = np.stack([step_m * np.arange(count), np.zeros(count)], axis=1) + 10.0
    return Positions("plane_m", xy)


def test_whole_buildings_leave_with_all_their_photos():
    table = table_of(np.repeat(np.arange(40), 3), tiles=40)
    kept, split = hold_out(table, share=0.1, seed=1)
    assert len(split.gallery) == 4
    assert len(split.queries) == 12
    assert len(kept) == 108
    assert not set(names(kept.tiles)) & set(names(split.gallery))
    for i in range(12):
        building = int(split.queries.name(i)[1:]) // 3
        assert split.gallery.name(int(split.positives.of(i)[0])) == f"t{building}"
    for i in range(108):
        building = int(kept.queries.name(i)[1:]) // 3
        assert kept.tiles.name(int(kept.reference[i])) == f"t{building}"


def test_two_views_of_the_same_buildings_agree_and_seeds_differ():
    drone = table_of(np.repeat(np.arange(40), 3), tiles=40)
    street = table_of(np.arange(40), tiles=40)
    held = [names(hold_out(t, share=0.2, seed=1)[1].gallery) for t in (drone, street)]
    assert held[0] == held[1]
    assert names(hold_out(drone, share=0.2, seed=1)[1].gallery) == held[0]
    assert names(hold_out(drone, share=0.2, seed=2)[1].gallery) != held[0]


@pytest.mark.parametrize("kind", ["plane_m", "lonlat"])
def test_places_leave_in_cells_and_nobody_near_them_is_trained_on(kind):
    plane = np.random.default_rng(0).uniform(0, 5000, (2000, 2))
    scale = np.degrees(1 / 6_371_000.0) / np.array([np.cos(np.radians(45.0)), 1.0])
    xy = plane if kind == "plane_m" else plane * scale + [7.0, 45.0]
    table = table_of(np.arange(2000), tiles=2000, positions=Positions(kind, xy))
    kept, split = hold_out(table, share=0.1, seed=3)
    assert 200 <= len(split.gallery) <= 260
    held = plane[[int(name[1:]) for name in names(split.gallery)]]
    trained = plane[[int(name[1:]) for name in names(kept.tiles)]]
    apart = np.linalg.norm(held[:, None] - trained[None], axis=2)
    assert apart.min() > 74
    assert len(kept) > 1500
    assert len(np.unique(held // 500, axis=0)) <= (10 if kind == "plane_m" else 40)
    np.testing.assert_allclose(kept.positions.xy, xy[[int(n[1:]) for n in names(kept.tiles)]])


def test_semi_positives_neither_leak_nor_dangle():
    tiles = 60
    semi = [[(i + 1) % tiles, -1] for i in range(tiles)]
    table = table_of(np.arange(tiles), tiles=tiles, semi=semi)
    kept, split = hold_out(table, share=0.1, seed=1)
    held = {int(name[1:]) for name in names(split.gallery)}
    trained = {int(name[1:]) for name in names(kept.tiles)}
    for tile in held:
        assert (tile + 1) % tiles not in trained
        assert (tile - 1) % tiles not in trained
    for i in range(len(kept)):
        own = int(kept.queries.name(i)[1:])
        for place in kept.semi_positives[i]:
            assert place == -1 or kept.tiles.name(int(place)) == f"t{(own + 1) % tiles}"
    for i in range(len(split.queries)):
        own = int(split.queries.name(i)[1:])
        expected = [f"t{(own + 1) % tiles}"] if (own + 1) % tiles in held else []
        assert [split.gallery.name(int(j)) for j in split.semi_positives.of(i)] == expected


def test_a_place_that_cannot_be_parted_is_refused():
    table = table_of(np.arange(5), tiles=5, positions=on_a_line(5, 20.0))
    with pytest.raises(DataError, match="cannot be parted: its tiles form 1 place"):
        hold_out(table, share=0.2, seed=1)
    spread = table_of(np.arange(5), tiles=5, positions=on_a_line(5, 600.0))
    kept, split = hold_out(spread, share=0.01, seed=1)
    assert (len(kept), len(split.queries)) == (4, 1)


def test_a_table_too_small_to_part_is_refused_with_the_reason():
    reasons = set()
    for seed in range(20):
        with pytest.raises(DataError) as raised:
            hold_out(table_of([0], tiles=3), share=0.1, seed=seed)
        reasons.add(str(raised.value))
    assert reasons == {
        "the held-out places have no drone photo", "no drone pair is left to train on"
    }  # fmt: skip


def test_a_real_layout_is_parted_and_still_reads(tmp_path):
    table = Vigor.open(write_vigor(tmp_path), CVUSA, "same_area").training()["ground"]
    kept, split = hold_out(table, share=0.25, seed=1)
    assert {name.split("/")[0] for name in names(split.gallery)}.isdisjoint(
        {name.split("/")[0] for name in names(kept.tiles)}
    )
    assert split.queries.read(0).shape == (140, 768, 3)
    assert kept.tiles.read(0).shape == (384, 384, 3)
    assert split.percent_of == len(split.gallery)
