"""Asking many shards at once, and merging what they answer into one exact ranking."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from crossfix.errors import PriorOutsideGallery
from crossfix.prior import Prior
from crossfix.vector_search import SearchResult

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
AnswerT = TypeVar("AnswerT")
Tried = tuple[tuple[AnswerT] | None, str]


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
        return _sorted_out({number: _tried(call)})
    asked = {number: begin_call(pool, call) for number, call in calls.items()}
    answers, failures = collect_answers(asked, timeout_s=timeout_s)
    for number in failures:
        asked[number].cancel()
    return answers, failures


class Pool(Protocol):
    """Threads; `ThreadPoolExecutor` is one."""

    def submit(self, call: Callable[..., Any], /, *arguments: Any) -> Future[Any]:  # noqa: ANN401
        """Begins a call; RuntimeError where the pool is closed."""
        ...


def begin_call(pool: Pool, call: Callable[[], AnswerT]) -> Future[Tried[AnswerT]]:
    """A call of one shard; its future never has an exception."""
    try:
        return pool.submit(_tried, call)
    except RuntimeError:
        closed: Future[Tried[AnswerT]] = Future()
        closed.set_result((None, "the gallery was closed"))
        return closed


def collect_answers(
    asked: Mapping[int, Future[Tried[AnswerT]]], *, timeout_s: float | None
) -> tuple[dict[int, AnswerT], dict[int, str]]:
    """What was answered in time, and why the others were not; late calls go on."""
    wait(asked.values(), timeout=timeout_s)
    late = (None, f"no answer within {timeout_s} s")
    return _sorted_out(
        {number: future.result() if future.done() else late for number, future in asked.items()}
    )


def _sorted_out(
    told: Mapping[int, Tried[AnswerT]],
) -> tuple[dict[int, AnswerT], dict[int, str]]:
    answers = {number: answer[0] for number, (answer, _) in told.items() if answer is not None}
    return answers, {number: why for number, (answer, why) in told.items() if answer is None}


def _tried(call: Callable[[], AnswerT]) -> Tried[AnswerT]:
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
