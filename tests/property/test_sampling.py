"""Batches: no pair twice, no conflicts inside, repeatable; neighbours against plain code."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfix.errors import DataError
from crossfix.matches import Matches
from tests.tiny_pairs import Pictures, tiny
from training.datasets.split import PairTable, Positions
from training.sampling.batches import epoch_batches
from training.sampling.company import Company
from training.sampling.items import PairItems, pair_items
from training.sampling.neighbour_table import NeighbourTable
from training.sampling.neighbours import ground_neighbours, similar_tiles
from training.sampling.search import table_by_distance, table_by_similarity


def plane(seed, count, side_m=1000.0):
    xy = np.random.default_rng(seed).uniform(0, side_m, (count, 2))
    return Positions("plane_m", xy)


def table_of(seed, pairs=120, tiles=80, used=70, semi=3, positions=True):
    """Photos of the first `used` tiles; the others are nobody's positive."""
    rng = np.random.default_rng(seed)
    specs = tiny().views()
    reference = rng.integers(0, used, pairs)
    semi_positives = rng.integers(-1, tiles, (pairs, semi))
    return PairTable(
        view="drone",
        queries=Pictures(specs["drone"], pairs, noise=1),
        tiles=Pictures(specs["satellite"], tiles, noise=2),
        reference=reference,
        positions=plane(seed, tiles) if positions else None,
        semi_positives=semi_positives,
    )


def table_with_references(seed, reference, tiles, semi):
    table = table_of(seed, len(reference), tiles, tiles, semi.shape[1])
    return PairTable(table.view, table.queries, table.tiles, reference, table.positions, semi)


def no_conflicts(reference):
    return PairItems(reference, Matches.from_lists([[] for _ in reference]))


def may_not_meet(table, a, b, radius_m, mode):
    """Plain rules for two pairs in one batch."""
    tile_a, tile_b = table.reference[a], table.reference[b]
    apart = np.linalg.norm(table.positions.xy[tile_a] - table.positions.xy[tile_b])
    if tile_a == tile_b or (radius_m > 0 and apart <= radius_m):
        return True
    if mode == "paper":
        return False
    return tile_b in table.semi_positives[a] or tile_a in table.semi_positives[b]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), radius_m=st.sampled_from([0.0, 30.0, 80.0]),
       batch_size=st.integers(2, 12), select=st.integers(0, 12),
       mode=st.sampled_from(["correct", "paper"]), company=st.booleans())  # fmt: skip
def test_batches_keep_their_promises(seed, radius_m, batch_size, select, mode, company):
    table = table_of(seed)
    items = pair_items(table, exclude_within_m=radius_m, mode=mode)
    if company:
        near = table_by_distance(table, 16, exclude_within_m=radius_m, mode=mode)
        items = PairItems(items.reference, items.conflicts, near)
    plan = {"batch_size": batch_size, "neighbour_select": select, "seed": seed}
    batches = epoch_batches({"drone": items}, epoch=1, **plan)
    together = np.concatenate([batch.indices for batch in batches])
    assert len(np.unique(together)) == len(together)
    for batch in batches:
        assert len(batch.indices) == batch_size
        for i, a in enumerate(batch.indices):
            assert not any(
                may_not_meet(table, a, b, radius_m, mode) for b in batch.indices[i + 1 :]
            )
    again = epoch_batches({"drone": items}, epoch=1, **plan)
    assert all(np.array_equal(a.indices, b.indices) for a, b in zip(batches, again, strict=True))


