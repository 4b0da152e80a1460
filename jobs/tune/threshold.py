"""Precision and recall of thresholds on the relevance score (--min-score)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jobs.evaluation.measures import Qrels
from jobs.evaluation.ranked import RankedPairs

THRESHOLDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)

# A threshold is recommended if it keeps nearly all relevant candidates and drops at least this share of all.
_KEPT_RELEVANT = 0.99
_DROPPED = 0.1


@dataclass(frozen=True, slots=True)
class Kept:
    """What `--min-score` keeps of the candidates of all judged queries together.

    `kept` is the share of candidates that are kept, `precision` the share of relevant ones among them (None if none is
    kept), `recall` the share of all relevant documents that are kept, `empty` the share of queries left without any.
    """

    min_score: float
    kept: float
    precision: float | None
    recall: float
    empty: float


def sweep(pairs: RankedPairs, qrels: Qrels, thresholds: Sequence[float] = THRESHOLDS) -> list[Kept]:
    """Return precision and recall at each threshold, starting with 0 (no threshold)."""
    relevant = pairs.relevances(qrels) > 0
    total = sum(grade > 0 for judged in qrels.values() for grade in judged.values())
    scores, queries = pairs.scores, pairs.query_of
    rows = []
    for threshold in (0.0, *thresholds):
        kept = scores >= np.float32(threshold)
        hits, count = int((relevant & kept).sum()), int(kept.sum())
        left = len(np.unique(queries[kept]))
        rows.append(
            Kept(
                threshold,
                count / max(1, len(kept)),
                hits / count if count else None,
                hits / max(1, total),
                1 - left / max(1, len(pairs.query_ids)),
            )
        )
    return rows


def worth_setting(swept: Sequence[Kept]) -> float | None:
    """Return the highest threshold that keeps 99 % of the relevant candidates, empties no query and drops 10 %."""
    bare = swept[0]
    safe = [
        at
        for at in swept[1:]
        if at.recall >= _KEPT_RELEVANT * bare.recall and at.empty <= bare.empty and at.kept <= 1 - _DROPPED
    ]
    return safe[-1].min_score if safe else None
