"""The cost of reranking, estimated from a finished run: tokens, seconds of one actor, money."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jobs.evaluation.ranked import RankedPairs

_QUERIES = 1000


@dataclass(frozen=True, slots=True)
class Rates:
    """Cost of one pair; None if the run cannot tell, for example because all its scores were looked up."""

    tokens_per_pair: float | None
    seconds_per_pair: float | None
    usd_per_hour: float | None


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of 1,000 queries. `seconds` are for one actor; two actors take half as long and cost the same."""

    pairs: float
    tokens: float | None
    seconds: float | None
    usd: float | None


def rates_of(manifest: Mapping[str, Any], *, pairs_per_second: float | None, usd_per_hour: float | None) -> Rates:
    """Return the rates from a run's manifest; `pairs_per_second` of one actor overrides the speed measured there."""
    scored = manifest.get("pairs_scored", 0)
    engine_seconds = manifest.get("seconds", {}).get("score", 0)
    seconds = engine_seconds / scored if scored and engine_seconds else None
    return Rates(
        manifest["tokens"] / scored if scored else None,
        1 / pairs_per_second if pairs_per_second else seconds,
        usd_per_hour,
    )


def cost_of(pairs: RankedPairs, depth: int, rates: Rates) -> Cost:
    """Return the cost of reranking the first `depth` candidates."""
    return cost_of_pairs(int(np.count_nonzero(pairs.source_rank <= depth)), len(pairs.query_ids), rates)


def cost_of_pairs(pairs: int, queries: int, rates: Rates) -> Cost:
    """Return the cost of scoring so many pairs for so many queries."""
    count = _QUERIES * pairs / max(1, queries)
    seconds = None if rates.seconds_per_pair is None else count * rates.seconds_per_pair
    return Cost(
        count,
        None if rates.tokens_per_pair is None else count * rates.tokens_per_pair,
        seconds,
        None if seconds is None or rates.usd_per_hour is None else seconds / 3600 * rates.usd_per_hour,
    )
