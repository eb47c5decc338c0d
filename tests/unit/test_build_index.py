"""Approximate indexes: built, tuned to a recall, opened from their file, searched inside priors."""

import shutil

import numpy as np
import pytest

from crossfix import index_ivf
from crossfix.errors import DeviceUnavailable, GalleryCorrupt
from crossfix.gallery_manifest import IndexInfo
from crossfix.index_gpu import gpu_is_usable
from crossfix.index_opening import map_vectors, open_index
from crossfix.index_rows import RowRuns
from crossfix.vector_search import ExactIndex, SearchResult
from index_builder.indexing import build_index as building
from index_builder.indexing.build_index import build_index
from index_builder.indexing.choosing import Effort, cost_ns, kinds_to_try, list_count
from index_builder.indexing.queries import make_queries
from index_builder.indexing.training import train_and_add
from index_builder.indexing.tuning import nprobe_steps
from index_builder.recipe import IndexRequest

COUNT, DIM = 6000, 32
APPROXIMATE = ("ivf_rabitq", "ivf_pq_fastscan")


def tile_like(count, dim, seed=0):
    """Neighbours alike, some directions far wider than others, as embeddings of tiles are."""
    rng = np.random.default_rng(seed)
    wide = 1 / np.sqrt(1 + np.arange(dim))
    places = np.repeat(rng.standard_normal((count // 8 + 1, dim)), 8, axis=0)[:count]
    values = (places + 0.7 * rng.standard_normal((count, dim))) * wide + 0.3
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values.astype("<f2")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    folder = tmp_path_factory.mktemp("version")
    tile_like(COUNT, DIM).tofile(folder / "vectors.f16")
    return folder


@pytest.fixture(scope="module", params=APPROXIMATE)
def built(request, directory, tmp_path_factory):
    """(folder, what the manifest says) of each approximate kind."""
    folder = tmp_path_factory.mktemp(request.param)
    shutil.copy(directory / "vectors.f16", folder)
    asked = IndexRequest(kind=request.param, recall_at_10=0.9)
    return folder, build_index(folder, COUNT, DIM, asked, threads=1)


def opened(folder, info):
    return open_index(folder, info, map_vectors(folder, COUNT, DIM)).index


def test_small_galleries_are_exact_and_have_no_file(directory):
    info = build_index(directory, COUNT, DIM, IndexRequest(), threads=1)
    assert (info.kind, info.measured_recall_at_10, info.recall_asked) == ("exact_f16", 1.0, None)
    assert not (directory / "index.faiss").exists()


def test_the_manifest_says_what_was_measured(built):
    folder, info = built
    assert info.recall_asked == 0.9
    assert info.recall_queries == 600
    assert 0.9 <= info.measured_recall_at_10 <= 1.0
    assert info.factory.startswith(f"IVF{list_count(COUNT, DIM)},")
    vectors = map_vectors(folder, COUNT, DIM)
    queries = make_queries(vectors, 300)
    best = ExactIndex(vectors).search(queries, 10)
    found = opened(folder, info).search(queries, 10)
    hits = [len(set(a) & set(b)) for a, b in zip(found.rows, best.rows, strict=True)]
    assert np.mean(hits) / 10 == pytest.approx(info.measured_recall_at_10, abs=0.04)


def test_scores_are_those_of_exact_search_best_first(built):
    folder, info = built
    vectors = map_vectors(folder, COUNT, DIM)
    queries = make_queries(vectors, 20)
    found = opened(folder, info).search(queries, 10)
    everything = ExactIndex(vectors).search(queries, COUNT)
    exact = [dict(zip(r, s, strict=True)) for r, s in zip(*vars(everything).values(), strict=True)]
    for query in range(20):
        assert [exact[query][row] for row in found.rows[query]] == found.scores[query].tolist()
    assert (np.diff(found.scores, axis=1) <= 0).all()


def test_one_query_and_many_find_the_same(built):
    folder, info = built
    index = opened(folder, info)
    queries = make_queries(map_vectors(folder, COUNT, DIM), 40)
    together = index.search(queries, 5)
    alone = [index.search(query[None], 5).rows[0] for query in queries]
    np.testing.assert_array_equal(together.rows, alone)


def test_all_lists_and_many_candidates_are_exact_search(built):
    folder, info = built
    queries = make_queries(map_vectors(folder, COUNT, DIM), 40)
    found = opened(folder, info).search(queries, 10, nprobe=10_000, refine_factor=600)
    best = ExactIndex(map_vectors(folder, COUNT, DIM)).search(queries, 10)
    np.testing.assert_array_equal(found.rows, best.rows)
    np.testing.assert_array_equal(found.scores, best.scores)


def test_asking_for_every_row_gives_every_row(built):
    folder, info = built
    queries = make_queries(map_vectors(folder, COUNT, DIM), 2)
    found = opened(folder, info).search(queries, COUNT + 5, nprobe=1)
    assert found.rows.shape == (2, COUNT)
    assert len(np.unique(found.rows[0])) == COUNT


def test_few_rows_inside_a_prior_are_scanned_exactly(built):
    folder, info = built
    rows = RowRuns.of(np.arange(100, 400))
    queries = make_queries(map_vectors(folder, COUNT, DIM), 40)
    best = ExactIndex(map_vectors(folder, COUNT, DIM)).search(queries, 10, rows=rows)
    found = opened(folder, info).search(queries, 10, rows=rows)
    np.testing.assert_array_equal(found.rows, best.rows)


def test_many_rows_inside_a_prior_are_filtered_with_more_lists(built, monkeypatch):
    folder, info = built
    monkeypatch.setattr(index_ivf, "EXACT_ROWS", 0)
    monkeypatch.setattr(index_ivf, "_CODES_PER_ROW", 1000)
    rows = RowRuns.of(np.arange(1000, 3000))
    index = opened(folder, info)
    monkeypatch.setattr(index._exact, "search", None)  # must not be what answers
    queries = make_queries(map_vectors(folder, COUNT, DIM), 100)
    best = ExactIndex(map_vectors(folder, COUNT, DIM)).search(queries, 10, rows=rows)
    found = index.search(queries, 10, rows=rows)
    assert ((found.rows >= 1000) & (found.rows < 3000)).all()
    hits = [len(set(a) & set(b)) for a, b in zip(found.rows, best.rows, strict=True)]
    assert np.mean(hits) / 10 > 0.85


def test_rows_the_lists_do_not_hold_are_found_exactly_after_all(built, monkeypatch):
    folder, info = built
    monkeypatch.setattr(index_ivf, "EXACT_ROWS", 0)
    monkeypatch.setattr(index_ivf.IvfIndex, "_exact_is_cheaper", lambda *_: False)
    monkeypatch.setattr(index_ivf.IvfIndex, "_lists_for", lambda *_: 1)
    rows = RowRuns.of([5, 800, 2500, 4000, 5999])
    found = opened(folder, info).search(
        make_queries(map_vectors(folder, COUNT, DIM), 9), 5, rows=rows
    )
    assert (np.sort(found.rows, axis=1) == rows.rows()).all()


def test_two_builds_are_byte_identical(built, tmp_path):
    folder, info = built
    shutil.copy(folder / "vectors.f16", tmp_path)
    request = IndexRequest(kind=info.kind, recall_at_10=0.9)
    assert build_index(tmp_path, COUNT, DIM, request, threads=2) == info
    assert (tmp_path / "index.faiss").read_bytes() == (folder / "index.faiss").read_bytes()


def test_a_recall_out_of_reach_is_said(directory, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("index_builder.indexing.tuning.REFINE_FACTORS", (1,))
    shutil.copy(directory / "vectors.f16", tmp_path)
    request = IndexRequest(kind="ivf_rabitq", recall_at_10=1.0)
    info = build_index(tmp_path, COUNT, DIM, request, threads=1)
    assert info.measured_recall_at_10 < info.recall_asked == 1.0
    assert "does not reach" in caplog.text


def test_auto_goes_back_to_exact_where_nothing_pays(directory, tmp_path, monkeypatch):
    tried = ["ivf_rabitq", "exact_f16"]
    monkeypatch.setattr(building, "kinds_to_try", lambda *_: tried)
    monkeypatch.setattr(building, "exact_cost_ns", lambda *_: 1.0)
    shutil.copy(directory / "vectors.f16", tmp_path)
    info = build_index(tmp_path, COUNT, DIM, IndexRequest(), threads=1)
    assert info.kind == "exact_f16"
    assert not (tmp_path / "index.faiss").exists()


@pytest.mark.parametrize(
    ("count", "memory_gb", "expected"),
    [
        (200_000, None, ["exact_f16"]),
        (200_001, None, ["ivf_rabitq", "ivf_pq_fastscan", "exact_f16"]),
        (100_000, 0.04, ["ivf_rabitq", "ivf_pq_fastscan"]),
        (10_000_000, 0.6, ["ivf_rabitq"]),
        (10_000_000, 8, ["ivf_rabitq", "ivf_pq_fastscan", "exact_f16"]),
    ],
)
def test_auto_goes_by_size_and_memory(count, memory_gb, expected):
    assert kinds_to_try(IndexRequest(memory_gb=memory_gb), count, 256) == expected
    assert kinds_to_try(IndexRequest(kind="ivf_rabitq"), 10, 256) == ["ivf_rabitq"]


def test_a_tiny_gallery_can_still_be_asked_for_an_approximate_index(tmp_path):
    tile_like(30, DIM).tofile(tmp_path / "vectors.f16")
    for kind in APPROXIMATE:
        info = build_index(tmp_path, 30, DIM, IndexRequest(kind=kind), threads=1)
        index = open_index(tmp_path, info, map_vectors(tmp_path, 30, DIM)).index
        queries = make_queries(map_vectors(tmp_path, 30, DIM), 3)
        assert index.search(queries, 10).rows.shape == (3, 10)


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_too_few_rows_to_train_are_searched_exactly(tmp_path, caplog, kind):
    for count in range(1, 41):
        caplog.clear()
        vectors = tile_like(count, DIM)
        vectors.tofile(tmp_path / "vectors.f16")
        (tmp_path / "index.faiss").write_bytes(b"of another try")
        info = build_index(tmp_path, count, DIM, IndexRequest(kind=kind), threads=1)
        assert info.kind == ("exact_f16" if count < 16 else kind)
        assert (tmp_path / "index.faiss").exists() == (count >= 16)
        assert ("too few to train" in caplog.text) == (count < 16)
        index = open_index(tmp_path, info, map_vectors(tmp_path, count, DIM)).index
        assert index.search(vectors.astype(np.float32), 1).rows.shape == (count, 1)


@pytest.mark.parametrize(("needed", "factor"), [(10, 1), (35, 4), (10_000, 16)])
def test_the_graph_of_a_gpu_is_built_once(directory, monkeypatch, needed, factor):
    """A stand-in that finds the best rows only among `needed` candidates or more."""
    built = []

    class Index:
        def __init__(self, info, vectors):
            built.append(info.parameters)
            self.exact, self.factor = ExactIndex(vectors), info.parameters["refine_factor"]

        def search(self, queries, k):
            best = self.exact.search(queries, k)
            missed = 0.0 if k * self.factor >= needed else 1.0
            return SearchResult(rows=best.rows, scores=best.scores - missed)

    monkeypatch.setattr(building, "gpu_is_usable", lambda: True)
    monkeypatch.setattr(building, "build_gpu_index", Index)
    info = build_index(directory, COUNT, DIM, IndexRequest(kind="gpu_cagra"), threads=1)
    assert len(built) == 1
    assert info.parameters == {"graph_degree": 64, "refine_factor": factor}
    assert info.measured_recall_at_10 == (0.0 if needed == 10_000 else 1.0)


def test_lists_grow_with_the_square_root_of_rows():
    assert [list_count(n, 256) for n in (1, 30, 10_000, 1_000_000, 10_000_000)] == [
        1, 1, 128, 1024, 4096,
    ]  # fmt: skip
    assert nprobe_steps(8) == [1, 2, 3, 4, 6, 8]
    assert nprobe_steps(1) == [1]
    easy, hard = Effort(4, 2), Effort(8, 4)
    assert cost_ns("ivf_rabitq", 10**6, 256, easy) < cost_ns("ivf_rabitq", 10**6, 256, hard)


def test_queries_look_like_photos_and_not_like_tiles():
    vectors = tile_like(20_000, 64, seed=3)
    queries = make_queries(vectors, 200)
    np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-5)
    mean = vectors.astype(np.float32).mean(axis=0)
    np.testing.assert_allclose(queries.mean(axis=0), mean, atol=0.05)
    best = ExactIndex(vectors).search(queries, 1).scores
    assert 0.6 < np.median(best) < 0.97
    np.testing.assert_array_equal(queries, make_queries(vectors, 200))


@pytest.mark.parametrize("damage", ["cut", "gone", "other rows", "no effort", "not faiss"])
def test_a_damaged_index_is_refused(built, tmp_path, damage):
    folder, info = built
    data = (folder / "index.faiss").read_bytes()
    count = COUNT
    if damage == "cut":
        data = data[: len(data) // 2]
    elif damage == "not faiss":
        data = b"IwPfnot" * 100
    if damage != "gone":
        (tmp_path / "index.faiss").write_bytes(data)
    if damage == "other rows":
        count -= 1
    if damage == "no effort":
        info = info.model_copy(update={"parameters": {"nprobe": 3}})
    with pytest.raises(GalleryCorrupt) as caught:
        open_index(tmp_path, info, map_vectors(folder, COUNT, DIM)[:count])
    assert caught.value.hint


@pytest.mark.parametrize("kind", ["gpu_flat_f16", "gpu_cagra"])
def test_a_gallery_for_a_gpu_opens_on_a_cpu_and_says_so(directory, kind):
    if gpu_is_usable():
        pytest.skip("there is a GPU")
    info = IndexInfo(kind=kind, parameters={}, measured_recall_at_10=1.0)
    found = open_index(directory, info, map_vectors(directory, COUNT, DIM))
    assert found.index.kind == "exact_f16"
    assert kind in found.fallback
    assert "GPU" in found.fallback


def test_without_a_gpu_flat_is_noted_and_cagra_refused(directory):
    if gpu_is_usable():
        pytest.skip("there is a GPU")
    info = build_index(directory, COUNT, DIM, IndexRequest(kind="gpu_flat_f16"), threads=1)
    assert (info.kind, info.measured_recall_at_10) == ("gpu_flat_f16", 1.0)
    with pytest.raises(DeviceUnavailable, match="recall"):
        build_index(directory, COUNT, DIM, IndexRequest(kind="gpu_cagra"), threads=1)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["gpu_flat_f16", "gpu_cagra"])
def test_on_a_gpu_the_best_rows_are_found(directory, kind):
    request = IndexRequest(kind=kind, recall_at_10=0.95)
    info = build_index(directory, COUNT, DIM, request, threads=1)
    vectors = map_vectors(directory, COUNT, DIM)
    found = open_index(directory, info, vectors)
    assert (found.index.kind, found.fallback) == (kind, "")
    queries = make_queries(vectors, 100)
    best = ExactIndex(vectors).search(queries, 10)
    rows = found.index.search(queries, 10).rows
    hits = [len(set(a) & set(b)) for a, b in zip(rows, best.rows, strict=True)]
    assert np.mean(hits) / 10 >= (0.93 if kind == "gpu_cagra" else 0.999)
    few = RowRuns.of(np.arange(50))
    assert (found.index.search(queries, 10, rows=few).rows < 50).all()


def test_few_tiles_are_trained_in_silence(capfd):
    vectors = np.random.default_rng(0).standard_normal((144, 32))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for kind in ("ivf_pq_fastscan", "ivf_rabitq"):
        train_and_add(vectors.astype(np.float16), kind)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
