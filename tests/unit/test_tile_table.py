"""Tile tables: text columns without Python objects, rows by id, older files."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crossfix import tile_texts
from crossfix.errors import GalleryCorrupt
from crossfix.tile_table import SCHEMA, TileTable, _Columns
from crossfix.tile_texts import RowLookup, Texts, hash_texts
from tests.service_world import tile_table

IDS = ["", "a", "b/1_2", "eight888", "seventeen letters", "ümläut", "b/1_2", "x" * 40]


@pytest.fixture(params=["plain", "chunked", "dictionary", "sliced"])
def texts(request):
    column = {
        "plain": pa.array(IDS),
        "chunked": pa.chunked_array([IDS[:3], [], IDS[3:]]),
        "dictionary": pa.array(IDS).dictionary_encode(),
        "sliced": pa.array(["before", *IDS, "after"]).slice(1, len(IDS)),
    }[request.param]
    return Texts.of(column)


def test_texts_are_a_list_of_strings(texts):
    assert len(texts) == len(IDS)
    assert list(texts) == IDS
    assert texts == IDS
    assert texts != IDS[:-1]
    assert [texts[row] for row in range(-8, 8)] == IDS + IDS
    assert (texts[2:5], texts[::3], texts[5:2]) == (IDS[2:5], IDS[::3], [])
    assert texts[np.int64(3)] == IDS[3]
    assert "a" in texts
    assert pa.array(texts, pa.string()).to_pylist() == IDS
    assert pa.table({"id": texts}).column("id").to_pylist() == IDS
    with pytest.raises(IndexError, match="8 of 8"):
        texts[8]


def test_rows_are_found_by_text(texts):
    lookup = RowLookup(texts)
    assert [lookup.find(text) for text in IDS] == [0, 1, 2, 3, 4, 5, 2, 7]
    assert lookup.find("no such") is None
    assert RowLookup(Texts.of([])).find("a") is None


def test_texts_of_equal_hash_are_told_apart(monkeypatch):
    monkeypatch.setattr(tile_texts, "hash_texts", lambda some: np.zeros(len(some), np.uint64))
    lookup = RowLookup(Texts.of(IDS))
    assert [lookup.find(text) for text in IDS] == [0, 1, 2, 3, 4, 5, 2, 7]
    assert lookup.find("no such") is None


def test_many_rows_are_found_at_once(texts, monkeypatch):
    wanted = [*IDS, "no such", "", *IDS[::-1]]
    for lookup in (RowLookup(texts), RowLookup(Texts.of([])), RowLookup(Texts.of(["", "x"]))):
        plain = [lookup.find(text) for text in wanted]
        assert lookup.find_many(wanted).tolist() == [-1 if row is None else row for row in plain]
        assert lookup.find_many([]).tolist() == []
    monkeypatch.setattr(tile_texts, "hash_texts", lambda some: np.zeros(len(some), np.uint64))
    lookup = RowLookup(Texts.of(IDS))
    assert lookup.find_many(wanted).tolist()[:8] == [0, 1, 2, 3, 4, 5, 2, 7]


def test_hashes_differ_and_do_not_depend_on_the_neighbours():
    ids = [f"source/{number}_{number * 7 % 13}" for number in range(20_000)]
    hashes = hash_texts(pa.array(ids))
    assert len(np.unique(hashes)) == len(ids)
    assert hash_texts(pa.array(ids[77:78]))[0] == hashes[77]


def test_written_and_read_again(tmp_path):
    table = tile_table()
    pq.write_table(table.to_arrow(), tmp_path / "tiles.parquet", row_group_size=5)
    again = TileTable.read(tmp_path / "tiles.parquet")
    assert len(again) == len(table) == 16
    assert again.to_arrow().equals(table.to_arrow())
    assert again.ids == table.ids
    assert set(again.licence) == {"CC0-1.0"}
    np.testing.assert_array_equal(again.lat, table.lat)


def test_what_answers_name_is_there_once_the_table_is_open(tmp_path, monkeypatch):
    pq.write_table(tile_table().to_arrow(), tmp_path / "tiles.parquet")
    reads, read = [], pq.ParquetFile.read
    monkeypatch.setattr(
        pq.ParquetFile, "read", lambda *a, columns: reads.append(columns) or read(*a, columns)
    )
    table = TileTable.read(tmp_path / "tiles.parquet")
    reads.clear()
    for name in ("ids", "source", "date", "attribution", "licence"):
        assert getattr(table, name)[3]
    assert reads == []
    assert table.pixels_hash[3] == table.pixels_hash[4] == "0" * 32
    assert reads == [["pixels_hash"]]


def test_columns_of_one_file_are_never_read_at_once(tmp_path, monkeypatch):
    pq.write_table(tile_table().to_arrow(), tmp_path / "tiles.parquet")
    inside, most, read = [], [], pq.ParquetFile.read

    def slow(file, columns):
        inside.append(columns)
        most.append(len(inside))
        time.sleep(0.02)
        inside.pop()
        return read(file, columns)

    monkeypatch.setattr(pq.ParquetFile, "read", slow)
    columns = _Columns(pq.ParquetFile(tmp_path / "tiles.parquet"))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda name: len(columns.loader(name)()), SCHEMA.names[:6]))
    assert found == [16] * 6
    assert max(most) == 1


def test_a_table_of_format_1_has_empty_texts_for_what_it_lacks(tmp_path):
    old = tile_table().to_arrow().drop_columns(["attribution", "licence", "pixels_hash"])
    pq.write_table(old, tmp_path / "tiles.parquet")
    table = TileTable.read(tmp_path / "tiles.parquet")
    assert list(table.attribution) == list(table.licence) == list(table.pixels_hash) == [""] * 16
    assert table.to_arrow().schema == SCHEMA


def test_other_columns_and_other_files_are_refused(tmp_path):
    path = tmp_path / "tiles.parquet"
    pq.write_table(tile_table().to_arrow().drop_columns(["lon"]), path)
    with pytest.raises(GalleryCorrupt, match="columns"):
        TileTable.read(path)
    path.write_bytes(b"not parquet")
    with pytest.raises(GalleryCorrupt, match="Parquet"):
        TileTable.read(path)


def test_columns_of_other_lengths_are_refused():
    columns = {name: getattr(tile_table(), name) for name in TileTable.__dataclass_fields__}
    with pytest.raises(ValueError, match="15, 16"):
        TileTable(**{**columns, "date": ["2026"] * 15})
