"""Opened files, lent to one thread at a time and kept for the next."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rasterio

from index_builder.sources.confinement import ANYWHERE, PLAIN_DRIVERS, Confinement

# GDAL keeps decoded blocks in up to a twentieth of the machine's memory, which is a lot on a large
# one; this much holds two rows of blocks of a raster 80,000 pixels wide. Megabytes; the user's own
# setting goes first.
os.environ.setdefault("GDAL_CACHEMAX", "256")

_Key = tuple[Path, int | None]


class HandlePool:
    """GDAL data sets, which no two threads may use at once; the last used stay open.

    Attributes:
        limit: files kept open while nobody uses them.

    Args:
        within: where all files must lie.
    """

    def __init__(self, *, limit: int = 64, within: Confinement = ANYWHERE) -> None:
        self.limit = limit
        self._within = within
        self._idle: list[tuple[_Key, Any]] = []
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def borrow(self, path: Path, overview: int | None = None) -> Iterator[Any]:
        """A handle on a file, or on one of its overviews, for this thread alone."""
        key = (path, overview)
        handle = self._take(key) or open_raster(path, self._within, overview=overview)
        try:
            yield handle
        except BaseException:
            handle.close()
            raise
        self._give_back(key, handle)

    def _take(self, key: _Key) -> Any:  # noqa: ANN401 - rasterio has no types
        with self._lock:
            for place in range(len(self._idle) - 1, -1, -1):
                if self._idle[place][0] == key:
                    return self._idle.pop(place)[1]
        return None

    def _give_back(self, key: _Key, handle: Any) -> None:  # noqa: ANN401
        with self._lock:
            self._idle.append((key, handle))
            keep = 0 if self._closed else self.limit
            surplus = self._idle[: max(0, len(self._idle) - keep)]
            del self._idle[: len(surplus)]
        for _, old in surplus:
            old.close()

    def close(self) -> None:
        """Closes what is idle now, and what is lent when it comes back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for _, handle in idle:
            handle.close()


def open_raster(path: Path, within: Confinement, *, overview: int | None = None) -> Any:  # noqa: ANN401
    """A GDAL data set, or one of its overviews.

    Raises:
        SourceError: confined, and something of it lies outside.
        rasterio.errors.RasterioError: it cannot be opened.
    """
    options = {} if overview is None else {"overview_level": overview}
    if not within:
        return rasterio.open(path, **options)
    within.check_raster(path)
    with rasterio.Env():  # `rasterio.open` takes no list of drivers
        source = rasterio.io.DatasetReader(str(path), driver=list(PLAIN_DRIVERS), **options)
    try:
        if overview is None:
            within.check_opened(source)
    except BaseException:
        source.close()
        raise
    return source
