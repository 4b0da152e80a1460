"""Count how reranking moved documents, from their ranks before and after alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jobs.evaluation.measures import Values
from jobs.evaluation.ranked import RankedPairs
from jobs.tune.settings import DEPTHS
from rerank.arrays import IntArray

_BUCKETS = (1, 2, 4, 6, 11, 21, 51, 101, 201, 501)
_TOP = 10


@dataclass(frozen=True, slots=True)
class Moves:
    """`shares[i, j]` of the documents with a new rank in bucket j had an old rank in bucket i; `labels` names buckets.

    `within[k]` is the share of the new top 10 among the first `depths[k]` candidates, `new_first` the share of queries
    with another document on top, `kept` the share of the old top 10 that is in the new top 10.
    """

    labels: list[str]
    shares: Values
    depths: list[int]
    within: Values
    new_first: float
    kept: float


def moves_of(pairs: RankedPairs) -> Moves:
    """Count the moves over all queries."""
    ranks, before = pairs.ranks, pairs.source_rank
    deepest = pairs.longest
    labels, shares = movement_of(before, ranks)
    top = ranks <= _TOP
    depths = [*(depth for depth in DEPTHS if depth < deepest), deepest]
    within = [float(np.mean(before[top] <= depth)) if top.any() else 0.0 for depth in depths]
    old_top = before <= _TOP
    return Moves(
        labels,
        shares,
        depths,
        np.array(within),
        float(np.mean(before[ranks == 1] != 1)) if len(ranks) else 0.0,
        float((top & old_top).sum() / max(1, top.sum())),
    )


def movement_of(before: IntArray, after: IntArray) -> tuple[list[str], Values]:
    """Return buckets of ranks, and `shares` as in `Moves`, for documents with these ranks before and after."""
    deepest = int(max(before.max(initial=0), after.max(initial=0)))
    starts = [start for start in _BUCKETS if start <= deepest]
    counts = np.zeros((len(starts), len(starts)))
    np.add.at(counts, (_bucket(before, starts), _bucket(after, starts)), 1)
    return _labels(starts, deepest), counts / np.maximum(1, counts.sum(axis=0))


def overlap(pairs: RankedPairs) -> Values:
    """Return the share of each query's new top 10 that was in its old top 10, shape [queries]."""
    top = pairs.ranks <= _TOP
    queries, count = pairs.query_of, len(pairs.query_ids)
    both = np.bincount(queries[top & (pairs.source_rank <= _TOP)], minlength=count)
    shares: Values = both / np.maximum(1, np.bincount(queries[top], minlength=count))
    return shares


def _bucket(ranks: np.ndarray, starts: Sequence[int]) -> np.ndarray:
    return np.searchsorted(starts, ranks, side="right") - 1


def _labels(starts: Sequence[int], deepest: int) -> list[str]:
    ends = [*(start - 1 for start in starts[1:]), deepest]
    return [f"{start}" if start == end else f"{start} to {end}" for start, end in zip(starts, ends, strict=True)]
