"""Which extras are pinned together, and which of these sets are shipped as images."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class PinnedSet:
    """One constraint file: `constraints/<name>.txt` pins `crossfix[<extras>]`."""

    name: str
    extras: tuple[str, ...]
    image: str = ""  # "": no image is built from it, so it has no SBOM

    @property
    def constraints(self) -> Path:
        """The file of pins."""
        return ROOT / "constraints" / f"{self.name}.txt"

    @property
    def sbom(self) -> Path:
        """The CycloneDX file of the image."""
        return ROOT / "sbom" / f"{self.image}.cdx.json"


SETS = (
    PinnedSet("serve", ("cpu", "serve", "index", "otel"), "crossfix-serve"),
    PinnedSet("serve-gpu", ("gpu", "serve", "index", "otel"), "crossfix-serve-gpu"),
    PinnedSet("ray", ("cpu", "serve", "index", "otel", "ray"), "crossfix-ray"),
    PinnedSet("index", ("cpu", "index"), "crossfix-index"),
    PinnedSet("train", ("train", "cpu"), "crossfix-train"),
    PinnedSet("demo", ("demo",)),
    PinnedSet("dev", ("dev", "release")),
)
SHIPPED = tuple(pinned for pinned in SETS if pinned.image)
