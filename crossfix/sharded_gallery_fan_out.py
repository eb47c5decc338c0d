"""Asking many shards at once, and merging what they answer into one exact ranking."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from crossfix.errors import PriorOutsideGallery
from crossfix.prior import Prior
from crossfix.vector_search import SearchResult

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
AnswerT = TypeVar("AnswerT")


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


def ask_each(
    pool: ThreadPoolExecutor,
    calls: Mapping[int, Callable[[], AnswerT]],
    *,
    timeout_s: float | None = None,
) -> tuple[dict[int, AnswerT], dict[int, str]]:
    """Calls all at once; a failure or a late answer of one harms no other.

    Returns:
        what each answered, and in one sentence what went wrong with the others.
    """
    if len(calls) == 1 and timeout_s is None:  # the usual case under a prior: no thread to wake
        ((number, call),) = calls.items()
        told = {number: _tried(call)}
    else:
        asked = {pool.submit(_tried, call): number for number, call in calls.items()}
        done, late = wait(asked, timeout=timeout_s)
        told = {asked[future]: future.result() for future in done}
        for future in late:
            future.cancel()
            told[asked[future]] = (None, f"no answer within {timeout_s} s")
    answers = {number: answer[0] for number, (answer, _) in told.items() if answer is not None}
    return answers, {number: why for number, (answer, why) in told.items() if answer is None}


def _tried(call: Callable[[], AnswerT]) -> tuple[tuple[AnswerT] | None, str]:
    """The answer, in a tuple so that None is one too, or what went wrong."""
    try:
        return (call(),), ""
    except Exception as problem:  # one shard's trouble, of whatever kind, is not the others'
        return None, f"{type(problem).__name__}: {problem}"


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
    calls = {
        number: partial(_answer_of, shard, embeddings, k, prior) for number, shard in shards.items()
    }
    answers, failures = ask_each(pool, calls, timeout_s=timeout_s)
    return ShardAnswers(
        results={number: one for number, one in answers.items() if one is not None},
        answered=len(answers),
        failures=failures,
    )


def _answer_of(
    shard: Shard, embeddings: Float32, k: int, prior: Prior | None
) -> SearchResult | None:
    """The shard's result, None where it has no tile inside the prior."""
    try:
        return shard.search(embeddings, k, prior=prior)
    except PriorOutsideGallery:
        return None


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
