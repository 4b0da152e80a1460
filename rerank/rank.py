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


def rank(sets: CandidateSets, logits: FloatArray, *, top_k: int | None) -> CandidateSets:
    """The candidates with a finite logit, best first within each query, cut to `top_k`.

    Candidates gain `rank` (int32, from 1), `score` (float32), `logit` (float32) and `source_rank` (int32); a
    candidate field that bore one of these names gives way.
    """
    order = best_first(logits, sets.query_of)
    order = order[np.isfinite(logits[order])]
    source_rank = sets.source_rank
    ranked = sets.take(order)
    ranks = ranked.source_rank
    if top_k is not None:
        order, ranks = order[ranks <= top_k], ranks[ranks <= top_k]
        ranked = sets.take(order)
    candidates = keep_columns(ranked.candidates, without=RANKED_FIELDS)
    columns = (ranks, relevance_scores(logits[order]), logits[order], source_rank[order])
    for position, (name, values) in enumerate(zip(RANKED_FIELDS, columns, strict=True), start=1):
        candidates = candidates.add_column(position, name, pa.array(values))
    return ranked.with_candidates(candidates)
