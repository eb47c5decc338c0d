"""The GPU index against a stand-in for FAISS's GPU half; on a GPU, against exact search."""

from types import SimpleNamespace

import numpy as np
import pytest

from crossfix import index_gpu
from crossfix.errors import DeviceUnavailable
from crossfix.gallery_manifest import IndexInfo
from crossfix.index_gpu import build_gpu_index, gpu_is_usable
from crossfix.index_opening import open_index
from crossfix.vector_search import ExactIndex

COUNT, DIM = 3000, 16


@pytest.fixture(scope="module")
def vectors():
    values = np.random.default_rng(0).standard_normal((COUNT, DIM))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float16)


class StandInIndex:
    """Finds the best by asking all."""

    def __init__(self, *_arguments):
        self.values = np.empty((0, DIM), np.float32)

    def add(self, values):
        self.values = np.concatenate([self.values, values])

    def search(self, queries, count, *, params=None):
        assert params is None or hasattr(params, "itopk_size")
        best = np.argsort(-(queries @ self.values.T), axis=1)[:, :count]
        return np.zeros(best.shape, np.float32), best


class StandInGraph(StandInIndex):
    """Keeps the rule of cuVS: no more may be asked for than is kept."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.kept = []

    def train(self, values):
        self.values = values

    def search(self, queries, count, *, params=None):
        self.kept.append(64 if params is None else params.itopk_size)
        if count > self.kept[-1]:
            raise RuntimeError("topk must be smaller than itopk_size parameter")
        return super().search(queries, count, params=params)


class GraphThatRunsOut(StandInGraph):
    def search(self, queries, count, *, params=None):
        scores, rows = super().search(queries, count, params=params)
        rows[:, 3:] = 0xFFFFFFFF
        return scores, rows


@pytest.fixture
def stand_in(monkeypatch):
    """FAISS with a GPU and cuVS."""
    faiss = SimpleNamespace(
        METRIC_INNER_PRODUCT=0,
        StandardGpuResources=object,
        get_num_gpus=lambda: 1,
        GpuIndexFlatConfig=SimpleNamespace,
        GpuIndexFlatIP=StandInIndex,
        GpuIndexCagraConfig=SimpleNamespace,
        GpuIndexCagra=StandInGraph,
        SearchParametersCagra=lambda: SimpleNamespace(itopk_size=64),
    )
    monkeypatch.setattr(index_gpu, "faiss", faiss)
    return faiss


def info_of(kind):
    return IndexInfo(kind=kind, parameters={"refine_factor": 1}, measured_recall_at_10=1.0)


def assert_finds_the_best(index, vectors, k):
    queries = vectors[:20].astype(np.float32)
    found, best = index.search(queries, k), ExactIndex(vectors).search(queries, k)
    np.testing.assert_array_equal(found.rows, best.rows)
    np.testing.assert_array_equal(found.scores, best.scores)


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("kind", ["gpu_flat_f16", "gpu_cagra"])
@pytest.mark.parametrize("k", [1, 10, 50, 100, 600, 2000])
def test_any_number_of_tiles_may_be_asked_for(vectors, kind, k):
    assert_finds_the_best(build_gpu_index(info_of(kind), vectors), vectors, k)


@pytest.mark.usefixtures("stand_in")
def test_the_graph_search_keeps_as_many_as_are_asked_for(vectors):
    index = build_gpu_index(info_of("gpu_cagra"), vectors)
    for k in (10, 48, 49, 50, 112, 496, 497):
        index.search(vectors[:1].astype(np.float32), k)
    assert index._index.kept == [64, 64, 96, 96, 128, 512]  # the last was answered exactly


def test_a_walk_that_finds_too_few_is_answered_exactly(stand_in, vectors):
    stand_in.GpuIndexCagra = GraphThatRunsOut
    assert_finds_the_best(build_gpu_index(info_of("gpu_cagra"), vectors), vectors, 10)


def test_a_faiss_without_cuvs_falls_back_and_says_so(stand_in, vectors, tmp_path):
    for name in ("GpuIndexCagra", "GpuIndexCagraConfig", "SearchParametersCagra"):
        delattr(stand_in, name)
    with pytest.raises(DeviceUnavailable, match="cuVS") as caught:
        build_gpu_index(info_of("gpu_cagra"), vectors)
    assert caught.value.hint
    opened = open_index(tmp_path, info_of("gpu_cagra"), vectors)
    assert opened.index.kind == "exact_f16"
    assert "cuVS" in opened.fallback


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["gpu_flat_f16", "gpu_cagra"])
@pytest.mark.parametrize("k", [50, 100])
def test_on_a_gpu_as_many_tiles_as_the_service_asks_for_are_found(vectors, kind, k):
    if not gpu_is_usable():
        pytest.skip("this FAISS sees no GPU")
    index = build_gpu_index(info_of(kind), vectors)
    queries = vectors[:100].astype(np.float32)
    found, best = index.search(queries, k), ExactIndex(vectors).search(queries, k)
    hits = [len(set(a) & set(b)) for a, b in zip(found.rows, best.rows, strict=True)]
    assert np.mean(hits) / k >= (0.9 if kind == "gpu_cagra" else 0.999)
