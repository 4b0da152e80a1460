"""Measure rankings against judgements with ir-measures, under the usual names such as nDCG@10."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import ir_measures
import numpy as np
import numpy.typing as npt

from rerank.errors import ConfigError, InputError

DEFAULT_MEASURES = ("nDCG@10", "RR@10", "R@100")

Qrels = Mapping[str, Mapping[str, int]]
Ranking = Mapping[str, Sequence[str]]
Values = npt.NDArray[np.float64]


def measure(qrels: Qrels, ranking: Ranking, measures: Sequence[str] = DEFAULT_MEASURES) -> dict[str, float]:
    """Return the mean of each measure over the judged queries, by the names in `measures`.

    `qrels` is query_id → doc_id → relevance; `ranking` is query_id → doc_ids, best first. A judged query without
    documents counts as 0; a query without judgements is left out. Documents are scored by position, because trec_eval
    would sort equal scores by doc_id. Raises ConfigError for a measure that ir-measures does not know or cannot
    compute.
    """
    parsed = {name: _parse(name) for name in measures}
    run = {query_id: _scores(doc_ids) for query_id, doc_ids in ranking.items()}
    judgements = {query_id: dict(judged) for query_id, judged in qrels.items()}
    values = ir_measures.calc_aggregate(list(parsed.values()), judgements, run)
    return {name: float(values[metric]) for name, metric in parsed.items()}


class Judge:
    """Measures any number of rankings against the same judgements, query by query; `query_ids` are the judged queries.

    `only` are the queries of a run that was made for a part of its input, None for all. `left_out` is the number of
    judged queries that are not among them and do not count.
    Raises ConfigError for a measure that ir-measures does not know or cannot compute. Raises InputError if none of
    `only` is judged.
    """

    def __init__(self, qrels: Qrels, measures: Sequence[str], *, only: Collection[str] | None = None) -> None:
        self.measures = tuple(measures)
        self.qrels = qrels if only is None else _restricted(qrels, only)
        self.left_out = len(qrels) - len(self.qrels)
        self.query_ids = sorted(self.qrels)
        self._column = {parsed: at for at, parsed in enumerate(map(_parse, measures))}
        self._row = {query_id: at for at, query_id in enumerate(self.query_ids)}
        self.depth = _depth_read(self._column)
        judgements = {query_id: dict(judged) for query_id, judged in self.qrels.items()}
        self._evaluator = ir_measures.evaluator(list(self._column), judgements)

    def values(self, ranking: Ranking) -> Values:
        """Return each measure of each judged query, shape [query_ids, measures]; 0 for a query that is not ranked."""
        run = {query_id: _scores(ranking[query_id][: self.depth]) for query_id in self._row if query_id in ranking}
        values = np.zeros((len(self.query_ids), len(self.measures)))
        for metric in self._evaluator.iter_calc(run):
            values[self._row[metric.query_id], self._column[metric.measure]] = metric.value
        return values[:, [self._column[_parse(name)] for name in self.measures]]


def ranking_of(rows: Iterable[tuple[str, str, int]]) -> dict[str, list[str]]:
    """Order (query_id, doc_id, rank) rows into query_id → doc_ids, best first."""
    ranking: dict[str, list[str]] = {}
    for query_id, doc_id, _ in sorted(rows, key=lambda row: row[2]):
        ranking.setdefault(query_id, []).append(doc_id)
    return ranking


def qrels_of(rows: Iterable[tuple[str, str, int]]) -> dict[str, dict[str, int]]:
    """Collect (query_id, doc_id, relevance) rows into query_id → doc_id → relevance."""
    qrels: dict[str, dict[str, int]] = {}
    for query_id, doc_id, relevance in rows:
        qrels.setdefault(query_id, {})[doc_id] = relevance
    return qrels


def _restricted(qrels: Qrels, only: Collection[str]) -> Qrels:
    kept = {query_id: judged for query_id, judged in qrels.items() if query_id in only}
    if not kept:
        raise InputError(
            f"the run was made with --limit, and none of its queries has judgements: it holds queries such as "
            f"{', '.join(sorted(only)[:3])}, the judgements are for queries such as {', '.join(sorted(qrels)[:3])}"
        )
    return kept


def _scores(doc_ids: Sequence[str]) -> dict[str, float]:
    return {doc_id: -float(place) for place, doc_id in enumerate(doc_ids)}


def _depth_read(measures: Iterable[ir_measures.Measure]) -> int | None:
    """Return how many documents of a ranking these measures look at, or None for all."""
    depth = 0
    for measure in measures:
        cutoff = measure.params.get("cutoff")
        if cutoff is None or "judged_only" in measure.params:
            return None
        depth = max(depth, int(cutoff))
    return depth


def _parse(name: str) -> ir_measures.Measure:
    accepted = f"a measure must be one that ir-measures computes, such as {', '.join(DEFAULT_MEASURES)}; got {name!r}"
    try:
        parsed = ir_measures.parse_measure(name)
        parsed.validate_params()
    except (ValueError, NameError, AssertionError) as error:
        raise ConfigError(f"{accepted}: {error}") from error
    if not ir_measures.DefaultPipeline.supports(parsed):
        raise ConfigError(accepted)
    return parsed
