"""Compare two rankings query by query: order, top 10, and quality if there are judgements."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

import numpy as np

from jobs.evaluate import assess
from jobs.evaluation.measures import Judge, Values
from jobs.evaluation.rankings import Run, names_of
from rerank.errors import InputError
from rerank.ranking.agreement import TOP, kendall_tau, top_overlap

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_NAMED = 1000  # most ids in the JSON summary
_DOCUMENTS = 3  # of a query that moved


@dataclass(frozen=True, slots=True)
class Differences:
    """The differences of two runs. The arrays hold one value for each of `query_ids`, the queries of both runs.

    `taus` is Kendall's tau over the documents of both, NaN for fewer than two. `changes` is the change of the first
    measure, NaN for a query without judgements; None without judgements at all.
    """

    before: Run
    after: Run
    query_ids: Sequence[str]
    taus: Values
    overlaps: Values
    changes: Values | None
    quality: dict[str, Any] | None

    def summary(self, moved: int) -> dict[str, Any]:
        """Return everything that is reported; `moved` is the number of queries that are listed."""
        before, after = self.before.ranking, self.after.ranking
        first_documents = [before[query_id][:1] == after[query_id][:1] for query_id in self.query_ids]
        return {
            "before": self.before.name,
            "after": self.after.name,
            "queries": len(self.query_ids),
            "documents": sum(len(_common(before[query_id], after[query_id])) for query_id in self.query_ids),
            "only_before": _only(self.before, self.after),
            "only_after": _only(self.after, self.before),
            "cut": {"before": self.before.cut, "after": self.after.cut},
            "kendall_tau": _distribution(self.taus),
            f"top_{TOP}_overlap": _distribution(self.overlaps),
            "same_first_document": float(np.mean(first_documents)),
            "quality": self.quality,
            "moved": [self._query(row) for row in self._most_moved(moved)],
        }

    def _most_moved(self, count: int) -> list[int]:
        """Return the queries whose top documents changed most, then those with the lowest tau; no unchanged one."""
        order = np.lexsort((np.nan_to_num(self.taus, nan=1.0), self.overlaps))
        return [int(row) for row in order[:count] if self.overlaps[row] < 1 or self.taus[row] < 1]

    def _query(self, row: int) -> dict[str, Any]:
        query_id = self.query_ids[row]
        moved = moved_documents(self.before.ranking[query_id], self.after.ranking[query_id])
        return {
            "query_id": query_id,
            f"top_{TOP}_overlap": float(self.overlaps[row]),
            "kendall_tau": _or_none(self.taus[row]),
            "change": None if self.changes is None else _or_none(self.changes[row]),
            "documents": [{"doc_id": doc_id, "before": old, "after": new} for doc_id, old, new in moved],
        }


def differences_of(before: Run, after: Run, judge: Judge | None) -> Differences:
    """Compare two runs. Raises InputError if they have no query in common, or if none of them is judged."""
    query_ids = [query_id for query_id in before.ranking if query_id in after.ranking]
    if not query_ids:
        raise InputError(
            f"{before.name} and {after.name} have no query in common: they hold queries such as "
            f"{names_of(list(before.ranking), most=3) or 'none'}, and {names_of(list(after.ranking), most=3) or 'none'}"
        )
    pairs = [(before.ranking[query_id], after.ranking[query_id]) for query_id in query_ids]
    taus = np.array([kendall_tau(old, new) for old, new in pairs])
    overlaps = np.array([top_overlap(old, new) for old, new in pairs])
    if judge is None:
        return Differences(before, after, query_ids, taus, overlaps, None, None)
    quality = assess(judge, after, before)
    by_query = dict(zip(judge.query_ids, _first_measure(judge, after) - _first_measure(judge, before), strict=True))
    changes = np.array([by_query.get(query_id, np.nan) for query_id in query_ids])
    return Differences(before, after, query_ids, taus, overlaps, changes, quality)


def moved_documents(before: Sequence[str], after: Sequence[str]) -> list[tuple[str, int | None, int | None]]:
    """Return the documents of either top 10 that moved furthest, with their ranks; None where a run lacks a document.

    A document that a run lacks counts as if it stood behind the last one there.
    """
    old, new = ({doc_id: rank for rank, doc_id in enumerate(run, start=1)} for run in (before, after))
    moves = [
        (abs(old.get(doc_id, len(old) + 1) - new.get(doc_id, len(new) + 1)), doc_id)
        for doc_id in dict.fromkeys((*before[:TOP], *after[:TOP]))
    ]
    moves.sort(key=lambda move: -move[0])
    return [(doc_id, old.get(doc_id), new.get(doc_id)) for distance, doc_id in moves[:_DOCUMENTS] if distance]


def _first_measure(judge: Judge, run: Run) -> Values:
    values: Values = judge.values(run.ranking)[:, 0]
    return values


def _only(run: Run, other: Run) -> dict[str, Any]:
    """Return the queries that only this run has, and how many documents of the common queries only it has."""
    query_ids = sorted(query_id for query_id in run.ranking if query_id not in other.ranking)
    documents = sum(
        len(doc_ids) - len(_common(doc_ids, other.ranking[query_id]))
        for query_id, doc_ids in run.ranking.items()
        if query_id in other.ranking
    )
    return {"queries": len(query_ids), "query_ids": query_ids[:_NAMED], "documents": documents}


def _common(first: Iterable[str], second: Iterable[str]) -> set[str]:
    return set(first).intersection(second)


def _distribution(values: Values) -> dict[str, Any]:
    """Return the mean and quantiles of the values that are numbers; None for each if there is none."""
    known = values[np.isfinite(values)]
    if not len(known):
        return {"queries": 0, "mean": None, "quantiles": {f"{at:g}": None for at in _QUANTILES}}
    quantiles = zip(_QUANTILES, np.quantile(known, _QUANTILES).tolist(), strict=True)
    return {
        "queries": len(known),
        "mean": float(known.mean()),
        "quantiles": {f"{at:g}": value for at, value in quantiles},
    }


def _or_none(value: float) -> float | None:
    return None if isnan(value) else float(value)
