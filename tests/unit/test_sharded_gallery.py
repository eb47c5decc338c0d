"""A sharded gallery: opening one epoch, losing shards, refusing mixtures."""

import json
import shutil
import threading
import time

import numpy as np
import pytest

from crossfix.encoder import Encoder
from crossfix.errors import (
    EncoderGalleryMismatch,
    GalleryCorrupt,
    GalleryError,
    GalleryNotFound,
    InvalidParameter,
    TileNotFound,
)
from crossfix.gallery import Disc, Gallery
from crossfix.geodesy import LonLat
from crossfix.sharded_gallery import ShardedGallery
from crossfix.sharded_gallery_fan_out import merge_results
from crossfix.sharded_gallery_manifest import EpochManifest, current_epoch, is_sharded, read_epoch
from crossfix.vector_search import SearchResult
from tests.made_up_gallery import (
    publish_in_shards,
    publish_plain,
    scattered_places,
    unit_vectors,
)
from tests.tiny_encoder import write_tiny_encoder

COUNT, DIM, SHARDS = 200, 16, 4


@pytest.fixture(scope="module")
def vectors():
    return unit_vectors(COUNT, DIM, 0)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory, vectors):
    root = tmp_path_factory.mktemp("sharded") / "gallery"
    publish_in_shards(root, vectors, *scattered_places(COUNT, 0), shards=SHARDS)
    return root


@pytest.fixture
def root(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "gallery")


def version_of(root, shard):
    entry = read_epoch(root).shards[shard]
    return root / entry.directory / "versions" / entry.version


def test_every_shard_is_a_gallery_of_its_own(root):
    manifest = read_epoch(root)
    for entry in manifest.shards:
        shard = Gallery.open(root / entry.directory)
        assert shard.manifest.version == entry.version
        assert len(shard) == entry.tile_count == COUNT // SHARDS
    assert manifest.tile_count == COUNT


def test_a_lost_shard_makes_a_flagged_partial_answer(root, vectors):
    with ShardedGallery.open(root) as whole:
        rows = whole.search(vectors[:1].astype(np.float32), COUNT).rows
    shutil.rmtree(root / "shards" / "001")
    with ShardedGallery.open(root) as gallery:
        found = gallery.search(vectors[:1].astype(np.float32), COUNT)
        assert (found.shards_answered, found.shards_asked, found.shards_total) == (3, 4, 4)
        assert not found.complete
        assert list(found.failures) == [1]
        assert "001" in found.failures[1]
        kept = [row for row in rows[0] if not 50 <= row < 100]
        assert found.rows[0].tolist() == kept
        with pytest.raises(GalleryError, match="1 of 4 shards did not answer; shard 1"):
            gallery.picture(60)
    with pytest.raises(GalleryError, match="1 of 4 shards did not answer"):
        ShardedGallery.open(root, strict=True)


def test_a_damaged_shard_is_lost_and_named(root, vectors):
    path = version_of(root, 2) / "vectors.f16"
    data = bytearray(path.read_bytes())
    data[7] ^= 1
    path.write_bytes(data)
    with ShardedGallery.open(root) as gallery:
        found = gallery.search(vectors[:2].astype(np.float32), 5)
        assert found.shards_answered == 3
        assert "vectors.f16" in found.failures[2]


def test_a_shard_that_breaks_or_sleeps_is_lost_to_that_search_only(root, vectors, monkeypatch):
    query = vectors[:1].astype(np.float32)
    with ShardedGallery.open(root) as gallery:

        def broken(*_words, **_options):
            raise OSError("stale file handle")

        def asleep(*_words, **_options):
            time.sleep(0.5)
            raise AssertionError("nobody waits for this")

        monkeypatch.setattr(gallery.shards[0], "search", broken)
        monkeypatch.setattr(gallery.shards[3], "search", asleep)
        found = gallery.search(query, 5, timeout_s=0.1)
        assert found.shards_answered == 2
        assert found.failures == {0: "OSError: stale file handle", 3: "no answer within 0.1 s"}
        monkeypatch.undo()
        time.sleep(0.5)
        assert gallery.search(query, 5).complete
    with ShardedGallery.open(root, strict=True) as strict:
        monkeypatch.setattr(strict.shards[0], "search", broken)
        with pytest.raises(GalleryError, match="stale file handle"):
            strict.search(query, 5)


def test_no_answer_at_all_is_an_error(root, vectors, monkeypatch):
    with ShardedGallery.open(root) as gallery:
        for shard in gallery.shards.values():
            monkeypatch.setattr(shard, "search", lambda *_words, **_options: 1 / 0)
        with pytest.raises(GalleryError, match="4 of 4 shards"):
            gallery.search(vectors[:1].astype(np.float32), 5)
    shutil.rmtree(root / "shards")
    with pytest.raises(GalleryError, match="4 of 4 shards"):
        ShardedGallery.open(root)


def test_a_prior_asks_only_the_shards_it_touches(root, vectors):
    with ShardedGallery.open(root) as gallery:
        tiles = gallery.shards[2].tiles
        row = int(np.argmin(abs(tiles.lon - np.median(tiles.lon))))
        disc = Disc(LonLat(float(tiles.lon[row]), float(tiles.lat[row])), 200)
        asked = []
        for number, shard in gallery.shards.items():
            asked_here, search = number, shard.search
            shard.search = lambda *words, n=asked_here, s=search, **options: (
                asked.append(n) or s(*words, **options)
            )
        found = gallery.search(vectors[:1].astype(np.float32), 5, prior=disc)
        assert 2 in asked
        assert len(asked) == found.shards_asked == found.shards_answered < SHARDS
        assert found.complete
        assert gallery.global_row(2, row) in found.rows[0]


