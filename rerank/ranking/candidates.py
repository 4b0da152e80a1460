"""Blocks of candidate sets as Arrow tables: one row per query, with a list of one struct per candidate."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rerank.arrays import IntArray, Offsets, offsets_of
from rerank.errors import InputError
from rerank.sizes import cut_by_bytes, row_bytes, wide_type

CANDIDATES = "candidates"

_MOST_BYTES = 2**31 - 1  # that Arrow's usual strings can count in one array


@dataclass(frozen=True, slots=True)
class CandidateSets:
    """Queries and their candidates: those of query i are the rows offsets[i] to offsets[i + 1], in first-stage order.

    `queries` has a row per query (query_id, query, other columns), `candidates` a row per pair (doc_id, text, other
    fields). As one table, `candidates` is a column of lists of structs.
    """

    queries: pa.Table
    candidates: pa.Table
    offsets: Offsets

    @classmethod
    def from_table(cls, table: pa.Table) -> "CandidateSets":
        """Return the candidate sets of a table with a `candidates: list<struct<…>>` column; a null list is empty.

        Accepts all of Arrow's list types. Raises InputError if there is no such column.
        """
        kind = table.schema.field(CANDIDATES).type if CANDIDATES in table.column_names else None
        if kind is None or not (_is_list(kind) and pa.types.is_struct(kind.value_type)):
            raise InputError(f"candidates must be list<struct<doc_id, text, …>>, got {kind or table.column_names}")
        candidates, offsets = list_rows(table.column(CANDIDATES))
        queries = table.drop_columns([CANDIDATES])
        return cls(_without_views(queries), _without_views(candidates), offsets)

    def to_table(self) -> pa.Table:
        """Return the candidate sets as one table, the inverse of `from_table`."""
        return self.queries.append_column(CANDIDATES, list_column(self.candidates, self.offsets))

    def to_rows(self) -> pa.Table:
        """Return one row per candidate: its query's columns, then its own.

        A query column whose name a candidate column has too is renamed to `query_NAME`.
        """
        return self._rows(0, self.pair_count)

    def to_row_slices(self, most_bytes: int) -> Iterator[pa.Table]:
        """Yield `to_rows` in tables of at most `most_bytes` bytes, or of one row that is larger; at least one table."""
        sizes = row_bytes(self.queries)[self.query_of] + row_bytes(self.candidates)
        for start, stop in list(cut_by_bytes(sizes, most_bytes)) or [(0, 0)]:
            yield self._rows(start, stop)

    def _rows(self, start: int, stop: int) -> pa.Table:
        rows = self.queries.take(pa.array(self.query_of[start:stop]))
        for name in set(rows.column_names).intersection(self.candidates.column_names):
            new_name = f"query_{name}"
            while new_name in {*rows.column_names, *self.candidates.column_names}:
                new_name = f"query_{new_name}"
            rows = rows.rename_columns({name: new_name})
        for name in self.candidates.column_names:
            rows = rows.append_column(name, self.candidates.column(name).slice(start, stop - start))
        return rows

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def pair_count(self) -> int:
        """Return the number of candidates of all queries."""
        return int(self.offsets[-1])

    @property
    def query_of(self) -> IntArray:
        """Return the row of each candidate's query, shape [pairs]."""
        return np.repeat(np.arange(len(self), dtype=np.int32), np.diff(self.offsets))

    @property
    def source_rank(self) -> IntArray:
        """Return the place of each candidate in its query's first-stage order, from 1, shape [pairs]."""
        starts = np.repeat(self.offsets[:-1], np.diff(self.offsets))
        return (np.arange(self.pair_count) - starts + 1).astype(np.int32)

    def count(self, rows: npt.NDArray[np.integer | np.bool_]) -> npt.NDArray[np.intp]:
        """Return how many of these rows of `candidates`, or of those that a mask marks, each query has, [queries]."""
        return np.bincount(self.query_of[rows], minlength=len(self))

    def take(self, pairs: npt.NDArray[np.integer]) -> "CandidateSets":
        """Return the same queries with only these candidates, which must be in the order of the queries."""
        return replace(self, candidates=self.candidates.take(pa.array(pairs)), offsets=offsets_of(self.count(pairs)))

    def with_candidates(self, candidates: pa.Table) -> "CandidateSets":
        """Return the same candidate sets with other candidate columns."""
        return replace(self, candidates=candidates)


def list_column(rows: pa.Table, offsets: Offsets) -> pa.Array:
    """Return a table's rows as lists of structs; list i holds the rows offsets[i] to offsets[i + 1].

    The lists are large ones if 32 bits cannot count the rows.
    """
    arrays = [combined(column) for column in rows.columns]
    structs = pa.StructArray.from_arrays(arrays, fields=list(rows.schema))
    if offsets[-1] > np.iinfo(np.int32).max:
        return pa.LargeListArray.from_arrays(pa.array(offsets), structs)
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), structs)


def list_rows(lists: pa.ChunkedArray) -> tuple[pa.Table, Offsets]:
    """Return the structs of all lists as rows, and the offsets of the lists, the inverse of `list_column`.

    A null list is empty.
    """
    array = combined(lists)
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    return struct_rows(array.flatten()), offsets_of(lengths)


def struct_rows(structs: pa.StructArray) -> pa.Table:
    """Return structs as rows; their fields are the columns."""
    return pa.Table.from_arrays(structs.flatten(), names=[field.name for field in structs.type])


def combined(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array, without a copy if it has a single chunk.

    Strings become large ones if they are too many for offsets of 32 bits.
    """
    if column.num_chunks == 1:
        return column.chunk(0)
    return (column.cast(wide_type(column.type)) if column.nbytes > _MOST_BYTES else column).combine_chunks()


def column(table: pa.Table, name: str) -> pa.ChunkedArray:
    """Return a column. Raises InputError if it is missing."""
    if name not in table.column_names:
        raise InputError(f"column {name!r} is missing, got {', '.join(table.column_names) or 'no columns'}")
    return table.column(name)


def text_column(table: pa.Table, name: str) -> pa.Array:
    """Return a column of texts as large_string, whichever of Arrow's string or binary types it has. Raises InputError.

    Does not check that the bytes are UTF-8; `rerank.ranking.reject.check` does.
    """
    values = column(table, name)
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    accepted = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    if not (pa.types.is_null(kind) or any(test(kind) for test in accepted)):
        raise InputError(f"column {name!r} must hold strings, got {values.type}")
    return combined(values.cast(options=pc.CastOptions(target_type=pa.large_string(), allow_invalid_utf8=True)))


def texts_beside_vectors(candidates: pa.Table) -> pa.Array:
    """Return the candidates' texts as `text_column` does, all null if there is no such column. Raises InputError."""
    if "text" not in candidates.column_names:
        return pa.nulls(candidates.num_rows, pa.large_string())
    return text_column(candidates, "text")


def keep_columns(table: pa.Table, *, without: Iterable[str]) -> pa.Table:
    """Return the table without the named columns; names that it does not have are ignored."""
    return table.drop_columns([name for name in without if name in table.column_names])


def _is_list(kind: pa.DataType) -> bool:
    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list, pa.types.is_list_view)
    return any(test(kind) for test in tests)


def _without_views(table: pa.Table) -> pa.Table:
    """Return the table with string views as strings, for Arrow cannot take rows of views (as of version 26)."""
    for index, field in enumerate(table.schema):
        if pa.types.is_string_view(field.type):
            table = table.set_column(index, field.name, table.column(index).cast(pa.large_string()))
    return table
