"""The queries that gained and lost most, with their best documents before and after."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jobs.evaluation.measures import Qrels, Values
from jobs.evaluation.ranked import RankedPairs
from jobs.formats.pair_rows import fitting, pair_columns, read_pairs
from rerank.errors import InputError
from rerank.paths import locate

_TOP = 3
_CHARACTERS = 320


@dataclass(frozen=True, slots=True)
class Shown:
    """A document at one rank: `other_rank` is its rank in the other order, `grade` its judgement (None: not judged)."""

    doc_id: str
    text: str | None
    score: float
    rank: int
    other_rank: int
    grade: int | None


@dataclass(frozen=True, slots=True)
class Example:
    """A query with its best documents before and after; `before_value` and `after_value` are the measure's."""

    query_id: str
    query: str | None
    before_value: float
    after_value: float
    before: tuple[Shown, ...]
    after: tuple[Shown, ...]


class Texts:
    """Texts of the queries and documents of these query ids, from the first place that has them."""

    def __init__(self, places: Sequence[str], renames: Mapping[str, str], query_ids: Sequence[str]) -> None:
        self.source: str | None = None
        self.queries: dict[str, str] = {}
        self.documents: dict[tuple[str, str], str] = {}
        for place in places:
            try:
                self._read(place, renames, query_ids)
            except InputError:
                continue  # it no longer exists or has no texts: the report shows ids
            if self.documents:
                self.source = place
                break

    def excerpt(self, query_id: str, doc_id: str) -> str | None:
        """Return the beginning of a document's text, None if it is not known."""
        return _head(self.documents.get((query_id, doc_id)))

    def _read(self, place: str, renames: Mapping[str, str], query_ids: Sequence[str]) -> None:
        location = locate(place)
        renames = fitting(location, renames)
        if not {"query", "text"} <= pair_columns(location, renames).keys():
            return
        table = read_pairs(location, ["query", "text"], renames=renames, only=query_ids)
        columns = (table.column(name).to_pylist() for name in ("query_id", "doc_id", "query", "text"))
        for query_id, doc_id, query, text in zip(*columns, strict=True):
            self.queries[query_id] = query
            self.documents[query_id, doc_id] = text


def example(pairs: RankedPairs, row: int, texts: Texts, qrels: Qrels, values: tuple[float, float]) -> Example:
    """Return the example of query number `row` of the pairs."""
    query_id = pairs.query_ids[row]
    span = slice(int(pairs.offsets[row]), int(pairs.offsets[row + 1]))
    doc_ids = pairs.doc_ids[span.start : span.stop].to_pylist()
    scores, new = pairs.scores[span], pairs.ranks[span]
    old = pairs.source_rank[span]
    judged = qrels.get(query_id, {})

    def shown(at: int, ranks: Any, others: Any) -> Shown:
        doc_id = doc_ids[at]
        text = texts.excerpt(query_id, doc_id)
        return Shown(doc_id, text, float(scores[at]), int(ranks[at]), int(others[at]), judged.get(doc_id))

    return Example(
        query_id,
        texts.queries.get(query_id),
        *values,
        tuple(shown(at, old, new) for at in np.argsort(old)[:_TOP].tolist()),
        tuple(shown(at, new, old) for at in np.argsort(new)[:_TOP].tolist()),
    )


def extremes(differences: Values, count: int) -> tuple[list[int], list[int]]:
    """Return the rows with the largest gains and losses, largest first, without unchanged rows."""
    order = np.argsort(differences, kind="stable")
    wins = [int(row) for row in order[::-1][:count] if differences[row] > 1e-9]
    losses = [int(row) for row in order[:count] if differences[row] < -1e-9]
    return wins, losses


def _head(text: str | None) -> str | None:
    if text is None:
        return None
    joined = " ".join(text.split())
    return joined if len(joined) <= _CHARACTERS else joined[: _CHARACTERS - 1].rstrip() + "…"
