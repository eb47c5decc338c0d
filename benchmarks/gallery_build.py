"""Building a gallery as a user does: through `index_builder build`."""

import subprocess
import sys
from pathlib import Path

OVERLAP = 0.5


def build_gallery(encoder: Path, source: Path, tile_size_m: float, out: Path) -> None:
    """Builds half-overlapping tiles of one raster into `out`.

    Raises:
        subprocess.CalledProcessError: the builder failed; its message is on stderr.
    """
    subprocess.run(
        [
            sys.executable,
            "-m",
            "index_builder",
            "build",
            "--encoder",
            str(encoder),
            "--source",
            str(source),
            "--tile-size-m",
            f"{tile_size_m:g}",
            "--overlap",
            str(OVERLAP),
            "--out",
            str(out),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
