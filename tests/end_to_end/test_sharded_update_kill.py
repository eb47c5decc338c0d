"""A sharded gallery's update, killed at any step, leaves one epoch live and work to go on with."""

import multiprocessing
import os
import shutil
import signal

import pytest

from crossfix.gallery_versions import list_versions as list_epochs
from crossfix.sharded_gallery_manifest import current_epoch, read_epoch
from index_builder.build import BuildRequest, build_gallery
from index_builder.pieces import verify_pieces
from index_builder.recipe import GalleryRecipe
from index_builder.update import UpdateRequest, update_gallery
from tests.tiny_encoder import write_tiny_encoder
from tests.two_rasters import repaint, spec, write_rasters

SHARDS = 3
BEFORE_THE_SWITCH = (
    "embedded", "assembled", "000/written", "001/renamed", "002/pruned", "shards_published",
    "epoch_written",
)  # fmt: skip
AFTER_IT = ("epoch_live", "epochs_pruned")

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.end_to_end.test_sharded_update_kill"])


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """Encoder, imagery that has changed since, and the gallery of what it was."""
    folder = write_rasters(tmp_path_factory.mktemp("kill"))
    write_tiny_encoder(folder / "encoder")
    recipe = GalleryRecipe(
        sources=(spec(folder, "west"), spec(folder, "east")), tile_sizes_m=(30.0,)
    )
    build_gallery(
        BuildRequest(encoder_dir=folder / "encoder", recipe=recipe, out=folder / "g", shards=SHARDS)
    )
    repaint(folder / "west.tif", slice(100, 120), slice(100, 120), seed=5)
    return folder


@pytest.fixture(scope="module")
def expected(material):
    """The shards' content hashes after an update that nothing interrupts."""
    root = shutil.copytree(material / "g", material / "uninterrupted")
    update(material, root)
    return hashes(root)


def hashes(root):
    return [shard.content_hash for shard in read_epoch(root).shards]


def update(material, root, **options):
    request = UpdateRequest(encoder_dir=material / "encoder", gallery=root, keep=2)
    return update_gallery(request, **options)


def update_until(material, root, moment):
    def die(step):
        if step == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    update(material, root, step=die)


@pytest.mark.parametrize("moment", [*BEFORE_THE_SWITCH, *AFTER_IT])
def test_a_killed_update_goes_on(material, expected, tmp_path, moment):
    root = shutil.copytree(material / "g", tmp_path / "g")
    first = current_epoch(root)
    process = PROCESSES.Process(target=update_until, args=(material, root, moment))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    verify_pieces(root, None, None)
    assert (current_epoch(root) == first) == (moment in BEFORE_THE_SWITCH)
    report = update(material, root)
    assert report.published == (moment in BEFORE_THE_SWITCH)
    if report.published:
        assert report.stats.resumed == report.planned_tiles
        assert 0 < report.kept_shards < SHARDS
    assert hashes(root) == expected
    verify_pieces(root, None, None)
    verify_pieces(root, first, None)
    assert list_epochs(root) == [first, current_epoch(root)]
    left = {path.name for path in root.iterdir()}
    assert left == {"CURRENT_EPOCH.json", "epochs", "shards", ".lock"}
    if report.published:
        for shard in (root / "shards").iterdir():
            assert {path.name for path in shard.iterdir()} == {"versions", "CURRENT.json"}
            assert len(list((shard / "versions").iterdir())) == 2
