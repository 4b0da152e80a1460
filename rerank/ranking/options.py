"""How a block is ranked: how deep, by what, and what is kept of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rerank.arrays import FloatArray
from rerank.errors import InputError
from rerank.ranking.candidates import CandidateSets, combined
from rerank.ranking.fusion import FusedScores, FusionMethod, ScoreFusion, fuse
from rerank.ranking.rank import SOURCE_SCORE


@dataclass(frozen=True, slots=True)
class RankingOptions:
    """What is scored of each query, what it is sorted by, and what is kept.

    Only the first `depth` candidates are scored; the others follow in their order, without a score. `fusion` sorts by a
    mixture with the first stage in place of the logits alone. `top_k` keeps the best, `min_score` what has at least
    that relevance score.
    """

    top_k: int | None = None
    min_score: float | None = None
    depth: int | None = None
    fusion: ScoreFusion | None = None

    def as_json(self) -> dict[str, Any]:
        """What is not the default, as the flags of `rerank run` name it."""
        fusion = str(self.fusion) if self.fusion else None
        found = {"top_k": self.top_k, "min_score": self.min_score, "depth": self.depth, "mix": fusion}
        return {name: value for name, value in found.items() if value is not None}

    def keys(self, sets: CandidateSets, logits: FloatArray) -> FloatArray | FusedScores:
        """What to sort by, descending. Raises InputError where scores are to be mixed and there are none."""
        if self.fusion is None:
            return logits
        scores = source_scores(sets.candidates) if self.fusion.method is FusionMethod.SCORES else None
        return fuse(logits, sets.source_rank, sets.offsets, self.fusion, source_scores=scores)


WHOLE = RankingOptions()  # everything is scored, sorted by logit and kept


def source_scores(candidates: pa.Table) -> FusedScores | None:
    """The first stage's scores, NaN where null; None where the candidates bring none. Raises InputError."""
    if SOURCE_SCORE not in candidates.column_names:
        return None
    column = combined(candidates.column(SOURCE_SCORE))
    try:
        scores: FusedScores = pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64)
    except pa.ArrowInvalid as problem:
        raise InputError(f"the first stage's score must be a number, got {column.type}: {problem}") from problem
    return scores