def test_semi_positives_meet_in_paper_mode_only():
    reference, semi = np.arange(8), np.arange(8)[:, None] ^ 1
    table = table_with_references(0, reference, 8, semi)
    whole = {"batch_size": 8, "neighbour_select": 0, "seed": 0, "epoch": 0}
    paper = pair_items(table, exclude_within_m=0.0, mode="paper")
    assert len(epoch_batches({"drone": paper}, **whole)) == 1
    correct = {"drone": pair_items(table, exclude_within_m=0.0, mode="correct")}
    with pytest.raises(DataError, match="far enough apart"):
        epoch_batches(correct, **whole)
    for batch in epoch_batches(correct, **(whole | {"batch_size": 4})):
        assert len(np.unique(batch.indices // 2)) == 4


def test_semi_positives_shut_out_from_either_side():
    one_sided = np.array([[1], [-1]])
    table = table_with_references(0, np.array([0, 1]), 2, one_sided)
    items = {"drone": pair_items(table, exclude_within_m=0.0, mode="correct")}
    for seed in range(8):
        with pytest.raises(DataError):
            epoch_batches(items, batch_size=2, neighbour_select=0, seed=seed, epoch=0)


def test_epochs_differ_and_neighbour_batches_are_tighter():
    places, reference = plane(1, 400), np.arange(400)
    near = ground_neighbours(places, 16, exclude_within_m=0.0, mode="correct")
    free = no_conflicts(reference)
    close = PairItems(reference, free.conflicts, NeighbourTable(near, reference))

    def spread(items):
        plan = {"batch_size": 16, "neighbour_select": 12, "seed": 0}
        batches = epoch_batches({"drone": items}, epoch=0, **plan)
        later = epoch_batches({"drone": items}, epoch=1, **plan)
        assert not np.array_equal(batches[0].indices, later[0].indices)
        return np.mean([places.xy[batch.indices].std(axis=0).mean() for batch in batches])

    assert spread(close) < 0.8 * spread(free)


def test_half_of_the_company_are_the_nearest_and_the_rest_is_drawn_behind_them():
    reference = np.arange(21)  # one batch of 11 and no second one
    rows = np.full((21, 20), -1, np.int32)
    rows[0] = np.arange(1, 21)
    near = NeighbourTable(rows, reference)
    items = PairItems(reference, no_conflicts(reference).conflicts, near)
    plan = {"batch_size": 11, "neighbour_select": 10, "epoch": 0}
    filled = [epoch_batches({"drone": items}, seed=seed, **plan) for seed in range(400)]
    led_by_0 = [batch.indices for (batch,) in filled if batch.indices[0] == 0]
    assert len(led_by_0) > 5
    for indices in led_by_0:
        assert indices[1:6].tolist() == [1, 2, 3, 4, 5]
        assert (indices[6:] > 5).all()
    assert len(np.unique([indices[6:] for indices in led_by_0])) > 10


def test_a_tile_of_many_photos_appears_once_per_batch_and_all_photos_are_used():
    reference = np.repeat(np.arange(40), 6)
    batches = epoch_batches({"drone": no_conflicts(reference)},
                            batch_size=8, neighbour_select=64, seed=3, epoch=0)  # fmt: skip
    assert len(batches) >= 28  # of 30
    for batch in batches:
        assert len(np.unique(reference[batch.indices])) == 8
    together = np.concatenate([batch.indices for batch in batches])
    assert len(np.unique(together)) == len(together)


def test_a_neighbour_tile_brings_any_of_its_photos():
    reference = np.repeat(np.arange(30), 4)
    rows = (np.arange(30)[:, None] + np.arange(1, 9)) % 30
    near = NeighbourTable(rows.astype(np.int32), reference)
    items = PairItems(reference, no_conflicts(reference).conflicts, near)
    partners = set()
    for seed in range(60):
        for batch in epoch_batches(
            {"drone": items}, batch_size=8, neighbour_select=8, seed=seed, epoch=0
        ):
            partners.update(int(i) % 4 for i in batch.indices[1:])
    assert partners == {0, 1, 2, 3}


def test_a_batch_that_cannot_be_filled_is_an_error():
    table = table_of(2)
    items = pair_items(table, exclude_within_m=5000.0, mode="correct")
    with pytest.raises(DataError, match="far enough apart"):
        epoch_batches({"drone": items}, batch_size=4, neighbour_select=0, seed=0, epoch=0)


def test_distances_without_positions_are_refused():
    table = table_of(1, positions=False)
    with pytest.raises(DataError, match="no positions"):
        pair_items(table, exclude_within_m=10.0, mode="correct")
    with pytest.raises(DataError, match="GPS sampling") as caught:
        Company(
            tiny("sampling.strategy=gps", "sampling.exclude_within_m=0"), {"drone": table}, None
        )
    assert "random" in caught.value.hint
    free = Company(
        tiny("sampling.strategy=random", "sampling.exclude_within_m=0"), {"drone": table}, None
    )
    assert free.items(0, unwanted)["drone"].neighbours is None


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), radius_m=st.floats(0, 300), count=st.integers(0, 45))
def test_ground_neighbours_equal_plain_sorting(seed, radius_m, count):
    places = plane(seed, 40)
    found = ground_neighbours(places, count, exclude_within_m=radius_m, mode="correct")
    assert found.shape == (40, count)
    assert found.dtype == np.int32
    for i in range(40):
        apart = np.linalg.norm(places.xy - places.xy[i], axis=1)
        expected = [
            j for j in np.argsort(apart, kind="stable")
            if j != i and (radius_m == 0 or apart[j] > radius_m)
        ][:count]  # fmt: skip
        assert found[i][found[i] >= 0].tolist() == expected


