"""A task with everything opened that it names."""

import os
from collections.abc import Sequence

from crossfix.encoder import Encoder
from crossfix.onnx_session import CUDA
from index_builder.embedding.old_tiles import OldTiles
from index_builder.embedding.task import EmbeddingTask
from index_builder.sources.opening import close_sources, open_sources
from index_builder.sources.source import TileSource

VIEW = "satellite"


def computed_on(provider: str, batch_size: int) -> str:
    """What decides about an embedding's last bits besides the encoder: the device, and the shape.

    Args:
        provider: of ONNX Runtime.
        batch_size: on a GPU; on the CPU every run takes one tile.
    """
    return f"{provider} {batch_tiles(provider, batch_size)}"


def batch_tiles(provider: str, batch_size: int) -> int:
    """Tiles in every run of the encoder."""
    return batch_size if provider == CUDA else 1


class OpenTask:
    """Encoder, sources and the older version of a task; shared by all its threads.

    On the CPU every run of the encoder takes one tile on one thread, and as many run at once as
    there are cores: batches and threads inside a run are slower there. On a GPU one run at a
    time takes a full batch, padded where tiles run out. Either way all runs have one shape, so
    an embedding does not depend on what else was to be embedded.

    Attributes:
        lanes: runs of the encoder at once.
        batch_tiles: tiles in every run.

    Raises:
        EncoderError: the encoder cannot be opened.
        UnknownView: it has no satellite view.
        SourceError: a source cannot be opened.
        GalleryError: the older version cannot be read.
    """

    def __init__(
        self,
        task: EmbeddingTask,
        *,
        encoder: Encoder | None = None,
        sources: Sequence[TileSource] | None = None,
    ) -> None:
        self.task = task
        self.old: OldTiles | None = None
        self.encoder = encoder or Encoder.load(task.encoder_dir, device=task.device, threads=1)
        self.view = self.encoder.view(VIEW)
        on_gpu = self.encoder.provider == CUDA
        self.lanes = 1 if on_gpu else task.threads or os.cpu_count() or 1
        self.batch_tiles = batch_tiles(self.encoder.provider, task.batch_size)
        self._owned = (
            []
            if sources is not None
            else open_sources(task.sources, tile_px=task.tile_px, within=task.within)
        )
        self.sources: Sequence[TileSource] = self._owned if sources is None else sources
        try:
            self.infos = [source.describe() for source in self.sources]
            self.old = self._open_old()
        except BaseException:
            self.close()
            raise

    def _open_old(self) -> OldTiles | None:
        if not self.task.reuse_from:
            return None
        return OldTiles.open(
            self.task.reuse_from,
            self.encoder,
            self.infos,
            computed_on=computed_on(self.encoder.provider, self.task.batch_size),
            reread=self.task.reread,
        )

    def close(self) -> None:
        """Closes what it opened itself."""
        close_sources(self._owned)
        if self.old is not None:
            self.old.close()
