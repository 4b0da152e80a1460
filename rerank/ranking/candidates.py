"""Blocks of candidate sets as Arrow tables: one row per query outside, one row per candidate inside."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rerank.arrays import IntArray, Offsets, offsets_of
from rerank.errors import InputError

CANDIDATES = "candidates"


@dataclass(frozen=True, slots=True)
class CandidateSets:
    """Query i owns the candidate rows offsets[i] to offsets[i + 1], in first-stage order.

    `queries` has a row per query (query_id, query, carried columns), `candidates` a row per pair (doc_id, text,
    carried fields). Both travel as one table whose `candidates` column is a list of structs.
    """

    queries: pa.Table
    candidates: pa.Table
    offsets: Offsets

    @classmethod
    def from_table(cls, table: pa.Table) -> "CandidateSets":
        """Take apart a table with a `candidates: list<struct<…>>` column; a null list is an empty one.

        Any of Arrow's list types will do. Raises InputError where there is no such column.
        """
        kind = table.schema.field(CANDIDATES).type if CANDIDATES in table.column_names else None
        if kind is None or not (_is_list(kind) and pa.types.is_struct(kind.value_type)):
            raise InputError(f"candidates must be list<struct<doc_id, text, …>>, got {kind or table.column_names}")
        lists = combined(table.column(CANDIDATES))
        lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
        structs = lists.flatten()
        candidates = pa.Table.from_arrays(structs.flatten(), names=[field.name for field in structs.type])
        queries = table.drop_columns([CANDIDATES])
        return cls(_without_views(queries), _without_views(candidates), offsets_of(lengths))

    def to_table(self) -> pa.Table:
        """The inverse of `from_table`."""
        return self.queries.append_column(CANDIDATES, list_column(self.candidates, self.offsets))

    def to_rows(self) -> pa.Table:
        """A row per candidate: its query's columns, then its own.

        A column of the queries that bears the name of a candidate's is called `query_` and that name.
        """
        rows = self.queries.take(pa.array(self.query_of))
        for name in set(rows.column_names).intersection(self.candidates.column_names):
            other = f"query_{name}"
            while other in {*rows.column_names, *self.candidates.column_names}:
                other = f"query_{other}"
            rows = rows.rename_columns({name: other})
        for name in self.candidates.column_names:
            rows = rows.append_column(name, self.candidates.column(name))
        return rows

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def pair_count(self) -> int:
        """Candidates of all queries."""
        return int(self.offsets[-1])

    @property
    def query_of(self) -> IntArray:
        """Row of the query that each candidate belongs to."""
        return np.repeat(np.arange(len(self), dtype=np.int32), np.diff(self.offsets))

    @property
    def source_rank(self) -> IntArray:
        """Place of each candidate in its first-stage order, from 1."""
        starts = np.repeat(self.offsets[:-1], np.diff(self.offsets))
        return (np.arange(self.pair_count) - starts + 1).astype(np.int32)

    def take(self, pairs: npt.NDArray[np.integer]) -> "CandidateSets":
        """The same queries with only these candidates, which must be grouped by query in query order."""
        counts = np.bincount(self.query_of[pairs], minlength=len(self))
        return replace(self, candidates=self.candidates.take(pa.array(pairs)), offsets=offsets_of(counts))

    def with_candidates(self, candidates: pa.Table) -> "CandidateSets":
        """The same grouping over other candidate columns."""
        return replace(self, candidates=candidates)


def list_column(rows: pa.Table, offsets: Offsets) -> pa.Array:
    """A table's rows as lists of structs, cut at `offsets`."""
    arrays = [combined(column) for column in rows.columns]
    structs = pa.StructArray.from_arrays(arrays, fields=list(rows.schema))
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), structs)


def combined(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array, without a copy where it already is one."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def column(table: pa.Table, name: str) -> pa.ChunkedArray:
    """A column that must be there. Raises InputError."""
    if name not in table.column_names:
        raise InputError(f"column {name!r} is missing, got {', '.join(table.column_names) or 'no columns'}")
    return table.column(name)


def text_column(table: pa.Table, name: str) -> pa.Array:
    """A column of texts as large_string, whichever of Arrow's string or binary types it has. Raises InputError.

    Bytes are not checked to be UTF-8; `rerank.ranking.reject.check` finds those that are not.
    """
    values = column(table, name)
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    accepted = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    if not (pa.types.is_null(kind) or any(test(kind) for test in accepted)):
        raise InputError(f"column {name!r} must hold strings, got {values.type}")
    return combined(values.cast(options=pc.CastOptions(target_type=pa.large_string(), allow_invalid_utf8=True)))


def keep_columns(table: pa.Table, *, without: Iterable[str]) -> pa.Table:
    """The table without the named columns, those it lacks ignored."""
    return table.drop_columns([name for name in without if name in table.column_names])


def _is_list(kind: pa.DataType) -> bool:
    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list, pa.types.is_list_view)
    return any(test(kind) for test in tests)


def _without_views(table: pa.Table) -> pa.Table:
    """The table with its string views as plain strings, because Arrow cannot take rows of views (seen with 26)."""
    for place, field in enumerate(table.schema):
        if pa.types.is_string_view(field.type):
            table = table.set_column(place, field.name, table.column(place).cast(pa.large_string()))
    return table
