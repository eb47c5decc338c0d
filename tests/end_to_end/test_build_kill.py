"""A builder killed at any instant leaves a whole gallery live, and work to go on with."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import time

import pytest

from crossfix.gallery import Gallery, current_version
from crossfix.gallery_manifest import INDEX_FILE
from index_builder import build_run
from index_builder.assembly.writing import VersionWriter
from index_builder.build import BUILD_STEPS, BuildRequest, build_gallery
from index_builder.embedding import part_file
from index_builder.embedding import parts as parting
from index_builder.publish import STEPS
from index_builder.recipe import GalleryRecipe
from index_builder.sources.spec import SourceSpec
from tests.tiny_encoder import build_test_gallery, write_geotiff, write_tiny_encoder

PART_TILES = 9  # several parts even here
TILES = 121
INSIDE = ("reading", "part_written", "part_renamed", "assembling", "indexing")
OLD_LIVES = (*INSIDE, *BUILD_STEPS, "written", "synced", "verified", "renamed")

# Children of a server that has imported everything: a second each instead of three.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.end_to_end.test_build_kill"])


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kill")
    return (
        write_tiny_encoder(folder / "encoder"),
        write_geotiff(folder / "map.tif", size_px=(200, 200)),
    )


@pytest.fixture(scope="module")
def old_gallery(tmp_path_factory, material):
    folder = tmp_path_factory.mktemp("old")
    return build_test_gallery(folder / "gallery", material[0], raster=material[1])


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, material):
    return build(material, tmp_path_factory.mktemp("plain") / "gallery")


def build(material, out, **options):
    encoder, raster = material
    recipe = GalleryRecipe(
        sources=(SourceSpec(location=str(raster)),), tile_sizes_m=(30.0,), overlap=0.75
    )
    request = BuildRequest(encoder_dir=encoder, recipe=recipe, out=out, keep=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parting, "PART_TILES", PART_TILES)
        return build_gallery(request, **options)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def build_until(material, out, moment, count):
    """Runs in a process of its own and does not come back from `moment`."""
    calls = {}

    def pass_by(name):
        calls[name] = calls.get(name, 0) + 1
        if name == moment and calls[name] == count:
            die()

    def pass_first(name, function):
        def wrapped(*arguments, **options):
            pass_by(name)
            return function(*arguments, **options)

        return wrapped

    def index_half(directory, *arguments, **options):
        (directory / INDEX_FILE).write_bytes(b"half an index")
        pass_by("indexing")
        (directory / INDEX_FILE).unlink()
        return index(directory, *arguments, **options)

    index = build_run.build_index
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_run, "build_index", index_half)
        patch.setattr(
            VersionWriter, "add_left_out", pass_first("assembling", VersionWriter.add_left_out)
        )
        patch.setattr(part_file.os, "replace", pass_first("part_written", os.replace))
        sync = part_file.fsync_directory
        patch.setattr(part_file, "fsync_directory", pass_first("part_renamed", sync))
        build(material, out, step=pass_by, on_progress=lambda _progress: pass_by("reading"))


def kill_at(material, out, moment, count=1):
    process = PROCESSES.Process(target=build_until, args=(material, out, moment, count))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL, moment


def without_times(directory):
    files = {path.name: path.read_bytes() for path in directory.iterdir()}
    manifest = json.loads(files.pop("manifest.json"))
    return files, {**manifest, "created": "", "version": ""}


def assert_resumes(material, out, uninterrupted):
    report = build(material, out)
    assert current_version(out) == report.version
    assert without_times(report.directory) == without_times(uninterrupted.directory)
    assert report.stats.tiles == TILES
    assert {path.name for path in out.iterdir()} == {"versions", "CURRENT.json", ".lock"}
    return report.stats.resumed


@pytest.mark.parametrize("moment", [*INSIDE, *BUILD_STEPS, *STEPS])
def test_a_kill_leaves_a_whole_gallery_live(tmp_path, material, old_gallery, uninterrupted, moment):
    out = tmp_path / "gallery"
    shutil.copytree(old_gallery, out)
    before = current_version(out)
    kill_at(material, out, moment, count=4 if moment in INSIDE[:4] else 1)
    live = Gallery.open(out, verify=True)
    assert (live.manifest.version == before) == (moment in OLD_LIVES)
    resumed = assert_resumes(material, out, uninterrupted)
    if moment in INSIDE[:3]:
        assert resumed < TILES
        assert resumed > 0 or moment == "reading", "the fourth part was being written"
    else:
        assert resumed == TILES
    assert len(list((out / "versions").iterdir())) == 2


def test_a_killed_first_build_leaves_no_gallery(tmp_path, material, uninterrupted):
    out = tmp_path / "gallery"
    kill_at(material, out, "verified")
    assert not (out / "CURRENT.json").exists()
    assert any(path.name.startswith(".building-") for path in out.iterdir())
    assert_resumes(material, out, uninterrupted)


@pytest.mark.parametrize("seed", range(3))
def test_kills_at_random_moments_in_a_row(tmp_path, material, uninterrupted, seed):
    """Killed again and again from outside; whatever was finished is not done again."""
    out, chance = tmp_path / "gallery", random.Random(seed)
    kept = []
    for _ in range(4):
        process = PROCESSES.Process(target=build, args=(material, out))
        process.start()
        deadline = time.monotonic() + 60
        wanted = (kept[-1] if kept else 0) + chance.randrange(3)
        while process.is_alive() and count_parts(out) < wanted and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.05))
        process.kill()
        process.join()
        kept.append(count_parts(out))
        if (out / "CURRENT.json").exists():
            Gallery.open(out, verify=True)
    assert_resumes(material, out, uninterrupted)


def count_parts(out):
    return len(list(out.glob(".building-*/parts/*.arrow")))


def test_ctrl_c_keeps_what_is_done(tmp_path, material, uninterrupted):
    def interrupt(progress):
        if progress.done > 50:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(material, tmp_path / "gallery", on_progress=interrupt)
    assert count_parts(tmp_path / "gallery") > 0
    assert assert_resumes(material, tmp_path / "gallery", uninterrupted) > 0


def test_a_damaged_part_is_done_again(tmp_path, material, uninterrupted):
    out = tmp_path / "gallery"
    kill_at(material, out, "embedded")
    parts = sorted(out.glob(".building-*/parts/*.arrow"))
    torn, flipped, lost = parts[1], parts[4], parts[6]
    torn.write_bytes(torn.read_bytes()[:1000])
    data = bytearray(flipped.read_bytes())
    data[len(data) // 2] ^= 1
    flipped.write_bytes(bytes(data))
    lost.unlink()
    resumed = assert_resumes(material, out, uninterrupted)
    assert resumed == TILES - 3 * PART_TILES
