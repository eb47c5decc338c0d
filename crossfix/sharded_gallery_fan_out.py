"""Asking many shards at once, and merging what they answer into one exact ranking."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from crossfix.errors import PriorOutsideGallery
from crossfix.prior import Prior
from crossfix.vector_search import SearchResult

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
Answer = SearchResult | None | str


class Shard(Protocol):
    """What a shard must do; `Gallery` does."""

    def search(self, embeddings: Float32, k: int, *, prior: Prior | None = None) -> SearchResult:
        """The shard's k best, rows counted from its own first one."""
        ...


@dataclass(frozen=True)
class ShardAnswers:
    """What came back; shards that answered "no tile inside the prior" have no result."""

    results: dict[int, SearchResult]
    answered: int
    failures: dict[int, str]


def ask_shards(
    pool: ThreadPoolExecutor,
    shards: Mapping[int, Shard],
    embeddings: Float32,
    k: int,
    *,
    prior: Prior | None = None,
    timeout_s: float | None = None,
) -> ShardAnswers:
    """Searches all given shards at once; a failure or a late answer of one harms no other."""
    if len(shards) == 1 and timeout_s is None:  # the usual case under a prior: no thread to wake
        ((number, shard),) = shards.items()
        answers = {number: _answer_of(shard, embeddings, k, prior)}
    else:
        asked: dict[Future[Answer], int] = {
            pool.submit(_answer_of, shard, embeddings, k, prior): number
            for number, shard in shards.items()
        }
        done, late = wait(asked, timeout=timeout_s)
        answers = {asked[future]: future.result() for future in done}
        for future in late:
            future.cancel()
            answers[asked[future]] = f"no answer within {timeout_s} s"
    return ShardAnswers(
        results={n: one for n, one in answers.items() if isinstance(one, SearchResult)},
        answered=sum(not isinstance(one, str) for one in answers.values()),
        failures={n: one for n, one in answers.items() if isinstance(one, str)},
    )


def _answer_of(shard: Shard, embeddings: Float32, k: int, prior: Prior | None) -> Answer:
    """The shard's result, None where it has no tile inside the prior, or what went wrong."""
    try:
        return shard.search(embeddings, k, prior=prior)
    except PriorOutsideGallery:
        return None
    except Exception as problem:  # one shard's trouble, of whatever kind, is not the others'
        return f"{type(problem).__name__}: {problem}"


def merge_results(
    results: Mapping[int, SearchResult], starts: Sequence[int], queries: int, k: int
) -> SearchResult:
    """The k best of all shards; equal scores by shard, then by row: by the smaller global row.

    Args:
        starts: the global row of every shard's first tile.

    Returns:
        global rows and scores, (Q, min(k, tiles found)); row -1 and score -inf where an
        approximate index found fewer for this query.
    """
    if not results:
        return SearchResult(np.empty((queries, 0), np.int64), np.empty((queries, 0), np.float32))
    numbers = sorted(results)
    rows = np.concatenate(
        [
            np.where(results[number].rows >= 0, results[number].rows + starts[number], -1)
            for number in numbers
        ],
        axis=1,
    )
    scores = np.concatenate([results[number].scores for number in numbers], axis=1)
    scores = np.where(rows >= 0, scores, -np.inf).astype(np.float32)
    order = np.lexsort((rows, -scores), axis=1)[:, :k]
    return SearchResult(
        rows=np.take_along_axis(rows, order, axis=1),
        scores=np.take_along_axis(scores, order, axis=1),
    )
