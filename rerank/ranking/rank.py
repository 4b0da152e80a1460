"""Logits into ranks: sort on logits, report relevance scores, keep the first stage's order among equals."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rerank.arrays import FloatArray, IntArray
from rerank.ranking.candidates import CandidateSets, keep_columns

SOURCE_SCORE = "source_score"  # what the first stage called `score`


def relevance_scores(logits: FloatArray) -> FloatArray:
    """Sigmoid of each logit, 0 to 1, whatever activation the model's config names; computed in float64."""
    wide = logits.astype(np.float64)
    magnitude = np.exp(-np.abs(wide))
    return (np.where(wide >= 0, 1.0, magnitude) / (1.0 + magnitude)).astype(np.float32)


def best_first(keys: npt.NDArray[np.floating], groups: IntArray) -> npt.NDArray[np.intp]:
    """Order of pairs that ranks each group by key, NaN last; groups stay ascending, equal keys keep their order."""
    return np.lexsort((-keys, groups))


def rank(
    sets: CandidateSets,
    logits: FloatArray,
    *,
    keys: npt.NDArray[np.floating] | None = None,
    unscored: npt.NDArray[np.bool_] | None = None,
    top_k: int | None = None,
    min_score: float | None = None,
) -> CandidateSets:
    """The candidates with a finite logit, best first within each query, cut to `top_k` and to scores from `min_score`.

    They are sorted by `keys`, by default the logits. Those that are `unscored` on purpose follow in their order, with
    a null score and logit; `min_score` keeps none of them. Candidates gain `rank` (int32, from 1), `score` (float32),
    `logit` (float32) and `source_rank` (int32) behind `doc_id`; a candidate field that bore one of these names gives
    way, but `score`, which is the first stage's, becomes `source_score`.
    """
    finite = np.isfinite(logits)
    order = best_first(np.where(finite, logits if keys is None else keys, np.nan), sets.query_of)
    order = order[(finite if unscored is None else finite | unscored)[order]]
    scores = relevance_scores(logits)
    ranks = sets.take(order).source_rank
    kept = np.ones(len(order), dtype=np.bool_)
    if top_k is not None:
        kept &= ranks <= top_k
    if min_score is not None:
        kept &= scores[order] >= min_score
    order = order[kept]
    ranked = sets.take(order)
    missing = ~finite[order]
    columns = {
        "doc_id": ranked.candidates.column("doc_id"),
        "rank": pa.array(ranks[kept]),
        "score": pa.array(scores[order], mask=missing),
        "logit": pa.array(logits[order], mask=missing),
        "source_rank": pa.array(sets.source_rank[order]),
    }
    fields = keep_columns(with_source_score(ranked.candidates), without=tuple(columns))
    columns |= dict(zip(fields.column_names, fields.columns, strict=True))
    return ranked.with_candidates(pa.table(columns))


def with_source_score(candidates: pa.Table) -> pa.Table:
    """The candidates with their `score` as `source_score`, which gives way where both are there."""
    if "score" not in candidates.column_names:
        return candidates
    rest = keep_columns(candidates, without=(SOURCE_SCORE,))
    return rest.rename_columns([SOURCE_SCORE if name == "score" else name for name in rest.column_names])
