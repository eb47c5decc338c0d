"""A part while its tiles come in, in any order and from any thread."""

import threading
import time

import numpy as np
from numpy.typing import NDArray

from index_builder.embedding.part_file import LeftOut, PartContent, PartResult, TileRecord
from index_builder.embedding.parts import Part

Float16 = NDArray[np.float16]


class PartDraft:
    """Collects what becomes of each of a part's tiles."""

    def __init__(self, part: Part, embedding_dim: int) -> None:
        self.part = part
        self._dim = embedding_dim
        self._tiles: dict[int, tuple[TileRecord, Float16, bytes]] = {}
        self._left_out: dict[int, LeftOut] = {}
        self._reused = 0
        self._encode_s = 0.0
        self._started = self._ended = time.monotonic()
        self._lock = threading.Lock()

    @property
    def done(self) -> int:
        """How many of its tiles are settled."""
        return len(self._tiles) + len(self._left_out)

    def leave_out(self, place: int, left_out: LeftOut) -> bool:
        """Settles a tile; True for the part's last one."""
        with self._lock:
            self._left_out[place] = left_out
            return self._settle()

    def add(
        self,
        place: int,
        record: TileRecord,
        embedding: Float16,
        jpeg: bytes,
        *,
        encode_s: float | None = None,
    ) -> bool:
        """Settles a tile with its (D,) embedding; True for the part's last one.

        Args:
            encode_s: seconds it took; None where it was taken over.
        """
        with self._lock:
            self._tiles[place] = (record, embedding, jpeg)
            self._reused += encode_s is None
            self._encode_s += encode_s or 0.0
            return self._settle()

    def _settle(self) -> bool:
        self._ended = time.monotonic()
        return self.done == len(self.part.plans)

    def finish(self) -> tuple[PartResult, PartContent]:
        """What the part's file holds, in the order of its plans."""
        tiles = [self._tiles[place] for place in sorted(self._tiles)]
        left_out = [self._left_out[place] for place in sorted(self._left_out)]
        unreadable = tuple(one.why for one in left_out if one.why)
        content = PartContent(
            records=[record for record, _, _ in tiles],
            embeddings=np.array([one for _, one, _ in tiles], np.float16).reshape(-1, self._dim),
            jpegs=[jpeg for _, _, jpeg in tiles],
            left_out=left_out,
        )
        result = PartResult(
            number=self.part.number,
            tiles=len(tiles),
            empty=len(left_out) - len(unreadable),
            unreadable=unreadable,
            reused=self._reused,
            encode_s=self._encode_s,
            seconds=self._ended - self._started,
        )
        return result, content
