"""Ranking options: how many candidates are scored, what they are sorted by, and which are kept."""

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
    """Which candidates of each query are scored, what they are sorted by, and which are kept.

    - `top_k`: keep this many of the best; None: all
    - `min_score`: keep candidates with at least this relevance score (0 to 1); None: all
    - `depth`: score only this many, from the top of the first stage; the others follow in their order, without a score;
      None: score all
    - `fusion`: sort by this combination of both stages; None: by the logits alone
    """

    top_k: int | None = None
    min_score: float | None = None
    depth: int | None = None
    fusion: ScoreFusion | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the options that are set, named as the flags of `rerank run`."""
        fusion = str(self.fusion) if self.fusion else None
        options = {"top_k": self.top_k, "min_score": self.min_score, "depth": self.depth, "mix": fusion}
        return {name: value for name, value in options.items() if value is not None}

    def sort_keys(self, sets: CandidateSets, logits: FloatArray) -> FloatArray | FusedScores:
        """Return what to sort by in descending order, shape [pairs]. Raises InputError if scores are missing."""
        if self.fusion is None:
            return logits
        scores = source_scores(sets.candidates) if self.fusion.method is FusionMethod.SCORES else None
        return fuse(logits, sets.source_rank, sets.offsets, self.fusion, source_scores=scores)


DEFAULT_OPTIONS = RankingOptions()  # score all candidates, sort by logit, keep all


def source_scores(candidates: pa.Table) -> FusedScores | None:
    """Return the first stage's scores, NaN if null; None if there is no such column. Raises InputError."""
    if SOURCE_SCORE not in candidates.column_names:
        return None
    column = combined(candidates.column(SOURCE_SCORE))
    try:
        scores: FusedScores = pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64)
    except pa.ArrowInvalid as problem:
        raise InputError(f"the first stage's score must be a number, got {column.type}: {problem}") from problem
    return scores