def test_places_at_one_spot_are_neighbours_and_another_town_is_not():
    xy = np.array([[0.0, 0.0], [0.0, 0.0], [5.0, 0.0], [1e6, 0.0]])
    found = ground_neighbours(Positions("plane_m", xy), 3, exclude_within_m=0.0, mode="correct")
    assert found.tolist() == [[1, 2, -1], [0, 2, -1], found[2].tolist(), [-1, -1, -1]]
    assert sorted(found[2].tolist()) == [-1, 0, 1]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), chunk=st.integers(1, 50), count=st.integers(0, 45))
def test_similar_tiles_equal_the_full_matrix(seed, chunk, count):
    rng = np.random.default_rng(seed)
    queries = rng.permuted(np.tile(np.arange(40, dtype=np.float32), (50, 1)), axis=1)
    tiles = np.eye(40, dtype=np.float32)  # scores without rounding and without ties
    blocked = Matches.from_lists([rng.integers(0, 40, rng.integers(0, 6)) for _ in range(50)])
    found = similar_tiles(queries, tiles, count, blocked=blocked, scores_bytes=4 * 40 * chunk)
    assert found.shape == (50, count)
    assert found.dtype == np.int32
    for i in range(50):
        order = np.argsort(-(queries[i] @ tiles.T), kind="stable")
        expected = [j for j in order if j not in blocked.of(i)][:count]
        assert found[i][found[i] >= 0].tolist() == expected


def test_only_tiles_of_training_pairs_are_listed():
    table = table_of(4, used=30)
    items = pair_items(table, exclude_within_m=0.0, mode="correct")
    near = table_by_distance(table, 64, exclude_within_m=0.0, mode="correct")
    alike = table_by_similarity(table, items, 64, embedder(8), mode="correct", device="cpu")
    for found in (near, alike):
        assert set(found.rows[found.rows >= 0].tolist()) <= set(table.reference.tolist())
        for pair, tile in enumerate(table.reference):
            assert tile not in found.rows[found.row_of_pair[pair]]


def embedder(seed, calls=None):
    """Unit vectors that follow from the image's name."""

    def embed(images):
        if calls is not None:
            calls.append(len(images))
        found = np.empty((len(images), 6), np.float32)
        for i in range(len(images)):
            key = [seed, *images.name(i).encode()]
            found[i] = np.random.default_rng(key).standard_normal(6)
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    return embed


def unwanted():
    raise AssertionError("no embedding is due")


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), mode=st.sampled_from(["correct", "paper"]))
def test_similarity_leaves_out_what_is_no_negative(seed, mode):
    table = table_of(seed, pairs=60, tiles=40, used=35)
    radius_m = 60.0
    items = pair_items(table, exclude_within_m=radius_m, mode=mode)
    found = table_by_similarity(table, items, 20, embedder(seed), mode=mode, device="cpu")
    scores = embedder(seed)(table.queries) @ embedder(seed)(table.tiles).T
    in_use = set(table.reference.tolist())
    for pair, tile in enumerate(table.reference):
        last = pair if mode == "correct" else np.flatnonzero(table.reference == tile)[-1]
        apart = np.linalg.norm(table.positions.xy - table.positions.xy[tile], axis=1)
        left_out = {int(tile), *np.flatnonzero(apart <= radius_m).tolist()}
        if mode == "correct":
            left_out |= set(table.semi_positives[pair].tolist())
        expected = np.sort(scores[last, sorted(in_use - left_out)])[::-1][:20]
        row = found.rows[found.row_of_pair[pair]]
        row = row[row >= 0]
        assert len(np.unique(row)) == len(row)
        assert set(row.tolist()) <= in_use - left_out
        assert np.allclose(scores[last, row], expected, atol=1e-5)


