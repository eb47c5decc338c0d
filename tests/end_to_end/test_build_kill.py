"""A builder killed at any step leaves a whole gallery live, and nothing that stays."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from crossfix.gallery import Gallery, current_version
from index_builder.build import BuildRequest, build_gallery
from index_builder.publish import STEPS
from index_builder.recipe import GalleryRecipe
from index_builder.sources.spec import SourceSpec
from tests.tiny_encoder import build_test_gallery, write_geotiff, write_tiny_encoder

ROOT = Path(__file__).resolve().parents[2]

KILLED_BUILD = """
import os, signal, sys
from pathlib import Path
from index_builder.build import BuildRequest, build_gallery
from index_builder.recipe import GalleryRecipe
from index_builder.sources.spec import SourceSpec

encoder, raster, out, killed_at = sys.argv[1:]

def die(step):
    if step == killed_at:
        os.kill(os.getpid(), signal.SIGKILL)

recipe = GalleryRecipe(sources=(SourceSpec(location=raster),), tile_sizes_m=(30.0,))
request = BuildRequest(encoder_dir=Path(encoder), recipe=recipe, out=Path(out), keep=2)
build_gallery(request, step=die, on_progress=lambda progress: die("embedding"))
"""

OLD_LIVES = ("embedding", "written", "synced", "verified", "renamed")


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kill")
    return (
        write_tiny_encoder(folder / "encoder"),
        write_geotiff(folder / "map.tif", size_px=(160, 160)),
    )


@pytest.fixture(scope="module")
def old_gallery(tmp_path_factory, material):
    folder = tmp_path_factory.mktemp("old")
    return build_test_gallery(folder / "gallery", material[0], raster=material[1])


def build_and_kill(material, out, step):
    encoder, raster = material
    done = subprocess.run(
        [sys.executable, "-c", KILLED_BUILD, str(encoder), str(raster), str(out), step],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("step", ["embedding", *STEPS])
def test_a_kill_leaves_a_whole_gallery_live(tmp_path, material, old_gallery, step):
    encoder, raster = material
    out = tmp_path / "gallery"
    shutil.copytree(old_gallery, out)
    before = current_version(out)
    build_and_kill(material, out, step)
    live = Gallery.open(out, verify=True)
    assert (live.manifest.version == before) == (step in OLD_LIVES)
    report = build_gallery(
        BuildRequest(
            encoder_dir=encoder,
            recipe=GalleryRecipe(
                sources=(SourceSpec(location=str(raster)),), tile_sizes_m=(30.0,)
            ),
            out=out,
            keep=2,
        )
    )
    assert current_version(out) == report.version
    assert len(Gallery.open(out, verify=True)) == report.manifest.tile_count
    assert {path.name for path in out.iterdir()} == {"versions", "CURRENT.json", ".lock"}
    assert len(list((out / "versions").iterdir())) == 2


def test_a_killed_first_build_leaves_no_gallery(tmp_path, material):
    out = tmp_path / "gallery"
    build_and_kill(material, out, "verified")
    assert not (out / "CURRENT.json").exists()
    assert any(path.name.startswith(".building-") for path in out.iterdir())
    build_test_gallery(out, material[0], raster=material[1])
    assert not any(path.name.startswith(".building-") for path in out.iterdir())
