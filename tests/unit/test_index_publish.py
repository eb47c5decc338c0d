"""Publishing: versions kept, one builder at a time, full disks, content hashes."""

import errno
import os
from types import SimpleNamespace

import pytest

from crossfix.errors import GalleryCorrupt, GalleryNotFound, InvalidParameter, PublishError
from crossfix.gallery import Gallery, current_version
from index_builder import publish as publishing
from index_builder.build import BuildRequest, build_gallery
from index_builder.publish import list_versions, locked, rollback
from index_builder.spool import Spool
from tests.tiny_encoder import write_geotiff, write_tiny_encoder


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    folder = tmp_path_factory.mktemp("publish")
    return (
        write_tiny_encoder(folder / "encoder"),
        write_geotiff(folder / "map.tif", size_px=(160, 160)),
    )


def build(material, out, **options):
    request = {
        "encoder_dir": material[0],
        "sources": (material[1],),
        "out": out,
        "tile_size_m": 30.0,
        **options,
    }
    return build_gallery(BuildRequest(**request))


def files_of(root):
    return {
        path.relative_to(root): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_equal_inputs_give_equal_content(tmp_path, material):
    one = build(material, tmp_path / "a", readers=1)
    same = build(material, tmp_path / "b", readers=4, licence="another text")
    other = build(material, tmp_path / "c", overlap=0.25)
    assert one.manifest.content_hash == same.manifest.content_hash
    assert one.manifest.content_hash != other.manifest.content_hash
    assert one.version.endswith(one.manifest.content_hash[:10])
    for name in ("vectors.f16", "pictures.parquet"):
        assert (one.directory / name).read_bytes() == (same.directory / name).read_bytes()


def test_old_versions_are_pruned_but_never_the_live_one(tmp_path, material):
    reports = [build(material, tmp_path, keep=2) for _ in range(3)]
    assert list_versions(tmp_path) == sorted(report.version for report in reports[1:])
    assert reports[2].removed_versions == [reports[0].version]
    assert rollback(tmp_path) == reports[1].version
    publishing.prune(tmp_path, keep=1)
    assert list_versions(tmp_path) == [reports[1].version]
    assert Gallery.open(tmp_path).manifest.version == reports[1].version


def test_rollback_names_what_it_cannot_do(tmp_path, material):
    first = build(material, tmp_path).version
    with pytest.raises(GalleryNotFound, match="no version older"):
        rollback(tmp_path)
    with pytest.raises(GalleryNotFound, match="no version 'x'"):
        rollback(tmp_path, "x")
    second = build(material, tmp_path)
    vectors = tmp_path / "versions" / first / "vectors.f16"
    vectors.write_bytes(vectors.read_bytes()[:-2] + b"\x00\x3c")
    with pytest.raises(GalleryCorrupt, match="checksum"):
        rollback(tmp_path, first)
    assert current_version(tmp_path) == second.version


def test_two_builds_at_once_are_refused(tmp_path, material):
    with locked(tmp_path), pytest.raises(PublishError, match=f"pid {os.getpid()}.* is writing"):
        build(material, tmp_path)
    assert build(material, tmp_path).version == current_version(tmp_path)


def test_too_little_space_is_said_before_any_work(tmp_path, material, monkeypatch):
    monkeypatch.setattr(publishing.shutil, "disk_usage", lambda _path: SimpleNamespace(free=1000))
    with pytest.raises(PublishError, match=r"needs about \d+ bytes but .* has 1000 free"):
        build(material, tmp_path)
    assert not (tmp_path / "CURRENT.json").exists()


def test_a_disk_that_fills_up_leaves_the_old_version(tmp_path, material, monkeypatch):
    build(material, tmp_path)
    before = files_of(tmp_path)

    def full(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Spool, "_write_pictures", full)
    with pytest.raises(PublishError, match=r"full; the build needs about \d+ bytes"):
        build(material, tmp_path)
    assert files_of(tmp_path) == before


def test_an_unwritable_place_is_named(tmp_path, material):
    (tmp_path / "file").write_text("")
    with pytest.raises(PublishError, match="cannot be written"):
        build(material, tmp_path / "file" / "gallery")


@pytest.mark.parametrize(
    "options",
    [
        {"keep": 0},
        {"readers": 0},
        {"batch_size": 0},
        {"overlap": 1.0},
        {"tile_size_m": -1.0},
        {"sources": ()},
    ],
)
def test_impossible_requests_are_refused(tmp_path, material, options):
    with pytest.raises(InvalidParameter):
        build(material, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
