"""Logits into ranks: sort on logits, report relevance scores, keep the first stage's order among equals."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rerank.candidates import CandidateSets, keep_columns
from rerank.ragged import IntArray

FloatArray = npt.NDArray[np.float32]

RANKED_FIELDS = ("rank", "score", "logit", "source_rank")


def relevance_scores(logits: FloatArray) -> FloatArray:
    """Sigmoid of each logit, 0 to 1, whatever activation the model's config names; computed in float64."""
    wide = logits.astype(np.float64)
    magnitude = np.exp(-np.abs(wide))
    return (np.where(wide >= 0, 1.0, magnitude) / (1.0 + magnitude)).astype(np.float32)


def best_first(logits: FloatArray, groups: IntArray) -> npt.NDArray[np.intp]:
    """Order of pairs that ranks each group by logit; groups stay ascending, equal logits keep their order."""
    return np.lexsort((-logits, groups))


def rank(
    sets: CandidateSets, logits: FloatArray, *, top_k: int | None = None, min_score: float | None = None
) -> CandidateSets:
    """The candidates with a finite logit, best first within each query, cut to `top_k` and to scores from `min_score`.

    Candidates gain `rank` (int32, from 1), `score` (float32), `logit` (float32) and `source_rank` (int32) behind
    `doc_id`; a candidate field that bore one of these names gives way.
    """
    order = best_first(logits, sets.query_of)
    order = order[np.isfinite(logits[order])]
    scores = relevance_scores(logits)
    ranks = sets.take(order).source_rank
    kept = np.ones(len(order), dtype=np.bool_)
    if top_k is not None:
        kept &= ranks <= top_k
    if min_score is not None:
        kept &= scores[order] >= min_score
    order = order[kept]
    ranked = sets.take(order)
    fields = keep_columns(ranked.candidates, without=("doc_id", *RANKED_FIELDS))
    values = (ranks[kept], scores[order], logits[order], sets.source_rank[order])
    columns = {"doc_id": ranked.candidates.column("doc_id")}
    columns |= {name: pa.array(column) for name, column in zip(RANKED_FIELDS, values, strict=True)}
    columns |= dict(zip(fields.column_names, fields.columns, strict=True))
    return ranked.with_candidates(pa.table(columns))
