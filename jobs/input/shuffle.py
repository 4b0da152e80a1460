"""Group rows by query with Ray Data, and write the candidate sets for the run that follows.

The candidate sets are written below the output folder before anything is scored: no GPU waits for a shuffle, and the
rest of the run reads them like any other input.
"""

import uuid
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray
from ray.data import Dataset

from jobs.console import plural, say
from jobs.input.candidates import Input, counted
from jobs.input.join import KEY, PAIRS_PER_ROW_GROUP, RunJoin
from jobs.input.nest import candidate_sets, shuffled_schemas, with_documents
from jobs.input.source import Source, reopen_source
from rerank.errors import OutputError, RerankError
from rerank.paths import Location

_BYTES_PER_PARTITION = 64 << 20
_READERS = {"rows": RunJoin.read_rows, "documents": RunJoin.read_documents, "queries": RunJoin.read_queries}


def ensure_grouped(unread: Input, folder: Location) -> Source:
    """Return the candidate sets of an input, grouped and written to `folder` first if its rows are not grouped.

    Raises OutputError if they cannot be written, RerankError if rows are lost.
    """
    if isinstance(unread.source, Source):
        return unread.source
    say(f"grouping {plural(unread.pairs, 'row')} by query ({plural(unread.queries, 'query')})")
    source = group_by_query(unread.source, folder)
    counts = counted(source)
    if (counts.queries, counts.pairs, len(counts.repeated)) != (unread.queries, unread.pairs, 0):
        raise RerankError(
            f"rows were lost or repeated while grouping by query, nothing was scored: expected {unread.queries:,} "
            f"queries with {unread.pairs:,} pairs, got {counts.queries:,} with {counts.pairs:,}"
        )
    return source


def group_by_query(join: RunJoin, folder: Location) -> Source:
    """Group the rows into candidate sets and write them to `folder`, which must be empty. Raises OutputError."""
    folder.filesystem.create_dir(folder.path, recursive=True)
    shared, partitions, schemas = ray.put(join), _partitions(join), shuffled_schemas(join)
    rows = _table(shared, "rows", join.rows)
    if join.corpus is not None and join.queries is not None:
        rows = rows.union(_table(shared, "documents", join.corpus)).repartition(partitions, keys=[KEY])
        rows = rows.map_batches(
            with_documents, fn_kwargs={"schema": schemas[0]}, batch_size=None, batch_format="pyarrow"
        )
        rows = rows.union(_table(shared, "queries", join.queries))
    written = rows.repartition(partitions, keys=[KEY]).map_batches(
        _write,
        fn_kwargs={"folder": folder, "schema": schemas[-1], "ids": join.id_types},
        batch_size=None,
        batch_format="pyarrow",
    )
    return reopen_source(folder, sorted(row["name"] for row in written.take_all()))


def _partitions(join: RunJoin) -> int:
    """Return the number of partitions of about 64 MiB, texts included."""
    size = sum(group.bytes for group in join.rows.row_groups)
    if join.corpus is not None:
        documents = sum(group.rows for group in join.corpus.row_groups)
        texts = sum(group.bytes for group in join.corpus.row_groups)
        size += max(texts, texts // max(1, documents) * join.pairs)
    return max(1, -(-size // _BYTES_PER_PARTITION))


def _table(shared: Any, name: str, source: Source) -> Dataset:
    items = [{"number": number} for number in range(len(source.row_groups))]
    return ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        _read, fn_kwargs={"shared": shared, "name": name}, batch_size=1, batch_format="pyarrow"
    )


def _read(numbers: pa.Table, *, shared: Any, name: str) -> Iterator[pa.Table]:
    """Task body: read one row group of one table, slice by slice."""
    join = ray.get(shared)
    for number in numbers.column("number").to_pylist():
        yield from _READERS[name](join, number)


def _write(rows: pa.Table, *, folder: Location, schema: pa.Schema, ids: dict[str, pa.DataType]) -> pa.Table:
    """Task body: write the rows of one partition as one file of candidate sets."""
    sets = candidate_sets(rows, schema=schema, ids=ids)
    if not sets.num_rows:
        return pa.table({"name": pa.array([], pa.string())})
    target = folder.join(f"part-{uuid.uuid4().hex}.parquet")
    try:
        with target.filesystem.open_output_stream(target.path) as stream:
            queries = max(1, PAIRS_PER_ROW_GROUP * sets.num_rows // rows.num_rows)
            pq.write_table(sets, stream, compression="zstd", row_group_size=queries)
    except OSError as problem:
        raise OutputError(f"{target.uri}: cannot be written: {problem}") from problem
    return pa.table({"name": [target.path.rpartition("/")[2]]})
