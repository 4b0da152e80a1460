"""Candidate sets whose rows lie apart: what has to be brought together, found and counted before it is. Knows no Ray.

Either pairs in any order, or a run (`query_id, doc_id, score`) whose texts lie in a corpus (`doc_id, text`) and in a
table of queries (`query_id, query`).
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.formats.columns import Kind, Layout
from jobs.formats.renames import by_table
from jobs.input.scan import RUNS, THREADS
from jobs.input.source import RowGroup, Source, open_source, open_table
from jobs.input.splits import query_ids
from rerank.arrays import offsets_of
from rerank.errors import InputError
from rerank.ranking.rank import SOURCE_SCORE

KEY, PLACE, IS_TEXT = "key", "place", "is_text"
ROW, DOCUMENT, QUERY = "row.", "document.", "query."

PAIRS_PER_ROW_GROUP = 1_000  # of what is gathered; a split of the run that follows is one at least

_RUN = {"query_id": Kind.ID, "doc_id": Kind.ID, "score": Kind.NUMBER}
_CORPUS = {"doc_id": Kind.ID, "text": Kind.TEXT}
_QUERIES = {"query_id": Kind.ID, "query": Kind.TEXT}


@dataclass(frozen=True, slots=True)
class RunJoin:
    """Rows to be brought together by query_id. A run brings a corpus and queries, pairs bring neither."""

    rows: Source
    query_ids: pa.Array  # distinct, by first appearance
    pairs: int
    corpus: Source | None = None
    queries: Source | None = None
    is_limited: bool = False  # to the rows of `query_ids`

    @property
    def id_types(self) -> dict[str, pa.DataType]:
        """The types of query_id and doc_id in the rows, which the output keeps."""
        return {name: self.rows.schema.field(name).type for name in ("query_id", "doc_id")}

    @property
    def schemas(self) -> list[pa.Schema]:
        """What `read_rows`, `read_documents` and `read_queries` give, as far as there is something to read."""
        tables = [(self._rows, "query_id" if self.corpus is None else "doc_id", ROW)]
        tables += [] if self.corpus is None else [(self.corpus, "doc_id", DOCUMENT)]
        tables += [] if self.queries is None else [(self.queries, "query_id", QUERY)]
        return [
            _keyed(source.schema.empty_table(), 0, by=by, prefix=prefix, is_text=False).schema
            for source, by, prefix in tables
        ]

    @property
    def _rows(self) -> Source:
        return self.rows if self.corpus is None else _scored(self.rows)

    def read_rows(self, number: int) -> Iterator[pa.Table]:
        """Row group `number` of the rows, keyed by doc_id where it is to be looked up, else by query_id."""
        by = "query_id" if self.corpus is None else "doc_id"
        for table in _read(self._rows, number, by=by, prefix=ROW, is_text=False):
            if not self.is_limited:
                yield table
                continue
            ids = wide_id(table.column(KEY if by == "query_id" else f"{ROW}query_id"))
            yield table.filter(pc.is_in(ids, value_set=wide_id(self.query_ids)))

    def read_documents(self, number: int) -> Iterator[pa.Table]:
        """Row group `number` of the corpus, keyed by doc_id."""
        if self.corpus is not None:
            yield from _read(self.corpus, number, by="doc_id", prefix=DOCUMENT, is_text=True)

    def read_queries(self, number: int) -> Iterator[pa.Table]:
        """Row group `number` of the queries, keyed by query_id."""
        if self.queries is not None:
            yield from _read(self.queries, number, by="query_id", prefix=QUERY, is_text=True)


def open_run(run: str, *, corpus: str, queries: str, renames: dict[str, str], limit: int | None) -> RunJoin:
    """Find and check a run with its texts. Raises InputError.

    A rename reads a column of the run; of the others where it begins with `corpus.` or `queries.`.
    """
    of_run, of_corpus, of_queries = by_table(renames, "run", "corpus", "queries")
    rows = open_table(run, _RUN, renames=of_run)
    texts = open_table(corpus, _CORPUS, renames=of_corpus)
    asked = open_table(queries, _QUERIES, renames=of_queries)
    for other, by in ((texts, "doc_id"), (asked, "query_id")):
        _check_same_kind(rows, other, by)
    both = ({*rows.schema.names, SOURCE_SCORE} & set(texts.schema.names)) - {"doc_id"}
    if both:
        raise InputError(f"{rows.location.uri} and {texts.location.uri} both have a column {sorted(both)[0]!r}")
    return replace(_counted(rows, limit), corpus=texts, queries=asked)


def open_unclustered(uri: str, *, renames: dict[str, str], limit: int | None) -> RunJoin:
    """Find and check pairs in any order. Raises InputError."""
    return _counted(open_source(uri, layout=Layout.PAIRS, renames=renames), limit)


def _counted(rows: Source, limit: int | None) -> RunJoin:
    """The distinct query ids and the rows that belong to them; memory for one id per query."""
    with ThreadPoolExecutor(THREADS) as pool:
        runs = rows.runs(RUNS)
        found = list(pool.map(lambda run: pc.unique(query_ids(rows, *run)), runs))
        ids = pc.unique(pa.chunked_array(found, type=rows.schema.field("query_id").type))
        if limit is None or limit >= len(ids):
            return RunJoin(rows, ids, rows.pairs)
        ids = ids.slice(0, limit)

        def wanted(run: tuple[RowGroup, ...]) -> int:
            return int(pc.sum(pc.is_in(query_ids(rows, *run), value_set=ids)).as_py() or 0)

        return RunJoin(rows, ids, sum(pool.map(wanted, runs)), is_limited=True)


def _check_same_kind(rows: Source, other: Source, by: str) -> None:
    ours, theirs = rows.schema.field(by).type, other.schema.field(by).type
    if pa.types.is_integer(ours) != pa.types.is_integer(theirs):
        raise InputError(
            f"{by} is {ours} in {rows.location.uri} and {theirs} in {other.location.uri}, expected one type"
        )


def _scored(rows: Source) -> Source:
    """The run with its score under the name that it keeps in the output, where `score` is the new one."""
    names = [SOURCE_SCORE if name == "score" else name for name in rows.schema.names]
    fields = [field.with_name(name) for field, name in zip(rows.schema, names, strict=True)]
    return replace(rows, schema=pa.schema(fields))


def _read(source: Source, number: int, *, by: str, prefix: str, is_text: bool) -> Iterator[pa.Table]:
    """A row group with its key, the place of each row in the source, and its other columns behind a prefix."""
    first = int(offsets_of([group.rows for group in source.row_groups])[number])
    for table in source.read(source.row_groups[number]):
        yield _keyed(table, first, by=by, prefix=prefix, is_text=is_text)
        first += table.num_rows


def _keyed(table: pa.Table, first: int, *, by: str, prefix: str, is_text: bool) -> pa.Table:
    columns = {f"{prefix}{name}": table.column(name) for name in table.column_names if name != by}
    ours = {
        KEY: wide_id(table.column(by)),
        PLACE: pa.array(np.arange(first, first + table.num_rows)),
        IS_TEXT: pa.array(np.full(table.num_rows, is_text, dtype=np.bool_)),
    }
    return pa.table(ours | columns)


def wide_id(ids: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Ids in one type for all integers and one for all strings, so that equal ids of two tables are equal.

    Unsigned ones beyond 2**63 turn negative, and back with `own_id`.
    """
    return ids.cast(pa.int64() if pa.types.is_integer(ids.type) else pa.large_string(), safe=False)


def own_id(ids: pa.Array | pa.ChunkedArray, kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    """The inverse of `wide_id`."""
    return ids.cast(kind, safe=False)
