"""Text columns of a tile table, kept as Arrow keeps them: ten million take no Python objects."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Column = Any  # pa.Array or pa.ChunkedArray, which have no types
UInt64 = NDArray[np.uint64]
Int64 = NDArray[np.int64]

_ITERATE_ROWS = 65536
_HASH_ROWS = 65536
_HASH_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio, odd


class Texts(Sequence[str]):
    """An immutable list of strings over Arrow memory; equal to any sequence of equal strings.

    Args:
        load: gives the column; called once, when something is first asked.
        count: its length.
    """

    def __init__(self, load: Callable[[], Column], count: int) -> None:
        self._load: Callable[[], Column] | None = load
        self._column: Column = None
        self._count = count
        self._lock = threading.Lock()

    @classmethod
    def of(cls, values: "Sequence[str] | Column") -> "Texts":
        """From strings or an Arrow column."""
        if isinstance(values, Texts):
            return values
        column = (
            values
            if isinstance(values, pa.Array | pa.ChunkedArray)
            else pa.array(values, pa.string())
        )
        return cls(lambda: column, len(column))

    def column(self) -> Column:
        """As Arrow has it, perhaps in chunks, perhaps dictionary-encoded."""
        with self._lock:
            if self._load is not None:
                self._column, self._load = self._load(), None
        return self._column

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, key: int) -> str: ...

    @overload
    def __getitem__(self, key: slice) -> list[str]: ...

    def __getitem__(self, key: int | slice) -> str | list[str]:
        if isinstance(key, slice):
            start, stop, step = key.indices(self._count)
            if step == 1:
                return list(self.column().slice(start, max(stop - start, 0)).to_pylist())
            return [self[row] for row in range(start, stop, step)]
        row = int(key)
        if not -self._count <= row < self._count:
            raise IndexError(f"row {row} of {self._count}")
        return str(self.column()[row % self._count].as_py())

    def __iter__(self) -> Iterator[str]:
        for start in range(0, self._count, _ITERATE_ROWS):
            yield from self[start : start + _ITERATE_ROWS]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def __repr__(self) -> str:
        return f"Texts({self[:3]}... of {self._count})" if self._count > 3 else f"Texts({self[:]})"

    def __arrow_array__(self, type: pa.DataType | None = None) -> pa.Array:
        """Lets `pa.array` and `pa.table` take the column as it is."""
        column = self.column()
        plain = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        if isinstance(plain, pa.ChunkedArray):  # more text than one Arrow string array can hold
            plain = plain.cast(pa.large_string()).combine_chunks()
        return plain if type is None else plain.cast(type)


class RowLookup:
    """Rows by text, through sorted hashes: 12 bytes a row, no Python objects.

    Made on first use; texts of equal hash are told apart by reading them.
    """

    def __init__(self, texts: Texts) -> None:
        self._texts = texts
        self._sorted: tuple[UInt64, Int64] | None = None
        self._lock = threading.Lock()

    def find(self, text: str) -> int | None:
        """The first row of this text, or None."""
        hashes, rows = self._tables()
        wanted = hash_texts(pa.array([text], pa.string()))[0]
        low = int(np.searchsorted(hashes, wanted, "left"))
        high = int(np.searchsorted(hashes, wanted, "right"))
        return min(
            (int(row) for row in rows[low:high] if self._texts[int(row)] == text), default=None
        )

    def find_many(self, texts: Sequence[str]) -> Int64:
        """:meth:`find` of many texts at once, (M,): their first rows, -1 where there is none."""
        wanted = pa.array(texts, pa.string())
        hashes, rows = self._tables()
        sought = hash_texts(wanted)
        low, high = (np.searchsorted(hashes, sought, side) for side in ("left", "right"))
        found = np.full(len(sought), -1, np.int64)
        alone = np.flatnonzero(high - low == 1)
        candidates = rows[low[alone]].astype(np.int64)
        same = pc.equal(_take(self._texts.column(), candidates), wanted.take(pa.array(alone)))
        is_same = same.to_numpy(zero_copy_only=False).astype(np.bool_)
        found[alone[is_same]] = candidates[is_same]
        for place in np.flatnonzero(high - low > 1):  # a text twice, or two texts of equal hash
            row = self.find(wanted[int(place)].as_py())
            found[place] = -1 if row is None else row
        return found

    def _tables(self) -> tuple[UInt64, Int64]:
        with self._lock:
            if self._sorted is None:
                hashes = np.concatenate([hash_texts(part) for part in _parts(self._texts)])
                order = np.argsort(hashes, kind="stable")
                small = np.uint32 if len(order) < 1 << 32 else np.int64
                self._sorted = hashes[order], order.astype(small)
            return self._sorted


def _take(column: Column, rows: Int64) -> pa.Array:
    """Texts by row; Arrow's own `take` would join all chunks first."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    starts = np.cumsum([0, *(len(chunk) for chunk in chunks)])
    owners = np.searchsorted(starts, rows, side="right") - 1
    order = np.argsort(owners, kind="stable")
    pieces = [
        chunks[owner].take(pa.array(rows[owners == owner] - starts[owner])).cast(pa.string())
        for owner in np.unique(owners)
    ]
    joined = pa.concat_arrays(pieces) if pieces else pa.array([], pa.string())
    places = np.empty(len(rows), np.int64)
    places[order] = np.arange(len(rows))
    return joined.take(pa.array(places))


def _parts(texts: Texts) -> Iterator[pa.Array]:
    column = texts.column()
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    yield pa.array([], pa.string())
    for chunk in chunks:
        for start in range(0, len(chunk), _HASH_ROWS):
            yield chunk.slice(start, _HASH_ROWS)


def hash_texts(texts: pa.Array) -> UInt64:
    """A 64-bit hash of each text's UTF-8 bytes, eight at a time, (N,); no protection intended."""
    plain = texts.cast(pa.large_binary())
    _, ends, data = plain.buffers()
    places = np.frombuffer(ends, np.int64)[plain.offset : plain.offset + len(plain) + 1]
    first, last = int(places[0]), int(places[-1])
    padded = np.zeros(last - first + 8, np.uint8)  # a word may be read past the last text's end
    if last > first:
        padded[:-8] = np.frombuffer(data, np.uint8)[first:last]
    words = np.ndarray((last - first + 1,), np.dtype("<u8"), buffer=padded, strides=(1,))
    starts, lengths = places[:-1] - first, np.diff(places)
    hashes = lengths.astype(np.uint64) * _HASH_FACTOR
    for offset in range(0, int(lengths.max(initial=0)), 8):
        longer = np.flatnonzero(lengths > offset)
        beyond = np.maximum(8 - (lengths[longer] - offset), 0).astype(np.uint64)
        word = words[starts[longer] + offset] << (beyond * np.uint64(8))
        mixed = (hashes[longer] ^ word) * _HASH_FACTOR
        hashes[longer] = mixed ^ (mixed >> np.uint64(29))
    return hashes
