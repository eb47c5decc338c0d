"""What is held in memory of every tile while a version is put together."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crossfix.errors import SourceError
from crossfix.geodesy import morton_code
from index_builder.embedding.part_file import open_part

Float64 = NDArray[np.float64]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]

_SIDES = ("west", "south", "east", "north")


@dataclass(frozen=True)
class Keys:
    """Of N tiles in the order of the parts: 60 bytes each and their ids.

    Attributes:
        part, row: where the rest of a tile is, (N,).
        boxes: west, south, east, north, (N,) each.
    """

    part: Int32
    row: Int32
    codes: NDArray[np.uint64]
    ids: pa.ChunkedArray
    boxes: tuple[Float64, Float64, Float64, Float64]
    sizes_m: list[float]

    def __len__(self) -> int:
        return len(self.part)

    def morton_order(self) -> Int64:
        """Rows by place, then by id: the same whatever order the tiles came in.

        Raises:
            SourceError: two tiles have the same id.
        """
        table = pa.table({"code": self.codes, "id": self.ids})
        order = pc.sort_indices(table, [("code", "ascending"), ("id", "ascending")]).to_numpy()
        if pc.count_distinct(self.ids).as_py() < len(self):
            counts = pc.value_counts(self.ids).flatten()
            twice = counts[0].filter(pc.greater(counts[1], 1))[0].as_py()
            raise SourceError(
                f"two tiles have the id {twice}", hint="give every source a name of its own"
            )
        return np.asarray(order, np.int64)


def read_keys(directory: Path, parts: int) -> Keys:
    """Reads the keys of all part files, one after the other."""
    rows, codes, ids = [], [], []
    boxes: dict[str, list[Float64]] = {name: [] for name in _SIDES}
    sizes: set[float] = set()
    for number in range(parts):
        batch = open_part(directory, number)
        lon, lat = (batch.column(name).to_numpy() for name in ("lon", "lat"))
        codes.append(morton_code(lon, lat))
        # Copied: a view would keep the whole part mapped.
        ids.append(pa.array(batch.column("tile_id").to_pylist(), pa.string()))
        for name in _SIDES:
            boxes[name].append(batch.column(name).to_numpy().copy())
        sizes.update(np.unique(batch.column("size_m").to_numpy().round(3)).tolist())
        rows.append(len(batch))
    return Keys(
        part=np.repeat(np.arange(parts, dtype=np.int32), rows),
        row=np.concatenate([np.arange(count, dtype=np.int32) for count in rows]),
        codes=np.concatenate(codes),
        ids=pa.chunked_array(ids, pa.string()),
        boxes=tuple(np.concatenate(boxes[name]) for name in _SIDES),  # type: ignore[arg-type]
        sizes_m=sorted(sizes),
    )
