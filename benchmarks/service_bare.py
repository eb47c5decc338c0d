"""What the service is measured against: the same encoder in plain loops, without a server."""

import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossfix.encoder import Encoder
from crossfix.estimate import CANDIDATES
from crossfix.gallery import Gallery, current_version
from crossfix.images import ImageLimits, decode
from crossfix.preprocess import prepare
from crossfix.view import ViewName
from service.galleries.one_piece import OnePiece
from service.galleries.snapshot import Snapshot
from service.localizer import estimate_place

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Bare:
    """Encoder, gallery and one photo."""

    snapshot: Snapshot
    photo: bytes
    view: ViewName

    @classmethod
    def open(cls, encoder: Path, gallery: Path, photo: Path, view: ViewName) -> "Bare":
        """Loads them on the CPU, one thread per run, as the service does."""
        loaded = Encoder.load(encoder, device="cpu", threads=1)
        version = current_version(gallery)
        snapshot = Snapshot(loaded, OnePiece(Gallery.open(gallery, version=version)), version)
        return cls(snapshot, photo.read_bytes(), view)

    def tensor(self) -> Float32:
        """(1, 3, h, w): decode and prepare."""
        spec = self.snapshot.encoder.view(self.view)
        photo = decode(self.photo, limits=ImageLimits(), target_px=spec.decode_px)
        return prepare(photo, spec).tensor[None]

    def encode(self, tensor: Float32) -> Float32:
        """The ONNX Runtime run."""
        return self.snapshot.encoder.encode(tensor, self.view)

    def four_calls(self) -> None:
        """Decode, encode, search, estimate."""
        found = self.snapshot.gallery.search(self.encode(self.tensor()), CANDIDATES)
        estimate_place(self.snapshot, found, self.view)

    def images_per_s(self, *, threads: int, seconds: float) -> float:
        """Of the bare ONNX Runtime loop: prepared tensors, `threads` runs at once."""
        tensor = self.tensor()
        self.encode(tensor)
        counts = [0] * threads
        began = time.monotonic()
        until = began + seconds
        ended = [began] * threads

        def loop(number: int) -> None:
            while time.monotonic() < until:
                self.encode(tensor)
                counts[number] += 1
            ended[number] = time.monotonic()

        workers = [threading.Thread(target=loop, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return sum(count / (end - began) for count, end in zip(counts, ended, strict=True))
