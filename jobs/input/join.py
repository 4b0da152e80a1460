"""The tables that `jobs.input.shuffle` joins into candidate sets, found, checked and counted. Knows no Ray.

They are either pairs in any order, or a run (`query_id, doc_id, score`) with a corpus (`doc_id, text`) and a table of
queries (`query_id, query`).
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.formats.columns import Kind, Layout, check_column, check_documents
from jobs.formats.renames import by_table
from jobs.formats.tables.hive import Keys
from jobs.input.query_ids import RUNS, THREADS
from jobs.input.source import Partitions, RowGroup, Source, open_source, open_table, without_output_names
from jobs.input.splits import query_ids
from rerank.arrays import IntArray, Offsets, offsets_of
from rerank.errors import InputError
from rerank.paths import Location
from rerank.ranking.candidates import combined
from rerank.ranking.rank import SOURCE_SCORE
from rerank.ranking.reject import INSTRUCTION
from rerank.store import hash_texts

KEY, KEY_HASH, PLACE, IS_TEXT = "key", "key_hash", "place", "is_text"
ROW, DOCUMENT, QUERY = "row.", "document.", "query."

PAIRS_PER_ROW_GROUP = 1_000  # of the joined files; a split is at least one row group

_RUN = {"query_id": Kind.ID, "doc_id": Kind.ID, "score": Kind.NUMBER}
_CORPUS = {"doc_id": Kind.ID}
_QUERIES = {"query_id": Kind.ID, "query": Kind.TEXT}


@dataclass(frozen=True, slots=True)
class RowOwner:
    """What tells the query that a row belongs to, and what becomes columns of the query.

    `id_types` are the types of query_id and doc_id in the rows, which the output keeps; `key_names` the keys of
    partitions.
    """

    id_types: dict[str, pa.DataType]
    partitions: Partitions
    key_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunJoin:
    """Rows to group by query_id. A run has a corpus and queries to join them with; pairs have neither."""

    rows: Source
    query_ids: pa.Array  # distinct in each partition, by first appearance
    partitions: IntArray  # of the query_ids
    pairs: int
    corpus: Source | None = None
    queries: Source | None = None
    is_limited: bool = False  # True: only the rows of `query_ids` are read
    text_ids: frozenset[str] = frozenset()  # integers in one table and strings in another: compared as strings

    @property
    def owner(self) -> RowOwner:
        """Return what tells the query of a row; a key that the table of queries has as a column stays with the rows."""
        of_queries = () if self.queries is None else self.queries.schema.names
        return RowOwner(
            {name: self.rows.schema.field(name).type for name in ("query_id", "doc_id")},
            self.rows.partitions,
            tuple(name for name in self.rows.key_names if name not in {"query_id", "query", *of_queries}),
        )

    @property
    def shared(self) -> int:
        """Return how many query_ids are in a further partition."""
        return len(self.query_ids) - len(pc.unique(self.query_ids))

    @property
    def has_large_strings(self) -> bool:
        """Return True if one of the tables has strings of Arrow's large type; the output keeps them."""
        return any(table.has_large_strings for table in (self.rows, self.corpus, self.queries) if table is not None)

    @property
    def renamed(self) -> dict[str, str]:
        """Columns of the tables that are called like one of the output, with their names here."""
        tables = [table.renamed for table in (self.queries, self.corpus, self.rows) if table is not None]
        return {name: new_name for renamed in tables for name, new_name in renamed.items()}

    @property
    def schemas(self) -> list[pa.Schema]:
        """Schemas of `read_rows`, `read_documents` and `read_queries`, without the tables that are absent."""
        tables = [(self._rows, "query_id" if self.corpus is None else "doc_id", ROW)]
        tables += [] if self.corpus is None else [(self.corpus, "doc_id", DOCUMENT)]
        tables += [] if self.queries is None else [(self.queries, "query_id", QUERY)]
        return [
            _keyed(self._with_text_ids(source.schema.empty_table()), 0, by=by, prefix=prefix, is_text=False).schema
            for source, by, prefix in tables
        ]

    @property
    def _rows(self) -> Source:
        return self.rows if self.corpus is None else _scored(self.rows)

    def read_rows(self, number: int) -> Iterator[pa.Table]:
        """Read row group `number` of the rows: keyed by doc_id if there is a corpus, else by query_id.

        A row without a query_id, which is rejected, keeps only its doc_id and its score.
        """
        by = "query_id" if self.corpus is None else "doc_id"
        kept = self.query_ids.filter(pa.array(self.partitions == self.rows.partitions.numbers[number]))
        for table in self._read(self._rows, number, by=by, prefix=ROW, is_text=False):
            if not self.is_limited:
                yield table
                continue
            ids = wide_id(table.column(KEY if by == "query_id" else f"{ROW}query_id"))
            yield table.filter(pc.is_in(ids, value_set=kept.cast(ids.type, safe=False)))

    def read_documents(self, number: int) -> Iterator[pa.Table]:
        """Read row group `number` of the corpus, keyed by doc_id, without documents that have none."""
        if self.corpus is not None:
            yield from self._read(self.corpus, number, by="doc_id", prefix=DOCUMENT, is_text=True)

    def read_queries(self, number: int) -> Iterator[pa.Table]:
        """Read row group `number` of the queries, keyed by query_id, without queries that have none."""
        if self.queries is not None:
            yield from self._read(self.queries, number, by="query_id", prefix=QUERY, is_text=True)

    def _read(self, source: Source, number: int, *, by: str, prefix: str, is_text: bool) -> Iterator[pa.Table]:
        """Read a row group as key, position of each row in the source, and the other columns with a prefix."""
        first = int(offsets_of([group.rows for group in source.row_groups])[number])
        for table in source.read(source.row_groups[number]):
            rows = self._with_text_ids(table if is_text else _emptied_without_query_id(table))
            keyed_rows = _keyed(rows, first, by=by, prefix=prefix, is_text=is_text)
            yield keyed_rows.filter(keyed_rows.column(KEY).is_valid()) if is_text else keyed_rows
            first += table.num_rows

    def _with_text_ids(self, table: pa.Table) -> pa.Table:
        schema = table.schema
        for name in self.text_ids.intersection(schema.names):
            schema = schema.set(schema.get_field_index(name), schema.field(name).with_type(pa.large_string()))
        return table.cast(schema)


