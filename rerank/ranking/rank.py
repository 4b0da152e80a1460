"""Turn logits into ranks: sort by logit, keep the first stage's order for equal logits."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rerank.arrays import FloatArray, IntArray
from rerank.ranking.candidates import CandidateSets, keep_columns

SOURCE_SCORE = "source_score"  # the candidates' `score` of the first stage


def best_first(sort_keys: npt.NDArray[np.floating], groups: IntArray) -> npt.NDArray[np.intp]:
    """Return the order of pairs by group, then by descending sort key, NaN last; equal keys keep their order."""
    return np.lexsort((-sort_keys, groups))


def rank(
    sets: CandidateSets,
    logits: FloatArray,
    scores: FloatArray,
    *,
    sort_keys: npt.NDArray[np.floating] | None = None,
    unscored: npt.NDArray[np.bool_] | None = None,
    top_k: int | None = None,
    min_score: float | None = None,
) -> CandidateSets:
    """Return the candidates with a finite logit, best first within each query.

    `scores` [pairs] are the relevance scores of the logits. `sort_keys` [pairs] sorts the candidates, by default by
    logit. Candidates marked in `unscored` [pairs] follow in first-stage order, with a null score and logit. `top_k` and
    `min_score` (0 to 1) limit what is kept; `min_score` keeps no unscored candidate. After `doc_id` come the new fields
    `rank` (int32, from 1), `score` (float32), `logit` (float32) and `source_rank` (int32, from 1). They replace fields
    of the same names, except that the first stage's `score` becomes `source_score`.
    """
    finite = np.isfinite(logits)
    order = best_first(np.where(finite, logits if sort_keys is None else sort_keys, np.nan), sets.query_of)
    order = order[(finite if unscored is None else finite | unscored)[order]]
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
    """Return the candidates with `score` renamed to `source_score`, which it replaces if both exist."""
    if "score" not in candidates.column_names:
        return candidates
    others = keep_columns(candidates, without=(SOURCE_SCORE,))
    return others.rename_columns([SOURCE_SCORE if name == "score" else name for name in others.column_names])
