"""How far a build is, and what it has done."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """Where a build stands; `eta_s` is None until a rate is known.

    Attributes:
        done, total: planned tiles, empty and unreadable ones included.
        resumed: of `done`, those an interrupted build had done.
        tiles_per_s: of this run, resumed ones left out.
    """

    done: int
    total: int
    tiles_per_s: float
    eta_s: float | None
    resumed: int = 0


@dataclass
class EmbeddingStats:
    """What embedding did.

    Attributes:
        tiles: in the gallery, however they came there.
        empty_tiles: left out, more than half of them without data.
        seconds: wall time of embedding in this run.
        encoder_busy_share: share of the wall time that the encoder's threads spent computing,
            0..1, on average over them.
        unreadable: one sentence for each tile left out with `skip_unreadable`.
        resumed: tiles of parts that an interrupted build had finished, left-out ones included.
        reused: tiles taken over from an older version.
        embedded: tiles embedded in this run.
    """

    tiles: int = 0
    empty_tiles: int = 0
    seconds: float = 0.0
    encoder_busy_share: float = 0.0
    unreadable: list[str] = field(default_factory=list)
    resumed: int = 0
    reused: int = 0
    embedded: int = 0

    @property
    def tiles_per_s(self) -> float:
        """Tiles embedded per second of wall time, in this run."""
        return self.embedded / self.seconds if self.seconds else 0.0