def open_run(
    run: str | Location,
    *,
    corpus: str | Location,
    queries: str | Location,
    renames: dict[str, str],
    limit: int | None,
) -> RunJoin:
    """Find and check a run with its corpus and its queries. Raises InputError.

    A rename applies to the run, or to another table if it begins with `corpus.` or `queries.`.
    """
    run_renames, corpus_renames, query_renames = by_table(renames, "run", "corpus", "queries")
    rows = open_table(run, _RUN, renames=run_renames)
    rows = without_output_names(rows, of_queries=("query_id", *rows.key_names))
    documents = open_table(corpus, _CORPUS, renames=corpus_renames)
    check_documents(documents.location.uri, documents.schema)
    documents = without_output_names(documents, of_queries=(), has_scores=False)
    query_table = open_table(queries, _QUERIES, renames=query_renames)
    if INSTRUCTION in query_table.schema.names:
        check_column(query_table.location.uri, query_table.schema, INSTRUCTION, Kind.TEXT)
    query_table = without_output_names(query_table, of_queries=query_table.schema.names)
    others = ((documents, "doc_id"), (query_table, "query_id"))
    text_ids = frozenset(by for other, by in others if _is_integer(rows, by) is not _is_integer(other, by))
    shared = ({*rows.schema.names, SOURCE_SCORE} & set(documents.schema.names)) - {"doc_id"}
    if shared:
        raise InputError(f"{rows.location.uri} and {documents.location.uri} both have a column {sorted(shared)[0]!r}")
    return replace(_counted(rows, limit), corpus=documents, queries=query_table, text_ids=text_ids)


def open_unclustered(uri: str | Location, *, renames: dict[str, str], limit: int | None) -> RunJoin:
    """Find and check pairs in any order. Raises InputError."""
    return _counted(open_source(uri, layout=Layout.PAIRS, renames=renames), limit)


