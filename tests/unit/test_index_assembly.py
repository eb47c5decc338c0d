"""Assembling is sorting, whatever the parts; bounds go the shorter way round."""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crossfix.errors import SourceError
from crossfix.geodesy import Bounds, morton_code
from crossfix.tile_table import SCHEMA
from index_builder.assembly import assemble as assembling
from index_builder.assembly import gathering, writing
from index_builder.assembly.assemble import assemble_version
from index_builder.assembly.bounds import find_bounds
from index_builder.assembly.changes import UpdateCounts, count_changes
from index_builder.assembly.content import ContentHash, hash_content
from index_builder.embedding.part_file import (
    LeftOut,
    PartContent,
    PartResult,
    TileRecord,
    open_part,
    read_left_out,
    write_part,
)
from index_builder.left_out import LEFT_OUT_FILE
from index_builder.sources.source import TilePlan

DIM = 6


def make_plan(number, rng, prefix="t"):
    lon, lat = rng.uniform(-1, 1, 2).round(2)  # several tiles at one place
    box = Bounds(lon - 0.1, lat - 0.1, lon + 0.1, lat + 0.1)
    return TilePlan(
        f"{prefix}{number}", lon, lat, box, 30.0 + number % 2, None, "2024", "é", "l", 0, number
    )


