"""Publishing: versions kept, one builder at a time, full disks, content hashes."""

import errno
import os
import subprocess
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from crossfix import gallery_versions
from crossfix.errors import (
    GalleryCorrupt,
    GalleryNotFound,
    InvalidParameter,
    PublishError,
    SourceError,
)
from crossfix.gallery import Gallery, current_version
from crossfix.manifest import read_model
from index_builder import build as build_module
from index_builder import build_run
from index_builder import publish as publishing
from index_builder.assembly import writing
from index_builder.build import BuildRequest, build_gallery
from index_builder.embedding import parts, pipeline, preparation
from index_builder.publish import list_versions, locked, rollback
from index_builder.recipe import GalleryRecipe
from index_builder.sources.spec import SourceSpec
from tests.made_up_source import MadeUpSource
from tests.tiny_encoder import write_geotiff, write_tiny_encoder


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    folder = tmp_path_factory.mktemp("publish")
    return (
        write_tiny_encoder(folder / "encoder"),
        write_geotiff(folder / "map.tif", size_px=(160, 160)),
    )


def build(material, out, *, recipe=None, step=publishing.ignore_step, **options):
    source = SourceSpec(location=str(material[1]))
    values = {"sources": (source,), "tile_sizes_m": (30.0,), **(recipe or {})}
    request = BuildRequest(
        encoder_dir=material[0], recipe=GalleryRecipe(**values), out=out, **options
    )
    return build_gallery(request, step=step)