def test_shards_of_two_epochs_are_refused(root, vectors):
    before = read_epoch(root)
    publish_in_shards(root, vectors[::-1], *scattered_places(COUNT, 0), shards=SHARDS)
    after = read_epoch(root)
    old, new = before.shards[1], after.shards[1]
    folder = root / new.directory / "versions"
    shutil.rmtree(folder / new.version)
    shutil.copytree(folder / old.version, folder / new.version)
    with pytest.raises(GalleryCorrupt, match=f"not the shard that epoch {after.epoch} names"):
        ShardedGallery.open(root)
    with ShardedGallery.open(root, epoch=before.epoch) as gallery:
        assert gallery.manifest == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda document: document["shards"].pop(), "as many tiles"),
        (lambda document: document["shards"][1].update(morton_low=7), "gap or overlap"),
        (lambda document: document["shards"].reverse(), "gap or overlap"),
        (lambda document: document.update(format_version=2), "format_version"),
        (lambda document: document.update(epoch="other"), "describes the epoch 'other'"),
    ],
)
def test_an_epoch_that_contradicts_itself_is_refused(root, change, said):
    path = root / "epochs" / f"{current_epoch(root)}.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(GalleryCorrupt, match=said):
        ShardedGallery.open(root)


def test_morton_ranges_hold_the_tiles_and_survive_json(root):
    manifest = read_epoch(root)
    assert manifest.shards[0].morton_low == 0
    assert manifest.shards[-1].morton_high == 2**64
    again = EpochManifest.model_validate_json(manifest.model_dump_json())
    assert again == manifest


def test_each_kind_of_gallery_says_what_the_other_is(root, tmp_path, vectors):
    plain = publish_plain(tmp_path / "plain", vectors, *scattered_places(COUNT, 0))
    assert is_sharded(root)
    assert not is_sharded(plain)
    with pytest.raises(GalleryNotFound, match="of one piece, not a sharded one"):
        ShardedGallery.open(plain)
    with pytest.raises(GalleryNotFound, match="holds a sharded gallery"):
        Gallery.open(root)
    with pytest.raises(GalleryNotFound, match="no sharded gallery"):
        ShardedGallery.open(tmp_path / "nothing")
    with pytest.raises(GalleryNotFound, match="no epoch 'x'"):
        ShardedGallery.open(root, epoch="x")


def test_a_shard_elsewhere_is_named_by_its_absolute_directory(root, tmp_path, vectors):
    epoch = current_epoch(root)
    shutil.move(root / "shards" / "003", tmp_path / "other disk")
    path = root / "epochs" / f"{epoch}.json"
    document = json.loads(path.read_text())
    document["shards"][3]["directory"] = str(tmp_path / "other disk")
    path.write_text(json.dumps(document))
    with ShardedGallery.open(root) as gallery:
        assert gallery.search(vectors[:1].astype(np.float32), 5).complete


def test_tiles_are_found_by_id_and_row(root):
    with ShardedGallery.open(root) as gallery:
        assert len(gallery) == COUNT
        for row in (0, 49, 50, COUNT - 1):
            (tile_id,) = gallery.tile_ids([row])
            assert gallery.row_of(tile_id) == row
            assert gallery.picture(row) == f"jpeg of {tile_id}".encode()
        with pytest.raises(TileNotFound, match="nope"):
            gallery.row_of("nope")
        for row in (-1, COUNT):
            with pytest.raises(InvalidParameter, match=f"row {row}"):
                gallery.locate(row)


def test_searches_that_run_while_it_is_closed_are_answered(root, vectors, monkeypatch):
    query, gate, search = vectors[:1].astype(np.float32), threading.Event(), Gallery.search
    begun = threading.Semaphore(0)

    def wait_and_search(*words, **options):
        begun.release()
        assert gate.wait(30)
        return search(*words, **options)

    monkeypatch.setattr(Gallery, "search", wait_and_search)
    gallery, found = ShardedGallery.open(root), []
    asking = [
        threading.Thread(target=lambda: found.append(gallery.search(query, 3)), daemon=True)
        for _ in range(3)  # more than there are threads for
    ]
    for thread in asking:
        thread.start()
    for _ in range(SHARDS):
        assert begun.acquire(timeout=30)
    while gallery._pool._work_queue.qsize() < 2 * SHARDS:
        time.sleep(0.01)
    gallery.close()
    gate.set()
    for thread in asking:
        thread.join(30)
    assert [one.complete for one in found] == [True] * 3
    with pytest.raises(GalleryError, match="the gallery was closed"):
        gallery.search(query, 3)


def test_other_embeddings_and_encoders_are_refused(root, tmp_path):
    encoder = Encoder.load(write_tiny_encoder(tmp_path / "encoder"), device="cpu")
    with ShardedGallery.open(root) as gallery:
        with pytest.raises(InvalidParameter, match=f"of {DIM + 1} numbers"):
            gallery.search(np.ones((1, DIM + 1), np.float32), 5)
        with pytest.raises(EncoderGalleryMismatch, match="space-a"):
            gallery.require_encoder(encoder)


def test_rows_an_approximate_shard_did_not_find_come_last():
    one = SearchResult(np.array([[4, -1]]), np.array([[0.5, -3e38]], np.float32))
    other = SearchResult(np.array([[0, 9]]), np.array([[0.5, 0.4]], np.float32))
    merged = merge_results({2: other, 0: one}, [0, 10, 20], queries=1, k=4)
    assert merged.rows.tolist() == [[4, 20, 29, -1]]
    assert merged.scores[0, 3] == -np.inf
