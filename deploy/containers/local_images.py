"""Images that `build.sh` made: what they say of themselves, how large they are, their files."""

import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STORAGE = Path("/var/tmp/crossfix-containers")


class LocalImages:
    """The images below one storage folder; needs buildah and root."""

    def __init__(self, storage: Path = STORAGE) -> None:
        self.storage = storage.resolve()

    def config(self, image: str) -> dict:
        """Docker's configuration of `image`: Env, User, Entrypoint, Healthcheck, Labels ..."""
        return self._inspected(image)["config"]

    def layer_bytes(self, image: str) -> list[int]:
        """Sizes of the layers, unpacked, from the base upwards, in bytes."""
        layers = json.loads(self._records("layers").read_text(encoding="utf-8"))
        sizes = {layer.get("diff-digest"): layer.get("diff-size", 0) for layer in layers}
        return [sizes[digest] for digest in self.layer_digests(image)]

    def layer_digests(self, image: str) -> list[str]:
        """Hashes of the layers, from the base upwards."""
        return self._inspected(image)["rootfs"]["diff_ids"]

    def save(self, image: str, archive: Path) -> None:
        """Writes the file that `docker load` reads, uncompressed."""
        self._buildah("push", "--quiet", image, f"docker-archive:{archive}:{image}")

    @contextmanager
    def files(self, image: str) -> Iterator[Path]:
        """The image's root folder, writable and thrown away afterwards."""
        container = self._buildah("from", "--pull-never", image)
        try:
            yield Path(self._buildah("mount", container))
        finally:
            self._buildah("rm", container)

    def _inspected(self, image: str) -> dict:
        return json.loads(self._buildah("inspect", "--type", "image", image))["Docker"]

    def _records(self, kind: str) -> Path:
        (found,) = (self.storage / "root").glob(f"*-{kind}/{kind}.json")
        return found

    def _buildah(self, *arguments: str) -> str:
        places = ["--root", str(self.storage / "root"), "--runroot", str(self.storage / "run")]
        driver = next((self.storage / "root").glob("*-layers")).name.removesuffix("-layers")
        done = subprocess.run(
            ["buildah", *places, *arguments],
            env={**os.environ, "STORAGE_DRIVER": driver, "BUILDAH_ISOLATION": "chroot"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"buildah {arguments[0]} failed: {done.stderr.strip()}")
        return done.stdout.strip()


class DockerImages:
    """The images that Docker's engine keeps; needs its command and the right to use it."""

    def config(self, image: str) -> dict:
        """Docker's configuration of `image`: Env, User, Entrypoint, Healthcheck, Labels ..."""
        return json.loads(_docker("image", "inspect", image))[0]["Config"]

    def save(self, image: str, archive: Path) -> None:
        """Writes the file that `docker load` reads, uncompressed."""
        _docker("save", "--output", str(archive), image)


def layer_bytes_of(archive: Path) -> list[int]:
    """Sizes of the layers in a file that `docker load` reads, from the base upwards, in bytes."""
    with tarfile.open(archive) as opened:
        listing = opened.extractfile("manifest.json")
        assert listing is not None
        (image,) = json.load(listing)
        return [opened.getmember(layer).size for layer in image["Layers"]]


def _docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"docker {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout.strip()