def files_of(root):
    return {
        path.relative_to(root): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_equal_inputs_give_equal_content(tmp_path, material):
    one = build(material, tmp_path / "a", readers=1)
    same = build(material, tmp_path / "b", readers=4, threads=1)
    other = build(material, tmp_path / "c", recipe={"overlap": 0.25})
    credited = SourceSpec(location=str(material[1]), licence="CC0-1.0")
    licensed = build(material, tmp_path / "d", recipe={"sources": (credited,)})
    assert one.manifest.content_hash == same.manifest.content_hash
    hashes = {report.manifest.content_hash for report in (one, other, licensed)}
    assert len(hashes) == 3, "tile rows, licences included, are content"
    assert one.version.endswith(one.manifest.content_hash[:10])
    assert set(one.manifest.files) == {
        "vectors.f16", "tiles.parquet", "pictures.parquet", "recipe.json", "left_out.parquet",
    }  # fmt: skip
    for name in one.manifest.files:
        assert (one.directory / name).read_bytes() == (same.directory / name).read_bytes()
    for name in ("vectors.f16", "pictures.parquet"):
        assert (one.directory / name).read_bytes() == (licensed.directory / name).read_bytes()


def test_the_recipe_is_kept_with_names_and_absolute_paths(tmp_path, material, monkeypatch):
    monkeypatch.chdir(material[1].parent)
    report = build(
        material, tmp_path / "a", recipe={"sources": (SourceSpec(location="map.tif"),) * 2}
    )
    recipe = read_model(report.directory / "recipe.json", GalleryRecipe, GalleryCorrupt)
    assert [(one.name, one.location) for one in recipe.sources] == [
        ("map", str(material[1])),
        ("map-2", str(material[1])),
    ]
    assert [source.name for source in report.manifest.sources] == ["map", "map-2"]


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


class Killed(BaseException):
    """Stands for a SIGKILL: nothing catches it."""


def kill_build(material, out, at, **options):
    def die(name):
        if name == at:
            raise Killed

    with pytest.raises(Killed):
        build(material, out, step=die, **options)


def test_a_version_that_was_never_live_is_none(tmp_path, material):
    first = build(material, tmp_path, keep=2).version
    kill_build(material, tmp_path, "renamed", keep=2)
    assert len(list((tmp_path / "versions").iterdir())) == 2
    assert list_versions(tmp_path) == [first]
    second = build(material, tmp_path, keep=2)
    assert second.removed_versions == []
    assert list_versions(tmp_path) == [first, second.version]
    assert {path.name for path in (tmp_path / "versions").iterdir()} == {first, second.version}
    assert rollback(tmp_path) == first


def test_a_rollback_removes_a_version_that_was_never_live(tmp_path, material):
    versions = [build(material, tmp_path).version for _ in range(2)]
    kill_build(material, tmp_path, "renamed")
    assert rollback(tmp_path) == versions[0]
    assert sorted(path.name for path in (tmp_path / "versions").iterdir()) == versions
    assert {path.name for path in tmp_path.iterdir()} >= {"versions", "CURRENT.json", ".lock"}
    assert not (tmp_path / ".publishing.json").exists()
    assert rollback(tmp_path, versions[1]) == versions[1], "newer, and it was live"


def test_a_version_that_was_live_for_a_moment_stays(tmp_path, material):
    first = build(material, tmp_path).version
    kill_build(material, tmp_path, "current_replaced")
    second = current_version(tmp_path)
    assert list_versions(tmp_path) == [first, second]
    assert rollback(tmp_path) == first
    with locked(tmp_path):
        assert list_versions(tmp_path) == [first, second]


def test_a_journal_cannot_lead_out_of_the_gallery(tmp_path, material):
    version = build(material, tmp_path).version
    (tmp_path / ".publishing.json").write_text('{"name": ".."}')
    with locked(tmp_path):
        assert list_versions(tmp_path) == [version]
    (tmp_path / ".publishing.json").write_text("{}")
    with pytest.raises(GalleryCorrupt, match="publishing"), locked(tmp_path):
        pass


@pytest.mark.parametrize("other", ["rollback", "build"])
def test_what_is_live_is_read_when_the_lock_is_held(tmp_path, material, monkeypatch, other):
    """Another process may publish, or roll back, until the lock is taken."""
    versions = [build(material, tmp_path).version for _ in range(3)]
    made = []

    def locked_after_another(root):
        monkeypatch.undo()
        made.append(rollback(root) if other == "rollback" else build(material, root).version)
        return locked(root)

    monkeypatch.setattr(gallery_versions, "locked", locked_after_another)
    assert rollback(tmp_path) == (versions[0] if other == "rollback" else versions[2])
    assert len(made) == 1


def test_a_rollback_of_nothing_creates_nothing(tmp_path):
    with pytest.raises(GalleryNotFound):
        rollback(tmp_path / "mistyped")
    assert list(tmp_path.iterdir()) == []


def test_two_builds_at_once_are_refused(tmp_path, material):
    with locked(tmp_path), pytest.raises(PublishError, match=f"pid {os.getpid()}.* is writing"):
        build(material, tmp_path)
    assert build(material, tmp_path).version == current_version(tmp_path)


def test_too_little_space_is_said_before_any_work(tmp_path, material, monkeypatch):
    monkeypatch.setattr(publishing.shutil, "disk_usage", lambda _path: SimpleNamespace(free=1000))
    with pytest.raises(PublishError, match=r"needs about \d+ bytes but .* has 1000 free"):
        build(material, tmp_path)
    assert not (tmp_path / "CURRENT.json").exists()


@pytest.mark.parametrize("at", ["parts", "version", "index"])
def test_a_disk_that_fills_up_leaves_the_old_version(tmp_path, material, monkeypatch, at):
    build(material, tmp_path)
    before = files_of(tmp_path)

    def full(*_arguments, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        match at:
            case "parts":
                patched.setattr(pipeline, "write_part", full)
            case "version":
                patched.setattr(writing.VersionWriter, "add", full)
            case "index":
                patched.setattr(build_run, "build_index", full)
        said = r"full; the build needs about \d+ bytes and \d+ are free"
        with pytest.raises(PublishError, match=said) as it:
            build(material, tmp_path)
    assert "old version is still live" in it.value.hint
    after = files_of(tmp_path)
    assert before.items() <= after.items()
    left = {path.suffix for path in after.keys() - before.keys()}
    assert left == (set() if at == "parts" else {".arrow"}), "finished parts, nothing else"
    again = build(material, tmp_path)
    assert (again.stats.resumed > 0) == (at != "parts")
    assert again.manifest.content_hash == Gallery.open(tmp_path).manifest.content_hash


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
@pytest.mark.parametrize("share", [0.7, 1.5])
def test_a_really_full_disk(tmp_path, material, monkeypatch, share):
    """Too small for the parts, or for parts and version; one that suffices goes on from there."""
    plain = build(material, tmp_path / "plain", recipe={"overlap": 0.75})
    size_bytes = share * sum(entry.size_bytes for entry in plain.manifest.files.values())
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes:.0f}", "none", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        monkeypatch.setattr(parts, "PART_TILES", 16)
        monkeypatch.setattr(build_module, "require_space", lambda *_arguments: None)
        with pytest.raises(PublishError, match="is full; the build needs about"):
            build(material, disk / "gallery", recipe={"overlap": 0.75})
        assert not (disk / "gallery" / "CURRENT.json").exists()
        subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
        report = build(material, disk / "gallery", recipe={"overlap": 0.75})
        assert report.stats.resumed > 0
        assert report.manifest.content_hash == plain.manifest.content_hash
    finally:
        # Lazily: the garbage collector may not have closed every mapped file yet.
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_leftovers_of_another_build_go_with_a_word(tmp_path, material, caplog):
    stale = tmp_path / ".building-0123456789abcdef" / "parts"
    stale.mkdir(parents=True)
    (stale / "part-00000000.arrow").write_bytes(b"something")
    (tmp_path / ".pruned-old").mkdir()
    with caplog.at_level("INFO", "index_builder"):
        build(material, tmp_path)
    assert "removed" in caplog.text
    assert ".building-0123456789abcdef" in caplog.text
    assert {path.name for path in tmp_path.iterdir()} == {"versions", "CURRENT.json", ".lock"}


def test_a_source_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    source = MadeUpSource(40)
    encoder_dir = write_tiny_encoder(tmp_path / "encoder")
    monkeypatch.setattr(preparation, "open_sources", lambda _specs, **_options: [source])
    read = source.read

    def read_and_change(plan):
        source.state = "f1"
        return read(plan)

    source.read = read_and_change
    with pytest.raises(SourceError, match="fake changed while it was read"):
        build((encoder_dir, tmp_path / "fake.tif"), tmp_path / "gallery")
    assert [path.name for path in (tmp_path / "gallery").iterdir()] == [".lock"]


def test_a_build_without_any_image_leaves_nothing(tmp_path, monkeypatch):
    source = MadeUpSource(40, empty=range(20), broken=range(20, 40))
    encoder_dir = write_tiny_encoder(tmp_path / "encoder")
    monkeypatch.setattr(preparation, "open_sources", lambda _specs, **_options: [source])
    said = "none of 40 planned tiles holds an image .20 more than half empty, 20 unreadable"
    with pytest.raises(SourceError, match=said):
        build((encoder_dir, tmp_path / "x.tif"), tmp_path / "gallery", skip_unreadable=True)
    assert [path.name for path in (tmp_path / "gallery").iterdir()] == [".lock"]


def test_skipped_tiles_are_listed_and_tried_again(tmp_path, monkeypatch):
    source = MadeUpSource(60, empty={3}, broken={5, 50})
    encoder_dir = write_tiny_encoder(tmp_path / "encoder")
    monkeypatch.setattr(preparation, "open_sources", lambda _specs, **_options: [source])
    monkeypatch.setattr(parts, "PART_TILES", 12)
    material = (encoder_dir, tmp_path / "x.tif")
    with pytest.raises(SourceError, match=r"tile fake-30m-5?[05]: image \d+ is broken"):
        build(material, tmp_path / "gallery")
    report = build(material, tmp_path / "gallery", skip_unreadable=True)
    assert report.stats.unreadable == [
        "tile fake-30m-50: image 50 is broken", "tile fake-30m-5: image 5 is broken",
    ]  # fmt: skip
    left_out = pq.read_table(report.directory / "left_out.parquet").to_pylist()
    assert [(one["tile_id"], one["why"]) for one in left_out] == [
        ("fake-30m-3", ""),
        ("fake-30m-5", "tile fake-30m-5: image 5 is broken"),
        ("fake-30m-50", "tile fake-30m-50: image 50 is broken"),
    ]

    def stop(step):
        if step == "embedded":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(material, tmp_path / "other", skip_unreadable=True, step=stop)
    source.broken = {50}
    with pytest.raises(SourceError, match="tile fake-30m-50: image 50"):
        build(material, tmp_path / "other")
    source.broken = set()
    source.reads.clear()
    report = build(material, tmp_path / "other")
    assert report.manifest.tile_count == 59
    assert {5, 50} & set(source.reads)
    assert len(source.reads) < 60, "parts without a skipped tile stay"


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
        {"shards": 0},
        {"threads": -1},
        {"recipe": {"overlap": 1.0}},
        {"recipe": {"tile_sizes_m": (-1.0,)}},
    ],
)
def test_impossible_requests_are_refused(tmp_path, material, options):
    with pytest.raises(InvalidParameter):
        build(material, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