def write_parts(folder, counts, *, seed=0, prefix="t"):
    """Parts of random tiles; every 10th tile is left out."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    numbers = rng.permutation(sum(counts))
    for part, chunk in enumerate(np.split(numbers, np.cumsum(counts)[:-1])):
        plans = [make_plan(number, np.random.default_rng(number), prefix) for number in chunk]
        kept = [plan for plan in plans if plan.place % 10]
        out = [LeftOut(plan, "broken" * (plan.place % 20)) for plan in plans if not plan.place % 10]
        content = PartContent(
            records=[TileRecord(plan, "s", 0.5, f"{plan.place:032x}") for plan in kept],
            embeddings=np.array([vector_of(plan) for plan in kept], np.float16).reshape(-1, DIM),
            jpegs=[f"jpeg of {plan.tile_id}".encode() * 9 for plan in kept],
            left_out=out,
        )
        write_part(folder, PartResult(part, len(kept), len(out), (), 0, 0.0, 0.0), content)
    return len(counts)


def vector_of(plan):
    return np.random.default_rng(plan.place).standard_normal(DIM)


def assemble(tmp_path, counts, name="version", **options):
    parts = write_parts(tmp_path / f"{name}-parts", counts, **options)
    directory = tmp_path / name
    directory.mkdir()
    return assemble_version(tmp_path / f"{name}-parts", parts, directory), directory, parts


def test_files_are_the_sorted_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(assembling, "_CHUNK_ROWS", 64)
    monkeypatch.setattr(gathering, "_OPEN_PARTS", 2)
    monkeypatch.setattr(writing, "TILE_GROUP_ROWS", 100)
    assembled, directory, parts = assemble(tmp_path, [40, 1, 90, 10, 159])
    everything = pa.Table.from_batches(
        [open_part(tmp_path / "version-parts", number) for number in range(parts)]
    )
    codes = morton_code(everything["lon"].to_numpy(), everything["lat"].to_numpy())
    order = np.lexsort((np.array(everything["tile_id"].to_pylist()), codes))
    plain = everything.take(order)
    assert assembled.tile_count == len(plain) == 270
    tiles = pq.read_table(directory / "tiles.parquet")
    assert tiles.schema.equals(SCHEMA)
    assert tiles.equals(plain.select(SCHEMA.names).replace_schema_metadata(None))
    pictures = pq.ParquetFile(directory / "pictures.parquet")
    assert pictures.read().column("jpeg").to_pylist() == plain["jpeg"].to_pylist()
    assert pictures.read().column("tile_id").to_pylist() == plain["tile_id"].to_pylist()
    groups = [pictures.metadata.row_group(i).num_rows for i in range(pictures.num_row_groups)]
    assert groups == [64, 64, 64, 64, 14]
    vectors = np.fromfile(directory / "vectors.f16", "<f2").reshape(-1, DIM)
    places = [int(one, 16) for one in plain["pixels_hash"].to_pylist()]
    wanted = [np.random.default_rng(place).standard_normal(DIM) for place in places]
    np.testing.assert_array_equal(vectors, np.array(wanted, np.float16))
    left_out = pq.read_table(directory / LEFT_OUT_FILE).to_pylist()
    assert {one["tile_id"] for one in left_out} == {f"t{number}" for number in range(0, 300, 10)}
    assert {one["tile_id"] for one in left_out if not one["why"]} == {
        f"t{number}" for number in range(0, 300, 20)
    }
    assert assembled.tile_sizes_m == [30.0, 31.0]


def test_left_out_tiles_are_in_groups_of_one_size(tmp_path, monkeypatch):
    """However many parts they come from: readers open groups, not rows."""
    _, directory, _ = assemble(tmp_path, [20] * 15)
    assert pq.ParquetFile(directory / LEFT_OUT_FILE).num_row_groups == 1
    monkeypatch.setattr(writing, "TILE_GROUP_ROWS", 8)
    _, directory, parts = assemble(tmp_path, [70, 1, 29, 200], "small")
    file = pq.ParquetFile(directory / LEFT_OUT_FILE)
    groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert groups == [8, 8, 8, 6]
    rows = [
        row
        for number in range(parts)
        for row in read_left_out(open_part(tmp_path / "small-parts", number))
    ]
    assert file.read().to_pylist() == rows


def test_the_same_tiles_in_other_parts_give_the_same_files(tmp_path, monkeypatch):
    one, first, _ = assemble(tmp_path, [100, 200], "a", seed=1)
    other, second, _ = assemble(tmp_path, [7, 93, 1, 199], "b", seed=2)
    assert one == other
    for name in ("vectors.f16", "tiles.parquet", "pictures.parquet"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert hash_content(first) == one.content_hash
    monkeypatch.setattr(assembling, "_CHUNK_ROWS", 64)
    assert assemble(tmp_path, [300], "c")[0].content_hash == one.content_hash


def test_the_content_hash_covers_every_column_and_the_vectors(tmp_path):
    _, directory, _ = assemble(tmp_path, [30])
    table = pq.read_table(directory / "tiles.parquet")

    def hash_of(rows, vectors=b"abc"):
        content = ContentHash()
        content.add_rows(rows)
        content.add_vectors(vectors)
        return content.hexdigest()

    hashes = [hash_of(table), hash_of(table, b"abd")]
    for index, name in enumerate(table.schema.names):
        column = table[name].to_pylist()
        column[3] = column[3] + "x" if isinstance(column[3], str) else np.nextafter(column[3], 9)
        changed = table.set_column(index, table.field(index), pa.array(column, table[name].type))
        hashes.append(hash_of(changed))
    assert len(set(hashes)) == 2 + len(SCHEMA)
    assert hash_of(table) == hashes[0] != hashlib.sha256().hexdigest()


def test_two_tiles_of_one_id_are_refused(tmp_path):
    parts = tmp_path / "parts"
    write_parts(parts, [30, 20])
    (parts / "part-00000001.arrow").unlink()
    second = tmp_path / "second"
    write_parts(second, [15, 30], seed=3)
    (second / "part-00000001.arrow").rename(parts / "part-00000001.arrow")
    (tmp_path / "version").mkdir()
    with pytest.raises(SourceError, match=r"two tiles have the id t\d+"):
        assemble_version(parts, 2, tmp_path / "version")


def test_changes_are_counted(tmp_path):
    _, old, _ = assemble(tmp_path, [60], "old")
    _, new, _ = assemble(tmp_path, [40], "new")
    assert count_changes([old], new, reused=30) == UpdateCounts(6, 30, 0, 18)
    assert count_changes([new], old, reused=0) == UpdateCounts(54, 0, 18, 0)
    _, other, _ = assemble(tmp_path, [20], "other", prefix="u")
    assert count_changes([old], other, reused=0) == UpdateCounts(18, 0, 18, 54)


@pytest.mark.parametrize(
    ("boxes", "west_east"),
    [
        ([(10, 11), (12, 13)], (10, 13)),
        ([(179.8, 179.9), (-179.9, -179.8)], (179.8, -179.8)),
        ([(179.9, -179.9)], (179.9, -179.9)),
        ([(179.9, -179.9), (170, 171)], (170, -179.9)),
        ([(-180, -179), (179, 180)], (179, -179)),
        ([(-120, -119), (0, 1), (110, 111)], (-120, 111)),
        ([(-120, -119), (0, 1), (130, 131)], (130, 1)),
        ([(-180, 0), (-10, 180)], (-180, 180)),
        ([(100, -100), (-110, 110)], (-180, 180)),
        ([(-100, 100), (50, 60)], (-100, 100)),
        ([(-90, -80), (90, 100)], (-90, 100)),
    ],
)
def test_bounds_go_the_shorter_way_round(boxes, west_east):
    west, east = np.array(boxes, float).T
    bounds = find_bounds(west, west * 0 - 1, east, west * 0 + 1)
    assert (bounds.west, bounds.east) == west_east
    assert (bounds.south, bounds.north) == (-1, 1)
