"""What reranking costs, from what a run spent: tokens, seconds of one actor, money."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jobs.evaluation.ranked import RankedPairs

_QUERIES = 1000


@dataclass(frozen=True, slots=True)
class Rates:
    """What one pair costs; None where the run does not tell, as when all its scores were looked up."""

    tokens_per_pair: float | None
    seconds_per_pair: float | None
    usd_per_hour: float | None


@dataclass(frozen=True, slots=True)
class Cost:
    """Of 1,000 queries. `seconds` are those of one actor; two take half as long and cost the same."""

    pairs: float
    tokens: float | None
    seconds: float | None
    usd: float | None


def rates_of(manifest: Mapping[str, Any], *, pairs_per_second: float | None, usd_per_hour: float | None) -> Rates:
    """The rates of a run by its manifest; `pairs_per_second` of one actor is measured by it where not given."""
    scored = manifest.get("pairs_scored", 0)
    engine_seconds = manifest.get("seconds", {}).get("score", 0)
    seconds = engine_seconds / scored if scored and engine_seconds else None
    return Rates(
        manifest["tokens"] / scored if scored else None,
        1 / pairs_per_second if pairs_per_second else seconds,
        usd_per_hour,
    )


def cost_of(pairs: RankedPairs, depth: int, rates: Rates) -> Cost:
    """What reranking the first `depth` candidates costs."""
    per_query = float(np.count_nonzero(pairs.source_rank <= depth)) / max(1, len(pairs.query_ids))
    count = _QUERIES * per_query
    seconds = None if rates.seconds_per_pair is None else count * rates.seconds_per_pair
    return Cost(
        count,
        None if rates.tokens_per_pair is None else count * rates.tokens_per_pair,
        seconds,
        None if seconds is None or rates.usd_per_hour is None else seconds / 3600 * rates.usd_per_hour,
    )
