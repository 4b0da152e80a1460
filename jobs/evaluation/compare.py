"""Compare two rankings of the same queries: differences, won and lost queries, missing judgements."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jobs.console import plural
from jobs.evaluation.measures import Qrels, Ranking, Values
from jobs.evaluation.significance import bootstrap_interval, randomisation_test

# Rounding errors of a sum are smaller than this; swapping two documents changes a measure by more.
_EQUAL = 1e-9


@dataclass(frozen=True, slots=True)
class Comparison:
    """One measure before and after, as means over the judged queries.

    `low` and `high` are the 95 % bootstrap interval of the difference, `p_value` is that of the randomisation test.
    """

    measure: str
    before: float
    after: float
    difference: float
    low: float
    high: float
    p_value: float
    won: int
    lost: int
    unchanged: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which queries a run and the judgements have in common.

    `missing` are judged but not ranked and count as 0; `unjudged` are ranked but not judged and left out.
    """

    judged: int
    missing: tuple[str, ...]
    unjudged: tuple[str, ...]


def compare(measures: Sequence[str], before: Values, after: Values) -> list[Comparison]:
    """Compare values of the same queries, both of shape [queries, measures]."""
    differences = after - before
    low, high = bootstrap_interval(differences)
    p_values = randomisation_test(differences)
    won, lost = (differences > _EQUAL).sum(axis=0), (differences < -_EQUAL).sum(axis=0)
    return [
        Comparison(
            name,
            float(before[:, at].mean()),
            float(after[:, at].mean()),
            float(differences[:, at].mean()),
            float(low[at]),
            float(high[at]),
            float(p_values[at]),
            int(won[at]),
            int(lost[at]),
            int(len(differences) - won[at] - lost[at]),
        )
        for at, name in enumerate(measures)
    ]


def cover(qrels: Qrels, ranking: Ranking) -> Coverage:
    """Return the number of judged queries and the ids that only the run or only the judgements have."""
    missing = tuple(sorted(query_id for query_id in qrels if not ranking.get(query_id)))
    unjudged = tuple(sorted(query_id for query_id in ranking if query_id not in qrels))
    return Coverage(len(qrels), missing, unjudged)


def unjudged_share(qrels: Qrels, ranking: Ranking, *, depth: int = 10) -> float:
    """Return the share of top `depth` documents of all judged queries that have no judgement; NaN if there are none."""
    known = [doc_id in qrels[query_id] for query_id in qrels for doc_id in ranking.get(query_id, ())[:depth]]
    return 1 - float(np.mean(known)) if known else float("nan")


def left_out_text(count: int) -> str | None:
    """Return what is to be said of the judged queries that a run with --limit did not read; None if there are none."""
    queries = plural(count, "judged query")
    return f"made with --limit: {queries} that the run did not read left out" if count else None


def p_text(p_value: float) -> str:
    """Format a p-value with three decimals, the precision that 10,000 resamples give."""
    return "<0.001" if p_value < 0.001 else f"{p_value:.3f}"
