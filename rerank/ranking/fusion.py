"""Score fusion: combine the model's logits with the first stage's scores or ranks of the same candidates."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from rerank.arrays import FloatArray, IntArray, Offsets
from rerank.errors import ConfigError, InputError
from rerank.ranking.rank import best_first

FusedScores = npt.NDArray[np.float64]

_RRF_K = 60  # the value of Cormack, Clarke and Büttcher, which is used everywhere


class FusionMethod(StrEnum):
    """What is combined: normalised scores, or reciprocal ranks."""

    SCORES = "scores"
    RRF = "rrf"


@dataclass(frozen=True, slots=True)
class ScoreFusion:
    """How to combine both stages: `weight` is the model's share, from 0 (first stage only) to 1 (model only)."""

    method: FusionMethod
    weight: float

    @classmethod
    def parse(cls, text: str) -> ScoreFusion:
        """Return the fusion that a text such as `scores:0.7` or `rrf:0.5` describes. Raises ConfigError."""
        method, _, weight = text.partition(":")
        try:
            parsed = cls(FusionMethod(method), float(weight))
        except ValueError:
            parsed = None
        if parsed is None or not 0 <= parsed.weight <= 1:
            raise ConfigError(
                f"mix must be METHOD:WEIGHT, scores or rrf with the model's share from 0 to 1, such as scores:0.7; "
                f"got {text!r}"
            )
        return parsed

    def __str__(self) -> str:
        return f"{self.method}:{self.weight:g}"


def fuse(
    logits: FloatArray,
    source_rank: IntArray,
    offsets: Offsets,
    fusion: ScoreFusion,
    *,
    source_scores: npt.NDArray[np.floating] | None = None,
) -> FusedScores:
    """Return the fused score of each pair, to sort by in descending order; shape [pairs], NaN where the logit is NaN.

    All arrays have a row per pair, those of query i from offsets[i] to offsets[i + 1], in first-stage order, so that
    ties keep that order in a stable sort.

    - `scores`: weight · n(logit) + (1 - weight) · n(source score), where n maps the values of one query to 0 … 1 by
      their minimum and maximum; if all values are equal they map to 0, and so does a missing source score (NaN).
      Convex combination,
      Bruch, Gai and Ingber, ACM TOIS 42(1), 2023.
    - `rrf`: weight / (60 + rank by logit) + (1 - weight) / (60 + source rank). Reciprocal rank fusion, Cormack, Clarke
      and Büttcher, SIGIR 2009, with weights; it needs no source scores.

    Raises InputError if the method is `scores` and `source_scores` is None.
    """
    scored = np.isfinite(logits)
    groups = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    if fusion.method is FusionMethod.RRF:
        model = _reciprocal(_ranks(logits, groups))
        first = _reciprocal(source_rank)
    elif source_scores is None:
        raise InputError(
            "mixing scores needs the first stage's scores, and the candidates have none; rrf needs only their order"
        )
    else:
        model = _normalised(np.where(scored, logits.astype(np.float64), np.nan), groups)
        source = np.where(scored, source_scores.astype(np.float64), np.nan)
        first = np.nan_to_num(_normalised(source, groups), nan=0.0)
    fused: FusedScores = np.where(scored, fusion.weight * model + (1 - fusion.weight) * first, np.nan)
    return fused


def _ranks(logits: FloatArray, groups: npt.NDArray[np.intp]) -> IntArray:
    """Return the rank of each pair within its query by logit, from 1; pairs without a logit come last."""
    order = best_first(np.where(np.isfinite(logits), logits, -np.inf).astype(np.float32), groups.astype(np.int32))
    starts = np.searchsorted(groups, groups)
    ranks = np.empty(len(logits), dtype=np.int32)
    ranks[order] = np.arange(len(logits)) - starts + 1
    return ranks


def _reciprocal(ranks: IntArray) -> FusedScores:
    return 1.0 / (_RRF_K + ranks)


def _normalised(values: FusedScores, groups: npt.NDArray[np.intp]) -> FusedScores:
    """Return the values of each query scaled to 0 … 1; NaN stays NaN and is ignored."""
    queries = int(groups[-1]) + 1 if len(groups) else 0
    low, high = np.full(queries, np.inf), np.full(queries, -np.inf)
    np.fmin.at(low, groups, values)
    np.fmax.at(high, groups, values)
    spread = (high - low)[groups]
    scaled: FusedScores = np.divide(
        values - low[groups], spread, out=np.where(np.isnan(values), np.nan, 0.0), where=spread > 0
    )
    return scaled