def test_a_saved_table_comes_back_and_a_wrong_one_is_refused(tmp_path):
    path = tmp_path / "kept" / "neighbours-drone-0.npz"
    table = NeighbourTable(np.array([[1, -1]], np.int32), np.zeros(3, np.int64))
    table.save(path, made_for="a")
    again = NeighbourTable.load(path, made_for="a")
    assert again.rows.dtype == np.int32
    assert np.array_equal(again.rows, table.rows)
    assert np.array_equal(again.row_of_pair, table.row_of_pair)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    with pytest.raises(DataError, match="other pairs or settings"):
        NeighbourTable.load(path, made_for="b")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match="damaged"):
        NeighbourTable.load(path, made_for="a")


STAGED = ("sampling.strategy=gps_then_dss", "sampling.start_epoch=1", "sampling.refresh_every=2",
          "sampling.exclude_within_m=0", "sampling.neighbour_range=8")  # fmt: skip


def same(a, b):
    if a.neighbours is None or b.neighbours is None:
        return a.neighbours is b.neighbours
    return np.array_equal(a.neighbours.rows, b.neighbours.rows) and np.array_equal(
        a.neighbours.row_of_pair, b.neighbours.row_of_pair
    )


def test_company_goes_from_random_to_ground_to_similarity(tmp_path):
    tables = {"drone": table_of(6)}
    company = Company(tiny(*STAGED), tables, tmp_path)
    assert company.items(0, unwanted)["drone"].neighbours is None
    ground = company.items(1, unwanted)["drone"]
    assert same(ground, company.items(2, unwanted)["drone"])
    calls = []
    similar = company.items(3, lambda: embedder(3, calls))["drone"]
    assert calls
    assert not same(ground, similar)
    assert same(similar, company.items(4, unwanted)["drone"])
    assert not same(similar, company.items(5, lambda: embedder(5))["drone"])
    assert {file.name for file in tmp_path.iterdir()} == {
        f"neighbours-drone-{epoch}.npz" for epoch in (1, 3, 5)
    }


def test_a_resumed_run_reads_the_tables_in_force(tmp_path):
    tables, recipe = {"drone": table_of(6)}, tiny(*STAGED)
    unbroken = Company(recipe, tables, tmp_path)
    wanted = [unbroken.items(epoch, lambda e=epoch: embedder(e))["drone"] for epoch in range(7)]
    for epoch in range(7):
        resumed = Company(recipe, tables, tmp_path)
        assert same(wanted[epoch], resumed.items(epoch, unwanted)["drone"])
    with pytest.raises(DataError, match="other pairs or settings"):
        Company(recipe, {"drone": table_of(7)}, tmp_path).items(3, unwanted)


def test_old_tables_are_forgotten_but_not_the_one_in_force(tmp_path):
    company = Company(tiny(*STAGED), {"drone": table_of(6)}, tmp_path)
    for epoch in range(6):
        company.items(epoch, lambda e=epoch: embedder(e))
    (tmp_path / "neighbours-drone-0.txt").write_text("not ours")
    company.forget_before(4)
    assert {file.name for file in tmp_path.iterdir()} == {
        "neighbours-drone-3.npz", "neighbours-drone-5.npz", "neighbours-drone-0.txt",
    }  # fmt: skip
    company.forget_before(0)
    assert len(list(tmp_path.iterdir())) == 3


def test_other_processes_find_the_same_and_write_nothing(tmp_path):
    tables, recipe = {"drone": table_of(6)}, tiny(*STAGED)
    first = Company(recipe, tables, tmp_path / "main")
    other = Company(recipe, tables, tmp_path / "other", main_process=False)
    for epoch in range(5):
        a = first.items(epoch, lambda e=epoch: embedder(e))["drone"]
        b = other.items(epoch, lambda e=epoch: embedder(e))["drone"]
        assert same(a, b)
    other.forget_before(5)
    assert not (tmp_path / "other").exists()


def test_a_lost_table_is_made_anew_with_a_warning(tmp_path, caplog):
    company = Company(tiny(*STAGED), {"drone": table_of(6)}, tmp_path)
    company.items(4, lambda: embedder(4))
    assert "lost" in caplog.text
    assert (tmp_path / "neighbours-drone-3.npz").is_file()
