"""Keeping photos: private files, bounded, never in an answer's way."""

import json
import stat
import threading
from pathlib import Path

import pytest

from service import kept_images
from service.errors import SettingsUnsafe
from service.kept_images import KeptImages
from service.observing.metrics import Metrics
from tests.service_world import jpeg


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def count(metrics: Metrics, name: str) -> float:
    return metrics.registry.get_sample_value(f"crossfix_{name}_total") or 0.0


def files(folder: Path, ending: str) -> list[Path]:
    return sorted(folder.glob(f"*.{ending}"))


def test_photo_and_answer_lie_beside_each_other_and_only_we_may_read_them(
    tmp_path, metrics
) -> None:
    folder = tmp_path / "kept"
    keeper = KeptImages(folder, max_bytes=1_000_000, metrics=metrics)
    keeper.keep(jpeg(1), '{"a": 1}', "abc")
    keeper.close()
    (photo,), (answer,) = files(folder, "jpg"), files(folder, "json")
    assert photo.read_bytes() == jpeg(1)
    assert json.loads(answer.read_text()) == {"a": 1}
    assert photo.stem == answer.stem
    assert photo.stem.endswith("-abc")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (photo, answer)} == {0o600}
    assert count(metrics, "images_kept") == 1


@pytest.mark.parametrize("request_id", ["../../etc/passwd", "a/b", "..", "", "x" * 500, "ü:.\0"])
def test_no_request_id_leads_out_of_the_folder(tmp_path, metrics, request_id) -> None:
    folder = tmp_path / "kept"
    keeper = KeptImages(folder, max_bytes=1_000_000, metrics=metrics)
    keeper.keep(b"no image", "{}", request_id)
    keeper.close()
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert {path.suffix for path in folder.iterdir()} == {".bin", ".json"}
    assert count(metrics, "images_kept") == 1


def test_the_oldest_make_room_also_those_of_an_earlier_run(tmp_path, metrics) -> None:
    (tmp_path / "mine.txt").write_text("x" * 5000)
    for run in range(2):
        keeper = KeptImages(tmp_path, max_bytes=5000, metrics=metrics)
        for i in range(8):
            keeper.keep(bytes([run * 8 + i]) * 1000, "{}", f"run{run}")
        keeper.close()
    kept = [path.read_bytes()[0] for path in files(tmp_path, "bin")]
    assert kept == [12, 13, 14, 15]
    assert len(files(tmp_path, "json")) == 4
    assert (tmp_path / "mine.txt").exists()


def test_a_photo_larger_than_the_folder_may_be_is_not_kept(tmp_path, metrics) -> None:
    keeper = KeptImages(tmp_path, max_bytes=500, metrics=metrics)
    keeper.keep(bytes(1000), "{}", "a")
    keeper.keep(bytes(100), "{}", "b")
    keeper.close()
    assert len(files(tmp_path, "bin")) == 1
    assert count(metrics, "images_not_kept") == 1


def test_a_full_disk_is_counted_leaves_no_half_file_and_passes(
    tmp_path, metrics, monkeypatch
) -> None:
    writes = []

    def fail_twice(path: Path, data: bytes) -> None:
        writes.append(path)
        if len(writes) in (2, 3):
            path.write_bytes(data[:1])
            raise OSError(28, "No space left on device")
        path.write_bytes(data)

    monkeypatch.setattr(kept_images, "_write_private", fail_twice)
    keeper = KeptImages(tmp_path, max_bytes=10_000, metrics=metrics)
    for name in "abc":
        keeper.keep(bytes(100), "{}", name)
    keeper.close()
    assert [path.stem[-1] for path in files(tmp_path, "bin")] == ["c"]
    assert len(files(tmp_path, "json")) == 1
    assert (count(metrics, "images_kept"), count(metrics, "images_not_kept")) == (1, 2)


def test_a_folder_that_cannot_be_made_hurts_nobody(tmp_path, metrics) -> None:
    (tmp_path / "file").write_text("")
    keeper = KeptImages(tmp_path / "file" / "kept", max_bytes=10_000, metrics=metrics)
    keeper.keep(bytes(10), "{}", "a")
    keeper.close()
    assert count(metrics, "images_not_kept") == 1


def test_what_comes_too_fast_is_left_out_at_once(tmp_path, metrics, monkeypatch) -> None:
    go = threading.Event()
    real = kept_images._write_private

    def slow(path: Path, data: bytes) -> None:
        go.wait(20)
        real(path, data)

    monkeypatch.setattr(kept_images, "_write_private", slow)
    keeper = KeptImages(tmp_path, max_bytes=10_000_000, metrics=metrics)
    for i in range(200):
        keeper.keep(bytes(10), "{}", str(i))
    assert count(metrics, "images_not_kept") >= 200 - kept_images.MAX_WAITING - 1
    go.set()
    keeper.close()
    assert count(metrics, "images_kept") + count(metrics, "images_not_kept") == 200


def test_waiting_photos_are_bounded_in_bytes(tmp_path, metrics, monkeypatch) -> None:
    monkeypatch.setattr(kept_images, "MAX_WAITING_BYTES", 1000)
    keeper = KeptImages(tmp_path, max_bytes=10_000, metrics=metrics)
    keeper.keep(bytes(1001), "{}", "a")
    keeper.close()
    assert count(metrics, "images_not_kept") == 1


def test_a_disk_that_hangs_does_not_hold_up_the_end(tmp_path, metrics, monkeypatch) -> None:
    begun, go = threading.Event(), threading.Event()

    def hang(_path: Path, _data: bytes) -> None:
        begun.set()
        go.wait(20)

    monkeypatch.setattr(kept_images, "_write_private", hang)
    monkeypatch.setattr(kept_images, "CLOSE_S", 0.05)
    keeper = KeptImages(tmp_path, max_bytes=10_000_000, metrics=metrics)
    keeper.keep(bytes(10), "{}", "first")
    assert begun.wait(10)
    for i in range(kept_images.MAX_WAITING):
        keeper.keep(bytes(10), "{}", str(i))
    closing = threading.Thread(target=keeper.close, daemon=True)
    closing.start()
    closing.join(10)
    assert not closing.is_alive()
    go.set()
    keeper.close()


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701, 0o770])
def test_a_folder_that_others_may_look_into_is_refused(tmp_path, metrics, mode) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(SettingsUnsafe, match="others on this machine") as caught:
        KeptImages(folder, max_bytes=1000, metrics=metrics)
    assert "chmod 700" in caught.value.hint
    folder.chmod(0o700)
    KeptImages(folder, max_bytes=1000, metrics=metrics).close()
