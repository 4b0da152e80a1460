"""Ranges of row groups that can be read apart, each giving whole candidate sets.

In the `pairs` layout a split owns the queries that start in it, and reads on until its last query ends, as text
files are split by line in MapReduce: no shuffle, and every query comes out once.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.source import Layout, Source
from rerank.candidates import CANDIDATES, combined, list_column
from rerank.ragged import Offsets

_QUERY_COLUMNS = ("query_id", "query")


@dataclass(frozen=True, slots=True)
class Split:
    """Row groups `start` to `stop` (exclusive) of a source."""

    start: int
    stop: int


def plan_splits(source: Source, *, target_pairs: int) -> list[Split]:
    """Cut the source into splits of at least `target_pairs` pairs, at row group borders."""
    splits, start, pairs = [], 0, 0
    for index, group in enumerate(source.row_groups, start=1):
        pairs += group.pairs
        if pairs >= target_pairs or index == len(source.row_groups):
            splits.append(Split(start, index))
            start, pairs = index, 0
    return splits


def read_split(source: Source, split: Split) -> Iterator[pa.Table]:
    """The candidate sets that the split owns: tables of `query_id, query, candidates: list<struct<…>>`."""
    if source.layout is Layout.QUERIES:
        for group in source.row_groups[split.start : split.stop]:
            yield from source.read(group)
    else:
        yield from _read_pairs(source, split)


def _read_pairs(source: Source, split: Split) -> Iterator[pa.Table]:
    waiting: pa.Table | None = None  # rows of the last query, which the next rows may go on with
    for rows in _owned_rows(source, split):
        joined = rows if waiting is None else pa.concat_tables([waiting, rows])
        offsets = run_offsets(combined(joined.column("query_id")))
        last = int(offsets[-2])
        if last:
            yield _nest(joined.slice(0, last), offsets[:-1])
        waiting = joined.slice(last)
    if waiting is not None:
        yield _nest(waiting, np.array([0, waiting.num_rows]))


def _owned_rows(source: Source, split: Split) -> Iterator[pa.Table]:
    """Rows of the split without the end of a query that began before it, and with the end of its own last query."""
    before = _last_query_id(source, split.start - 1) if split.start else None
    owned: pa.Scalar | None = None
    for index in range(split.start, len(source.row_groups)):
        if index >= split.stop and owned is None:
            return
        for rows in source.read(source.row_groups[index]):
            if index >= split.stop:
                ends = _length_of_first_run(rows, owned)
                yield rows.slice(0, ends)
                if ends < rows.num_rows:
                    return
                continue
            if before is not None:
                skipped = _length_of_first_run(rows, before)
                rows = rows.slice(skipped)
                if not rows.num_rows:
                    continue
                before = None
            owned = rows.column("query_id")[-1]
            yield rows


def _last_query_id(source: Source, index: int) -> pa.Scalar:
    *_, last = source.read(source.row_groups[index], columns=["query_id"])
    return last.column("query_id")[-1]


def _length_of_first_run(rows: pa.Table, query_id: pa.Scalar) -> int:
    """How many rows at the head carry this query_id; null equals null."""
    column = rows.column("query_id")
    same = pc.fill_null(pc.equal(column, query_id), False) if query_id.is_valid else column.is_null()
    other = pc.index(same, False).as_py()
    return rows.num_rows if other < 0 else int(other)


def run_offsets(query_id: pa.Array) -> Offsets:
    """Where each run of equal ids begins, with the number of rows as the last entry."""
    codes = pc.dictionary_encode(query_id, null_encoding="encode").indices.to_numpy()
    starts = np.flatnonzero(np.diff(codes)) + 1
    return np.concatenate(([0], starts, [len(codes)])).astype(np.int64)


def _nest(rows: pa.Table, offsets: Offsets) -> pa.Table:
    """Clustered pairs as one row per query: every column but the query's own goes into the candidates."""
    queries = rows.select(list(_QUERY_COLUMNS)).take(pa.array(offsets[:-1]))
    return queries.append_column(CANDIDATES, list_column(rows.drop_columns(list(_QUERY_COLUMNS)), offsets))