def _counted(rows: Source, limit: int | None) -> RunJoin:
    """Count the distinct query ids of each partition and their rows; holds one id per query in memory."""
    with ThreadPoolExecutor(THREADS) as pool:
        runs = rows.runs(RUNS)
        ids_by_run = list(pool.map(lambda run: pc.unique(query_ids(rows, *run)), runs))
        numbers: dict[Keys, int] = {}
        of_runs = [numbers.setdefault(run[0].keys, len(numbers)) for run in runs]
        ids = combined(pa.chunked_array(ids_by_run, type=rows.schema.field("query_id").type))
        partitions = np.repeat(np.array(of_runs, np.int32), [len(part) for part in ids_by_run])
        codes = pc.dictionary_encode(ids, null_encoding="encode").indices.to_numpy().astype(np.int64)
        first = np.sort(np.unique(codes * len(numbers) + partitions, return_index=True)[1])
        is_limited = limit is not None and limit < len(first)
        first = first[:limit]
        ids, partitions = ids.take(pa.array(first)), partitions[first]
        if not is_limited:
            return RunJoin(rows, ids, partitions, rows.pairs)

        def count_rows(run: tuple[RowGroup, ...], number: int) -> int:
            kept = ids.filter(pa.array(partitions == number))
            return int(pc.sum(pc.is_in(query_ids(rows, *run), value_set=kept)).as_py() or 0)

        return RunJoin(rows, ids, partitions, sum(pool.map(count_rows, runs, of_runs)), is_limited=True)


def _is_integer(source: Source, name: str) -> bool:
    return bool(pa.types.is_integer(source.schema.field(name).type))


def _scored(rows: Source) -> Source:
    """Return the run with `score` renamed to `source_score`: in the output `score` is the relevance score."""
    names = [SOURCE_SCORE if name == "score" else name for name in rows.schema.names]
    fields = [field.with_name(name) for field, name in zip(rows.schema, names, strict=True)]
    return replace(rows, schema=pa.schema(fields))


def _emptied_without_query_id(rows: pa.Table) -> pa.Table:
    """Return the rows, all values but doc_id and score null where the query_id is: one task gets all those rows."""
    query_id = rows.column("query_id")
    if not query_id.null_count:
        return rows
    places = pa.array(np.arange(rows.num_rows), mask=np.asarray(query_id.is_null()))
    emptied = rows.take(places)
    kept = ("query_id", "doc_id", SOURCE_SCORE)
    columns = [rows.column(name) if name in kept else emptied.column(name) for name in rows.column_names]
    return pa.table(columns, schema=rows.schema)


def _keyed(table: pa.Table, first: int, *, by: str, prefix: str, is_text: bool) -> pa.Table:
    """Return a table as key, hash of the key, position in the source from `first`, and its other columns."""
    columns = {f"{prefix}{name}": table.column(name) for name in table.column_names if name != by}
    key, places = wide_id(table.column(by)), np.arange(first, first + table.num_rows)
    key_columns = {
        KEY: key,
        KEY_HASH: key_hash(key, of_null=places if by == "doc_id" else 0),
        PLACE: pa.array(places),
        IS_TEXT: pa.array(np.full(table.num_rows, is_text, dtype=np.bool_)),
    }
    return pa.table(key_columns | columns)


def key_hash(keys: pa.ChunkedArray, *, of_null: Offsets | int) -> pa.Array:
    """Return an int64 per key, never null, by which a shuffle brings equal keys together.

    Ray hashes the keys of a shuffle by pandas or polars, whichever is installed, and pandas changes the hash of all
    integers of a block that holds a null. `of_null` is what a null key gets: null doc_ids match no document and are
    spread over the partitions, null query_ids count as one query and stay together.
    """
    is_integer = pa.types.is_integer(keys.type)
    hashes = keys.fill_null(0).to_numpy() if is_integer else hash_texts(keys)[:, 0].view(np.int64)
    return pa.array(np.where(np.asarray(keys.is_null()), of_null, hashes).astype(np.int64))


def wide_id(ids: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Cast ids to int64 or large_string, so that equal ids of two tables compare equal.

    Unsigned ids from 2**63 on become negative; `own_id` restores them.
    """
    return ids.cast(pa.int64() if pa.types.is_integer(ids.type) else pa.large_string(), safe=False)


def own_id(ids: pa.Array | pa.ChunkedArray, kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    """Cast ids back to the type they had before `wide_id`."""
    return ids.cast(kind, safe=False)
