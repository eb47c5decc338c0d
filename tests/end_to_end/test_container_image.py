"""The service's image is built without a Docker engine, run strictly and asked."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service_world import jpeg, make_world

ROOT = Path(__file__).parents[2]
LICENCES = ("LICENSE", "NOTICE", "THIRD_PARTY_LICENCES.md")
CONTEXT = ("Dockerfile", ".dockerignore", "pyproject.toml", "README.md", "constraints", "deploy")
CODE = ("crossfix", "index_builder", "sample_world", "service", "training")
NEEDED = ("buildah", "debootstrap", "runc")
KEPT = "CONTAINER_STORAGE"  # a folder that keeps what was built for the next run
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    """Where images are kept; removed afterwards unless the environment names a folder."""
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        pytest.skip(f"not installed (Debian packages): {', '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("chroot and mounts need root")
    if KEPT in os.environ:
        yield Path(os.environ[KEPT])
        return
    folder = tmp_path_factory.mktemp("containers")
    yield folder
    subprocess.run(
        [ROOT / "deploy" / "containers" / "build.sh", "--storage", folder, "clean"], check=True
    )


def build(tree, storage, target="serve"):
    done = subprocess.run(
        [tree / "deploy/containers/build.sh", "--storage", storage, "--this-machines-pip", target],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout.split()[-1]


def layers(storage, image):
    return json.loads(
        subprocess.run(
            [
                sys.executable,
                "-c",
                "import json, sys; from pathlib import Path\n"
                "from local_images import LocalImages\n"
                "print(json.dumps(LocalImages(Path(sys.argv[1])).layer_digests(sys.argv[2])))",
                storage,
                image,
            ],
            cwd=ROOT / "deploy" / "containers",
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of what a build is made of, so that it can be changed."""
    folder = tmp_path_factory.mktemp("tree")
    for name in (*CONTEXT, *LICENCES, *CODE):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def image(tree, storage):
    return build(tree, storage)


def test_the_image_answers_a_photo_as_nobody_on_a_read_only_disk(image, storage, tmp_path) -> None:
    world = make_world(tmp_path)
    (tmp_path / "photo.jpg").write_bytes(jpeg(9))
    done = subprocess.run(
        [
            *(sys.executable, ROOT / "deploy/containers/try_image.py", image),
            *("--storage", storage, "--constraints", ROOT / "constraints/serve.txt"),
            *("--encoder", world.encoder_path, "--gallery", world.gallery_path),
            *("--photo", tmp_path / "photo.jpg", "--query", "view=drone"),
            *("--expect-tile", "made-up/9"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    seen = json.loads(done.stdout)
    assert seen["program"] == ["python3", "-m", "service"]  # process 1
    assert seen["capabilities"] == 0
    assert not seen["setuid_possible"]
    assert seen["mb"] < 1000
    assert seen["layers_mb"][-1] < 20  # our code alone
    assert seen["licences"] == sorted(LICENCES)


def test_a_changed_source_file_changes_the_last_layer_only(image, storage, tree) -> None:
    before = layers(storage, image)
    with (tree / "service" / "version.py").open("a", encoding="utf-8") as handle:
        handle.write("# changed\n")
    after = layers(storage, build(tree, storage))
    assert after[:-1] == before[:-1]
    assert after[-1] != before[-1]


def test_an_unknown_target_is_refused_in_one_sentence() -> None:
    done = subprocess.run(
        [ROOT / "deploy/containers/build.sh", "serf"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert re.fullmatch(r"build\.sh: serf is no option and no target; see --help\n", done.stderr)
