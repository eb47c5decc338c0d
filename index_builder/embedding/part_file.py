"""The file of a finished part: tiles, embeddings and pictures; whole, or not there."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crossfix.manifest import fsync_directory
from crossfix.tile_table import SCHEMA
from index_builder.sources.source import TilePlan

Float16 = NDArray[np.float16]

_KEY = b"crossfix"
_DIGEST_BYTES = 16  # after the Arrow stream, over all of it


@dataclass(frozen=True)
class PartResult:
    """What became of a part's tiles.

    Attributes:
        empty: tiles left out, more than half of them without data.
        unreadable: one sentence for each tile left out because it could not be read.
        reused: of `tiles`, those taken over from an older version.
        encode_s: seconds spent in the encoder, added over its threads.
        seconds: from the part's first read to its last embedding.
    """

    number: int
    tiles: int
    empty: int
    unreadable: tuple[str, ...]
    reused: int
    encode_s: float
    seconds: float


@dataclass(frozen=True)
class TileRecord:
    """A tile that has been read: its plan, where from, the pixel size it had, its pixels' hash."""

    plan: TilePlan
    source: str
    resolution_m: float
    pixels_hash: str


@dataclass(frozen=True)
class LeftOut:
    """A planned tile that is not in the gallery; `why` is empty where the tile was."""

    plan: TilePlan
    why: str = ""


@dataclass(frozen=True)
class PartContent:
    """The tiles of a part in the order of its plans: (N,) records, (N, D) fp16, N JPEGs."""

    records: Sequence[TileRecord]
    embeddings: Float16
    jpegs: Sequence[bytes]
    left_out: Sequence[LeftOut]


def part_schema(dim: int) -> pa.Schema:
    """A tile table's columns, then the embedding and the picture."""
    vector = pa.field("embedding", pa.list_(pa.float16(), dim))
    return pa.schema([*SCHEMA, vector, pa.field("jpeg", pa.binary())])


def part_path(directory: Path, number: int) -> Path:
    """Where a part's file is."""
    return directory / f"part-{number:08d}.arrow"


def write_part(directory: Path, result: PartResult, content: PartContent) -> None:
    """Writes a part's file in one step; two writers of the same part do not disturb each other."""
    batch = _to_batch(content)
    facts = {
        "result": asdict(result),
        "left_out": [_spell_left_out(one) for one in content.left_out],
    }
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema.with_metadata({_KEY: json.dumps(facts)})) as writer:
        writer.write_batch(batch)
    data = sink.getvalue()
    path = part_path(directory, result.number)
    # Workers on several machines may share the directory and a process id.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        with temporary.open("wb") as handle:
            handle.write(data)
            handle.write(_digest(data))
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_directory(directory)


def read_result(directory: Path, number: int) -> PartResult | None:
    """The result of a finished part; None where its file is not there or not whole."""
    try:
        data = part_path(directory, number).read_bytes()
    except FileNotFoundError:
        return None
    # Arrow must not see a damaged file: it does not notice flipped values, and ends the process
    # over some flipped offsets.
    if (
        len(data) <= _DIGEST_BYTES
        or _digest(memoryview(data)[:-_DIGEST_BYTES]) != data[-_DIGEST_BYTES:]
    ):
        return None
    return _result_of(_facts(pa.ipc.open_stream(pa.BufferReader(data)).schema))


def open_part(directory: Path, number: int) -> pa.RecordBatch:
    """The rows of a part known to be whole, mapped rather than read."""
    with pa.memory_map(str(part_path(directory, number))) as handle:
        return pa.ipc.open_stream(handle).read_next_batch()


def read_left_out(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Rows of `LEFT_OUT_SCHEMA` for the tiles a part left out."""
    rows: list[dict[str, Any]] = _facts(batch.schema)["left_out"]
    return rows


def vectors_of(batch: pa.RecordBatch) -> Float16:
    """The embeddings of a part's rows, (N, D)."""
    column = batch.column("embedding")
    flat: Float16 = column.flatten().to_numpy(zero_copy_only=True)
    return flat.reshape(len(batch), column.type.list_size)


def _to_batch(content: PartContent) -> pa.RecordBatch:
    plans = [record.plan for record in content.records]
    dim = content.embeddings.shape[1]
    flat = np.ascontiguousarray(content.embeddings, "<f2").reshape(-1)
    columns = {
        "tile_id": [plan.tile_id for plan in plans],
        "lon": [plan.lon for plan in plans],
        "lat": [plan.lat for plan in plans],
        "west": [plan.bounds.west for plan in plans],
        "south": [plan.bounds.south for plan in plans],
        "east": [plan.bounds.east for plan in plans],
        "north": [plan.bounds.north for plan in plans],
        "size_m": [plan.size_m for plan in plans],
        "resolution_m": [record.resolution_m for record in content.records],
        "source": [record.source for record in content.records],
        "date": [plan.date for plan in plans],
        "attribution": [plan.attribution for plan in plans],
        "licence": [plan.licence for plan in plans],
        "pixels_hash": [record.pixels_hash for record in content.records],
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(flat), dim),
        "jpeg": list(content.jpegs),
    }
    schema = part_schema(dim)
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, schema.field(name).type)
        for name, column in columns.items()
    ]
    return pa.record_batch(arrays, schema=schema)


def _spell_left_out(one: LeftOut) -> dict[str, Any]:
    return {
        "tile_id": one.plan.tile_id,
        "lon": one.plan.lon,
        "lat": one.plan.lat,
        "size_m": one.plan.size_m,
        "why": one.why,
    }


def _digest(data: "memoryview | pa.Buffer") -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()


def _facts(schema: pa.Schema) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(schema.metadata[_KEY])
    return facts


def _result_of(facts: dict[str, Any]) -> PartResult:
    values = facts["result"]
    return PartResult(**{**values, "unreadable": tuple(values["unreadable"])})
