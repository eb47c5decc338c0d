"""How large the container images are: layers unpacked, and the archive one would send.

`python -m benchmarks.image_size serve ray` measures images that `deploy/containers/build.sh` made
and appends one row each to results/image_size.csv. Needs root and buildah; with `--with docker` it
measures the images of Docker's engine. The archive is written once, unpacked, below `--scratch`.
"""

import argparse
import sys
import tempfile
import zlib
from pathlib import Path

from benchmarks.record import ROOT, append_row

sys.path.insert(0, str(ROOT / "deploy" / "containers"))
from local_images import STORAGE, DockerImages, LocalImages, layer_bytes_of

MEGABYTE = 1e6


def compressed_bytes(archive: Path) -> int:
    """Size of the file as gzip -6 makes it, in bytes."""
    packer, size = zlib.compressobj(6), 0
    with archive.open("rb") as handle:
        while chunk := handle.read(1 << 22):
            size += len(packer.compress(chunk))
    return size + len(packer.flush())


def row_of(images: LocalImages | DockerImages, image: str, scratch: Path) -> dict[str, object]:
    """What one image weighs, in megabytes of a million bytes."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        archive = Path(folder) / "image.tar"
        images.save(image, archive)
        layers, packed = layer_bytes_of(archive), compressed_bytes(archive)
    return {
        "image": image.rpartition("/")[2].partition(":")[0],
        "unpacked_mb": round(sum(layers) / MEGABYTE),
        "base_mb": round(layers[0] / MEGABYTE),
        "packages_mb": round(sum(layers[1:-1]) / MEGABYTE),
        "code_mb": round(layers[-1] / MEGABYTE, 1),
        "archive_gz_mb": round(packed / MEGABYTE),
        "base": images.config(image)["Labels"].get("org.opencontainers.image.base.name", ""),
    }


def main() -> None:
    """Measures and records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="+")
    parser.add_argument("--tag", default="local")
    parser.add_argument("--with", dest="program", choices=("buildah", "docker"), default="buildah")
    parser.add_argument("--storage", type=Path, default=STORAGE)
    parser.add_argument("--scratch", type=Path, default=Path("/var/tmp"))
    parser.add_argument("--no-record", action="store_true")
    given = parser.parse_args()
    docker = given.program == "docker"
    images = DockerImages() if docker else LocalImages(given.storage)
    for target in given.targets:
        image = f"{'' if docker else 'localhost/'}crossfix-{target}:{given.tag}"
        row = row_of(images, image, given.scratch)
        print(row)
        if not given.no_record:
            append_row("image_size", row)


if __name__ == "__main__":
    main()
